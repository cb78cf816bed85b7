/**
 * One contract for every device that is saved, restored and inspected (`base/device-record.ts`), checked for each that a
 * machine has: what is restored is saved again as the same, what can't be right is refused and changes nothing, and no
 * byte of a record makes anything throw that is not a typed error.
 */
import { describe, expect, it } from 'vitest';
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { isFerryError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { instant } from '../../base/units.js';
import { ConsoleDevice } from '../../devices/console/device.js';
import { eduRegisters } from '../../devices/edu/registers.js';
import { vfLayout } from '../../devices/nic82599/functions.js';
import { vfRegisters } from '../../devices/nic82599/registers.js';
import { ecamOffset } from '../../devices/pci/topology.js';
import { PowerDevice } from '../../devices/power/device.js';
import { SerialDevice } from '../../devices/serial/device.js';
import { serialRegisters } from '../../devices/serial/registers.js';
import { reg } from '../../iommu/registers.js';
import { PassthroughHost } from '../../vmm/passthrough/host.js';
import { GuestRam } from '../../vmm/ram/guest-ram.js';
import { allocateControl } from '../../vmm/threads/control-block.js';

const FLIPS = 150;

function passthroughHost(): PassthroughHost {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
  let now = 0;
  const scheduler = {
    now: () => {
      now += 1000;
      return instant(now);
    },
    after: () => () => {},
    sleep: async () => {},
    yield: async () => {},
  };
  return new PassthroughHost(
    {
      macs: [[0x52, 0x54, 0, 0x12, 0x34, 0x56]],
      virtio: [{ mac: [0x52, 0x54, 0, 0x12, 0x34, 0x57] }],
      edus: 1,
    },
    {
      ram: GuestRam.create(memory, 1024),
      control: allocateControl(1),
      vcpus: 1,
      scheduler,
      kick: () => {},
      interrupt: () => {},
      send: () => true,
      event: () => {},
      wake: () => {},
    },
  );
}

const powerDevice = (): PowerDevice => new PowerDevice({ request: () => {}, interrupt: () => {} });
function consoleDevice(): ConsoleDevice {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  return new ConsoleDevice({
    memory: GuestRam.create(memory, 16),
    clock: { now: () => instant(0) },
    print: () => {},
  });
}

function serialDevice(): SerialDevice {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  return new SerialDevice({ memory: GuestRam.create(memory, 16), interrupt: () => {}, changed: () => {} });
}

/** Stored and of no use to any device, at the same place in every function. */
const INTERRUPT_LINE = vfLayout.header.INTERRUPT_LINE.offset;
/** Each port has two. */
const VIRTIO_BUS = 3;
const EDU_BUS = 5;
const { MBMEM, MAILBOX, RDBAL, TDBAL } = vfRegisters;

/** What a guest and a host write to their devices, so that none of them is as it was made. */
function use(host: PassthroughHost): void {
  const [ecam, window] = host.devices.flatMap(({ regions }) => regions.map(({ handler }) => handler));
  // The host bridge, the root port, and the function behind it.
  ecam!.write(ecamOffset(0, 0, INTERRUPT_LINE), 1, 0x59);
  ecam!.write(ecamOffset(0, 8, INTERRUPT_LINE), 1, 0x5a);
  ecam!.write(ecamOffset(1, 0, INTERRUPT_LINE), 1, 0x5b);
  ecam!.write(ecamOffset(VIRTIO_BUS, 0, INTERRUPT_LINE), 1, 0x5c);
  ecam!.write(ecamOffset(EDU_BUS, 0, INTERRUPT_LINE), 1, 0x5d);
  host.edus[0]!.edu.registers.write(eduRegisters.reg.FACTORIAL.offset, 4, 5);
  window!.write(MBMEM.offset, 4, 1);
  window!.write(MAILBOX.offset, 4, MAILBOX.fields.REQ.mask);
  window!.write(RDBAL.offset, 4, 0x1000);
  window!.write(TDBAL.offset, 4, 0x2000);
  host.iommu.unit.write(reg.FEDATA.offset, 4, 0x1234);
}

interface Subject {
  readonly name: string;
  /** A new device, and the same kind of device after it was used. */
  make(): SaveableDevice;
  used(): SaveableDevice;
}

const hosted = (name: string, pick: (host: PassthroughHost) => SaveableDevice): Subject => ({
  name,
  make: () => pick(passthroughHost()),
  used: () => {
    const host = passthroughHost();
    use(host);
    return pick(host);
  },
});

const SUBJECTS: readonly Subject[] = [
  {
    name: 'console',
    make: consoleDevice,
    used: () => {
      const device = consoleDevice();
      for (const byte of [0x68, 0x69]) device.regions[0]!.handler.write(0, 1, byte);
      return device;
    },
  },
  {
    name: 'power',
    make: powerDevice,
    used: () => {
      const device = powerDevice();
      device.regions[0]!.handler.write(4, 4, 0x0120);
      return device;
    },
  },
  {
    name: 'set of serial ports',
    make: serialDevice,
    used: () => {
      const device = serialDevice();
      for (const port of device.calls.values()) port.write(Uint8Array.of(1, 2, 3));
      const { write } = device.regions[0]!.handler;
      write(serialRegisters.reg.CONTROL.offset, 4, 0x3001);
      write(serialRegisters.reg.SEND.offset, 4, 5);
      return device;
    },
  },
  hosted('host bridge', (host) => host.bridge),
  hosted('root port', (host) => host.functions[0]!.port),
  hosted('physical function', (host) => host.nic),
  hosted('virtual function', (host) => host.functions[0]!.vf),
  hosted('assigned function', (host) => host.functions[0]!.assigned),
  hosted('virtio-net device', (host) => host.virtio[0]!),
  hosted('edu device', (host) => host.edus[0]!.edu),
  hosted('assigned function with MSI', (host) => host.edus[0]!.assigned),
  hosted('VT-d unit', (host) => host.iommu.unit),
];

/** The record in a form that is compared at once: some have a hundred thousand bytes. */
const plain = ({ state, ...record }: DeviceRecord) => ({
  ...record,
  state: Buffer.from(state.buffer, state.byteOffset, state.byteLength).toString('latin1'),
});

/** Restores; true if the device took it, false if it refused it with a typed error. */
function takes(device: SaveableDevice, record: DeviceRecord): boolean {
  try {
    device.restore(record);
    return true;
  } catch (error) {
    if (!isFerryError(error)) throw error;
    expect(error.message.length).toBeGreaterThan(10);
    return false;
  }
}

describe.each(SUBJECTS)('the record of a $name', ({ name, make, used }) => {
  it('is taken over whole: saved again it is the same', () => {
    const from = used();
    const record = from.save();
    expect(record).toMatchObject({ name: from.name, version: from.version });
    const to = make();
    if (name !== 'power') expect(to.save().state).not.toEqual(record.state);
    to.restore(record);
    expect(to.save()).toEqual(record);
  });

  it('of another version, cut off anywhere or with more behind it is refused, and nothing changes', () => {
    const { name: device, version, state } = used().save();
    const to = make();
    const before = plain(to.save());
    const wrong: DeviceRecord[] = [
      { name: device, version: version + 1, state },
      { name: device, version, state: Uint8Array.of(...state, 0) },
    ];
    const random = seededRandom(3);
    for (let i = 0; i < 20 && state.length > 0; i++) {
      wrong.push({ name: device, version, state: state.slice(0, random.below(state.length)) });
    }
    for (const record of wrong) {
      expect(takes(to, record)).toBe(false);
      expect(plain(to.save())).toEqual(before);
    }
  });

  it('with a bit turned over is refused as a whole, or taken as a whole', () => {
    const { name: device, version, state } = used().save();
    const random = seededRandom(5);
    const to = make();
    for (let i = 0; i < FLIPS && state.length > 0; i++) {
      const bad = state.slice();
      const at = random.below(bad.length);
      bad[at]! ^= 1 << random.below(8);
      const before = plain(to.save());
      const record = { name: device, version, state: bad };
      if (takes(to, record)) to.restore(to.save());
      else expect(plain(to.save())).toEqual(before);
      expect(to.describe(record)).toBeInstanceOf(Array);
    }
  });

  it('can be told in words, whatever is in it', () => {
    const device = used();
    const record = device.save();
    const words = device.describe(record);
    if (record.state.length > 0) expect(words.length).toBeGreaterThan(0);
    for (const [key, value] of words) expect([typeof key, typeof value]).toEqual(['string', 'string']);
    const random = seededRandom(9);
    for (let i = 0; i < 50; i++) {
      const state = Uint8Array.from({ length: random.below(300) }, () => random.below(256));
      expect(device.describe({ ...record, state })).toBeInstanceOf(Array);
    }
  });
});
