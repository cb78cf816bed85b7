/** The registers by which firmware handles hot-plug, as a guest's driver and the host's half of a slot use them. */
import { describe, expect, it } from 'vitest';
import { AcpiPciHotplug } from '../../devices/acpi/pci-hotplug.js';
import { acpiHotplugRegisters, NOTIFY_DEVICE_CHECK, OST_SUCCESS } from '../../devices/acpi/registers.js';

const { reg } = acpiHotplugRegisters;
const BUSES = 2;
const VECTOR = 0x41;

function world() {
  const interrupts: (readonly [target: number, vector: number])[] = [];
  const heard: string[] = [];
  const device = new AcpiPciHotplug('hotplug', BUSES, {
    interrupt: (target, vector) => interrupts.push([target, vector]),
    ejected: (bus) => heard.push(`ejected ${bus}`),
    changed: (bus) => heard.push(`changed ${bus}`),
  });
  const { read, write } = device.regions[0]!.handler;
  return {
    device,
    interrupts,
    heard,
    read: ({ offset }: { offset: number }) => read(offset, 4),
    write: ({ offset }: { offset: number }, value: number) => write(offset, 4, value),
  };
}

/** The guest wants to hear of events, on vCPU 1. */
function listening(): ReturnType<typeof world> {
  const w = world();
  w.write(reg.SCI, (VECTOR << 8) | (1 << 16));
  w.write(reg.GPE0_ENABLE, reg.GPE0_ENABLE.fields.PCI_HOTPLUG.mask);
  return w;
}

describe('hot-plug by ACPI', () => {
  it('interrupts for a request, which waits in the window of its bus until the guest ejects the device', () => {
    const w = listening();
    w.device.requestEject(1);
    expect(w.interrupts).toEqual([[1, VECTOR]]);
    expect(w.read(reg.DOWN), 'of bus 0').toBe(0);
    w.write(reg.SELECT, 1);
    expect([w.read(reg.DOWN), w.read(reg.DOWN)]).toEqual([1, 1]);
    w.write(reg.EJECT, 1);
    expect(w.heard).toEqual(['ejected 1']);
    expect(w.read(reg.DOWN)).toBe(0);
    expect([w.device.isUsed(0), w.device.isUsed(1)]).toEqual([true, false]);
  });

  it('tells once of a device that was put in, which is used when the guest says so', () => {
    const w = listening();
    w.device.removed(0);
    w.device.inserted(0);
    expect([w.read(reg.UP), w.read(reg.UP)]).toEqual([1, 0]);
    w.write(reg.OST_EVENT, NOTIFY_DEVICE_CHECK);
    w.write(reg.OST_STATUS, OST_SUCCESS + 1);
    expect(w.device.isUsed(0)).toBe(false);
    w.write(reg.OST_STATUS, OST_SUCCESS);
    expect(w.device.isUsed(0)).toBe(true);
    expect(w.heard).toEqual(['changed 0', 'changed 0']);
  });

  it('is quiet until the guest listens, and then tells of what waits', () => {
    const w = world();
    w.device.requestEject(0);
    w.write(reg.SCI, VECTOR << 8);
    expect(w.interrupts).toEqual([]);
    w.write(reg.GPE0_ENABLE, reg.GPE0_ENABLE.fields.PCI_HOTPLUG.mask);
    expect(w.interrupts).toEqual([[0, VECTOR]]);
    expect(w.read(reg.GPE0_STATUS)).toBe(reg.GPE0_STATUS.fields.PCI_HOTPLUG.mask);
    w.write(reg.GPE0_STATUS, reg.GPE0_STATUS.fields.PCI_HOTPLUG.mask);
    expect(w.read(reg.GPE0_STATUS)).toBe(0);
  });

  it('has nothing to do with buses and slots that there are not, nor with reports of something else', () => {
    const w = listening();
    for (const bus of [BUSES, 31, 32, 0xffff_ffff]) {
      w.write(reg.SELECT, bus);
      expect([reg.UP, reg.DOWN, reg.REMOVABLE].map(w.read)).toEqual([0, 0, 0]);
      w.write(reg.EJECT, 0xffff_ffff);
      w.write(reg.OST_EVENT, NOTIFY_DEVICE_CHECK);
      w.write(reg.OST_STATUS, OST_SUCCESS);
    }
    w.write(reg.SELECT, 0);
    w.write(reg.EJECT, ~1 >>> 0);
    w.write(reg.OST_EVENT, 2);
    w.write(reg.OST_STATUS, 1);
    expect(w.heard).toEqual([]);
    expect([w.device.isUsed(0), w.device.isUsed(1)]).toEqual([true, true]);
  });

  it('moves with what waits in it, and refuses records that are not its own', () => {
    const from = listening();
    from.device.requestEject(1);
    from.device.removed(0);
    const to = world();
    to.device.restore(from.device.save());
    expect(to.device.save()).toEqual(from.device.save());
    expect([to.device.isUsed(0), to.device.isUsed(1)]).toEqual([false, true]);
    to.write(reg.SELECT, 1);
    expect(to.read(reg.DOWN)).toBe(1);
    const record = to.device.save();
    expect(() => to.device.restore({ ...record, version: 2 })).toThrow(/version 2/);
    expect(() => to.device.restore({ ...record, state: record.state.subarray(4) })).toThrow(/bytes/);
    expect(Object.fromEntries(to.device.describe(record))).toHaveProperty('BUSES_DOWN');
  });
});
