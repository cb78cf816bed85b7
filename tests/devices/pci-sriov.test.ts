import { describe, expect, it } from 'vitest';
import { Nic82599 } from '../../devices/nic82599/device.js';
import { enableVirtualFunctions, enumerate } from '../../devices/pci/enumerate.js';
import { ecamOffset, RootComplex } from '../../devices/pci/topology.js';
import { RootPort } from '../../devices/root-port/device.js';
import { BAR_RANGE, PF_MAC, TestMachine, TestMemory, TestTime } from './machine.js';

const SRIOV = 0x160;
const CONTROL = SRIOV + 0x08;
const INITIAL_VFS = SRIOV + 0x0c;
const TOTAL_VFS = SRIOV + 0x0e;
const NUM_VFS = SRIOV + 0x10;
const OFFSET = SRIOV + 0x14;
const STRIDE = SRIOV + 0x16;
const PAGE_SIZE = SRIOV + 0x20;
const VF_BAR0 = SRIOV + 0x24;

function bareNic() {
  const complex = new RootComplex(new TestMemory(0x1000), new TestMemory(0));
  const port = new RootPort('port', { number: 1, surprise: false });
  complex.addPort(8, port);
  const nic = new Nic82599({
    name: 'nic',
    mac: Uint8Array.from(PF_MAC),
    scheduler: new TestTime(),
    wire: { send: () => {} },
    wake: () => {},
  });
  port.populate(nic);
  enumerate(complex, BAR_RANGE);
  const read = (register: number, size: number) => complex.configRead(ecamOffset(1, 0, register), size);
  const write = (register: number, size: number, value: number) =>
    complex.configWrite(ecamOffset(1, 0, register), size, value);
  return { complex, port, nic, read, write };
}

describe('SR-IOV', () => {
  it('has as many VFs as the part, 64', () => {
    const { read } = bareNic();
    expect([read(INITIAL_VFS, 2), read(TOTAL_VFS, 2)]).toEqual([64, 64]);
  });

  it('places VFs 128 functions on with an ARI-capable hierarchy, 384 without', () => {
    const { read, write } = bareNic();
    expect(read(OFFSET, 2)).toBe(128);
    expect(read(STRIDE, 2)).toBe(2);
    write(CONTROL, 2, 0);
    expect(read(OFFSET, 2)).toBe(384);
    write(CONTROL, 2, 0x10);
    expect(read(OFFSET, 2)).toBe(128);
  });

  it('has the VFs on the next bus when there is no ARI', () => {
    const { complex, write } = bareNic();
    write(CONTROL, 2, 0);
    const ids = enableVirtualFunctions(complex, 1, 0, 64);
    expect(ids[0]).toBe((2 << 8) + 0x80);
    expect(ids.at(-1)).toBe((2 << 8) + 0x80 + 63 * 2);
    for (const id of ids) expect(complex.configRead(ecamOffset(id >>> 8, id & 0xff, 0x0a), 2)).toBe(0x0200);
    expect(complex.configRead(ecamOffset(2, 0x81, 0x0a), 2), 'between two VFs').toBe(0xffff);
  });

  it('has exactly NumVFs functions, up to 64', () => {
    for (const count of [0, 1, 7, 64]) {
      const { complex, nic } = bareNic();
      const ids = enableVirtualFunctions(complex, 1, 0, count);
      const answering = Array.from({ length: 128 }, (_, i) => 0x80 + i).filter(
        (devfn) => complex.configRead(ecamOffset(1, devfn, 0x0a), 2) !== 0xffff,
      );
      expect(answering).toEqual(ids.map((id) => id & 0xff));
      expect(nic.functions()).toHaveLength(count + 1);
    }
  });

  it('ignores VF Enable for more VFs than there are', () => {
    const { complex, nic } = bareNic();
    enableVirtualFunctions(complex, 1, 0, 65);
    expect(nic.pf.sriov.vfCount).toBe(0);
  });

  it('accepts NumVFs and the ARI bit only while VF Enable is clear', () => {
    const { complex, read, write } = bareNic();
    enableVirtualFunctions(complex, 1, 0, 2);
    write(NUM_VFS, 2, 5);
    expect(read(NUM_VFS, 2)).toBe(2);
    write(CONTROL, 2, read(CONTROL, 2) & ~0x10);
    expect(read(OFFSET, 2), 'VFs did not move').toBe(128);
    write(CONTROL, 2, 0x10);
    write(NUM_VFS, 2, 5);
    expect(read(NUM_VFS, 2)).toBe(5);
  });

  it('answers a VF BAR probe with the aperture of one VF, at least a system page', () => {
    const { read, write } = bareNic();
    write(CONTROL, 2, 0x10);
    write(VF_BAR0, 4, 0xffff_ffff);
    expect(read(VF_BAR0, 4)).toBe(0xffff_c00c);
    write(PAGE_SIZE, 4, 0x10);
    write(VF_BAR0, 4, 0xffff_ffff);
    expect(read(VF_BAR0, 4), '64 KiB pages').toBe(0xffff_000c);
    write(PAGE_SIZE, 4, 0x4);
    expect(read(PAGE_SIZE, 4), 'a size that is not supported').toBe(0x10);
    write(PAGE_SIZE, 4, 0x11);
    expect(read(PAGE_SIZE, 4), 'two sizes at once').toBe(0x10);
  });

  it('decodes VF n at the n-th aperture, gated by VF Memory Space Enable', () => {
    const { complex, nic, read, write } = bareNic();
    enableVirtualFunctions(complex, 1, 0, 3);
    const base = (read(VF_BAR0, 4) & ~0xf) >>> 0;
    const MAILBOX_MEMORY = 0x200;
    for (let n = 0; n < 3; n++) complex.memoryWrite(base + n * 0x4000 + MAILBOX_MEMORY, 4, 100 + n);
    for (let n = 0; n < 3; n++) expect(nic.vf(n).pool.read(MAILBOX_MEMORY, 4)).toBe(100 + n);
    expect(complex.memoryRead(base + 3 * 0x4000 + MAILBOX_MEMORY, 4), 'VF 3 is off').toBe(0xffff_ffff);
    write(CONTROL, 2, read(CONTROL, 2) & ~8);
    expect(complex.memoryRead(base + MAILBOX_MEMORY, 4)).toBe(0xffff_ffff);
  });

  it('loses its VFs when the physical function is reset, and not when a VF is', () => {
    const { complex, nic, read, write } = bareNic();
    enableVirtualFunctions(complex, 1, 0, 2);
    complex.configWrite(ecamOffset(1, 0x80, 0xa8), 2, 0x8000);
    expect(nic.pf.sriov.vfCount).toBe(2);
    expect(read(VF_BAR0, 4) & ~0xf).not.toBe(0);
    write(0xa8, 2, 0x8000);
    expect(nic.pf.sriov.vfCount).toBe(0);
    expect(read(NUM_VFS, 2)).toBe(0);
    expect(complex.configRead(ecamOffset(1, 0x80, 0x0a), 2)).toBe(0xffff);
    expect(() => nic.vf(0)).toThrowError(expect.objectContaining({ code: 'devices/noSuchFunction' }));
  });

  it('a VF that comes back is as new', () => {
    const { complex, nic } = bareNic();
    enableVirtualFunctions(complex, 1, 0, 1);
    nic.vf(0).fn.configWrite(0x04, 2, 4);
    enableVirtualFunctions(complex, 1, 0, 1);
    expect(nic.vf(0).fn.configRead(0x04, 2)).toBe(0);
  });

  it('gives each VF its own requester id', () => {
    const machine = new TestMachine({ vfs: [{}, {}, {}] });
    for (const n of [0, 1, 2]) {
      machine.vf(n).fn.configWrite(0x04, 2, 4);
      machine.vf(n).fn.dmaRead(0 as never, new Uint8Array(4), 0, 4);
    }
    expect([...machine.memory.requesters]).toEqual(machine.vfIds);
    machine.complex.configWrite(ecamOffset(0, 8, 0x19), 1, 5);
    machine.complex.configWrite(ecamOffset(0, 8, 0x1a), 1, 6);
    machine.vf(0).fn.dmaRead(0 as never, new Uint8Array(4), 0, 4);
    expect(machine.memory.requesters.has((5 << 8) + 0x80), 'the bus was numbered anew').toBe(true);
  });
});
