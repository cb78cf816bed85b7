import { describe, expect, it } from 'vitest';
import { memoryRequestHeader } from '../../devices/pci/aer.js';
import { ecamOffset } from '../../devices/pci/topology.js';
import { TestMachine } from './machine.js';

const DEVICE_CONTROL = 0xa8;
const DEVICE_STATUS = 0xaa;
const AER = 0x100;
const PORT_AER = 0x100;
const PORT_DEVICE_CONTROL = 0x98;
const HEADER = memoryRequestHeader(true, 0x180, 0x7000_0000, 0, 64);

/** A machine whose functions and port report all errors, with the port's interrupt on. */
function reporting() {
  const machine = new TestMachine({ vfs: [{}, {}] });
  const { complex, nic } = machine;
  const config = (bus: number, devfn: number) => ({
    read: (register: number, size: number) => complex.configRead(ecamOffset(bus, devfn, register), size),
    write: (register: number, size: number, value: number) =>
      complex.configWrite(ecamOffset(bus, devfn, register), size, value),
  });
  const port = config(0, 8);
  const pf = config(1, 0);
  pf.write(DEVICE_CONTROL, 2, 0xf);
  port.write(PORT_DEVICE_CONTROL, 2, 0xf);
  port.write(PORT_AER + 0x2c, 4, 7);
  port.write(0x64, 4, 0xfee0_2000);
  port.write(0x6c, 2, 0x30);
  port.write(0x62, 2, 1);
  machine.memory.messages = [];
  return { machine, nic, port, pf, vf: config(1, 0x80), vf1: config(1, 0x82) };
}

const interrupts = (machine: TestMachine) => machine.memory.messages.filter((m) => m.data === 0x30).length;

describe('AER of a function', () => {
  it('logs the header of the first unmasked error and keeps it until its status is cleared', () => {
    const { nic, pf } = reporting();
    const { aer } = nic.pf;
    aer.uncorrectable(aer.errors.UNSUPPORTED_REQUEST, HEADER);
    expect(pf.read(AER + 0x04, 4)).toBe(1 << 20);
    expect(pf.read(AER + 0x18, 4) & 0x1f).toBe(20);
    expect(pf.read(AER + 0x1c, 4)).toBe(HEADER[0]);
    expect(pf.read(AER + 0x20, 4) >>> 16, 'requester id').toBe(0x180);
    aer.uncorrectable(aer.errors.POISONED, memoryRequestHeader(false, 0x200, 0, 0, 4));
    expect(pf.read(AER + 0x1c, 4), 'the second error is not logged').toBe(HEADER[0]);
    expect(pf.read(AER + 0x18, 4) & 0x1f).toBe(20);
    pf.write(AER + 0x04, 4, 1 << 20);
    aer.uncorrectable(aer.errors.MALFORMED, [1, 2, 3, 4]);
    expect(pf.read(AER + 0x1c, 4)).toBe(1);
    expect(pf.read(AER + 0x18, 4) & 0x1f).toBe(18);
  });

  it('sets the status of a masked error and neither logs nor reports it', () => {
    const { machine, nic, pf, port } = reporting();
    pf.write(AER + 0x08, 4, 1 << 20);
    nic.pf.aer.uncorrectable(nic.pf.aer.errors.UNSUPPORTED_REQUEST, HEADER);
    expect(pf.read(AER + 0x04, 4)).toBe(1 << 20);
    expect(pf.read(AER + 0x1c, 4)).toBe(0);
    expect(port.read(PORT_AER + 0x30, 4)).toBe(0);
    expect(interrupts(machine)).toBe(0);
  });

  it('keeps status, mask and severity over a function-level reset', () => {
    const { nic, pf } = reporting();
    pf.write(AER + 0x0c, 4, 0x12000);
    nic.pf.aer.uncorrectable(nic.pf.aer.errors.ECRC, HEADER);
    const severity = pf.read(AER + 0x0c, 4);
    pf.write(DEVICE_CONTROL, 2, 0x8000);
    expect(pf.read(AER + 0x04, 4)).toBe(1 << 19);
    expect(pf.read(AER + 0x0c, 4)).toBe(severity);
    expect(pf.read(AER + 0x20, 4)).toBe(HEADER[1]);
  });

  it('tells fatal from non-fatal by severity, in the function and at the root', () => {
    for (const fatal of [false, true]) {
      const { machine, nic, pf, port } = reporting();
      pf.write(AER + 0x0c, 4, fatal ? 1 << 12 : 0);
      nic.pf.aer.uncorrectable(nic.pf.aer.errors.POISONED, HEADER);
      expect(pf.read(DEVICE_STATUS, 2) & 0x6).toBe(fatal ? 4 : 2);
      // Uncorrectable received, first fatal, non-fatal received, fatal received.
      expect(port.read(PORT_AER + 0x30, 4)).toBe(fatal ? 0x54 : 0x24);
      expect(port.read(PORT_AER + 0x34, 4) >>> 16).toBe(0x100);
      expect(interrupts(machine)).toBe(1);
    }
  });

  it('reports an advisory error as correctable when it is not fatal', () => {
    const { nic, pf, port } = reporting();
    pf.write(AER + 0x14, 4, 0);
    nic.pf.aer.uncorrectable(nic.pf.aer.errors.COMPLETION_TIMEOUT, HEADER, true);
    expect(pf.read(AER + 0x10, 4)).toBe(1 << 13);
    expect(pf.read(DEVICE_STATUS, 2) & 0x7).toBe(1);
    expect(port.read(PORT_AER + 0x30, 4)).toBe(1);
  });

  it('says nothing without its enable', () => {
    const { machine, nic, pf, port } = reporting();
    pf.write(DEVICE_CONTROL, 2, 0);
    nic.pf.aer.uncorrectable(nic.pf.aer.errors.POISONED, HEADER);
    nic.pf.aer.correctable(nic.pf.aer.correctableErrors.RECEIVER);
    expect(pf.read(AER + 0x04, 4)).toBe(1 << 12);
    expect(port.read(PORT_AER + 0x30, 4)).toBe(0);
    expect(interrupts(machine)).toBe(0);
  });

  it('in a VF follows the masks and enables of the physical function, with its own status and id', () => {
    const { nic, pf, port, vf } = reporting();
    vf.write(AER + 0x08, 4, 0xffff_ffff);
    expect(vf.read(AER + 0x08, 4), 'a VF has no mask of its own').toBe(0);
    const { aer } = nic.vf(0);
    aer.uncorrectable(aer.errors.UNSUPPORTED_REQUEST, HEADER);
    expect(vf.read(AER + 0x04, 4)).toBe(1 << 20);
    expect(pf.read(AER + 0x04, 4)).toBe(0);
    expect(port.read(PORT_AER + 0x34, 4) >>> 16).toBe(0x180);
    pf.write(AER + 0x08, 4, 1 << 18);
    nic.vf(1).aer.uncorrectable(aer.errors.MALFORMED, HEADER);
    expect(port.read(PORT_AER + 0x30, 4) & 8, 'masked by the physical function').toBe(0);
  });
});

describe('root error reporting', () => {
  it('keeps the source of the first error and marks that there were more', () => {
    const { machine, nic, port } = reporting();
    const { aer } = nic.vf(0);
    aer.uncorrectable(aer.errors.POISONED, HEADER);
    nic.vf(1).aer.uncorrectable(aer.errors.POISONED, HEADER);
    expect(port.read(PORT_AER + 0x34, 4) >>> 16).toBe(0x180);
    expect(port.read(PORT_AER + 0x30, 4) & 0xf).toBe(0xc);
    expect(interrupts(machine), 'the cause was set already').toBe(1);
    port.write(PORT_AER + 0x30, 4, 0x7f);
    nic.vf(1).aer.uncorrectable(aer.errors.POISONED, HEADER);
    expect(port.read(PORT_AER + 0x34, 4) >>> 16).toBe(0x182);
    expect(interrupts(machine)).toBe(2);
  });

  it('keeps correctable errors apart', () => {
    const { machine, nic, pf, port } = reporting();
    pf.write(AER + 0x14, 4, 0);
    nic.pf.aer.correctable(nic.pf.aer.correctableErrors.BAD_TLP);
    nic.vf(0).aer.correctable(nic.pf.aer.correctableErrors.BAD_TLP);
    expect(port.read(PORT_AER + 0x30, 4)).toBe(3);
    expect(port.read(PORT_AER + 0x34, 4)).toBe(0x100);
    expect(interrupts(machine)).toBe(1);
  });

  it('drops what the port does not forward; SERR forwarding lets the serious ones through', () => {
    const { nic, port } = reporting();
    port.write(PORT_DEVICE_CONTROL, 2, 0);
    nic.pf.aer.uncorrectable(nic.pf.aer.errors.POISONED, HEADER);
    expect(port.read(PORT_AER + 0x30, 4)).toBe(0);
    port.write(0x3e, 2, 2);
    nic.pf.aer.uncorrectable(nic.pf.aer.errors.POISONED, HEADER);
    expect(port.read(PORT_AER + 0x30, 4) & 4).toBe(4);
  });

  it('does not interrupt for causes that are not enabled', () => {
    const { machine, nic, port } = reporting();
    port.write(PORT_AER + 0x2c, 4, 0);
    nic.pf.aer.uncorrectable(nic.pf.aer.errors.POISONED, HEADER);
    expect(port.read(PORT_AER + 0x30, 4)).not.toBe(0);
    expect(interrupts(machine)).toBe(0);
  });
});
