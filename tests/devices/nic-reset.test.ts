import { describe, expect, it } from 'vitest';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const FLR = 0x8000;
const DEVICE_CONTROL = 0xa8;

function working() {
  const machine = new TestMachine({ vfs: [{ mac: vfMac(0) }, { mac: vfMac(1) }] });
  const guest = new GuestVf(machine, machine.vf(0), 0x10_0000).start();
  guest.write(reg.PSRTYPE, 1 << 29);
  guest.write(reg.TDWBAL, 0x12_0001);
  guest.write(reg.EITR, 0x3f8);
  return { machine, guest };
}

const flr = (guest: GuestVf) => guest.vf.fn.configWrite(DEVICE_CONTROL, 2, FLR);
const soft = (guest: GuestVf) => guest.write(reg.CTRL, 1 << 26);

describe('function-level reset of a VF', () => {
  it('leaves exactly the registers alone that the specification update lists', () => {
    const { machine, guest } = working();
    machine.nic.receive({ bytes: ethernet(vfMac(0), PEER, bytesOf(50)), length: 64 });
    const kept = [
      reg.RDH,
      reg.RDT,
      reg.TDH,
      reg.TDT,
      reg.PSRTYPE,
      reg.SRRCTL,
      reg.RXDCTL,
      reg.TDWBAL,
      reg.TDWBAH,
      reg.DCA_RXCTRL,
      reg.DCA_TXCTRL,
    ];
    const before = kept.map((register) => guest.read(register));
    // The driver would switch TXDCTL off and on; here only the hardware acts.
    machine.memory.onMessage = () => {};
    const transmit = guest.read(reg.TXDCTL);
    flr(guest);
    expect(kept.map((register) => guest.read(register))).toEqual(before);
    expect(before.slice(0, 2)).toEqual([1, 63]);
    expect(guest.read(reg.TXDCTL)).toBe(transmit);
  });

  it('clears interrupt registers, MSI-X and the command register', () => {
    const { guest } = working();
    flr(guest);
    for (const register of [reg.EIMS, reg.EICR, reg.EIAC, reg.EIAM, reg.IVAR, reg.IVAR_MISC, reg.EITR]) {
      expect(guest.read(register)).toBe(0);
    }
    expect(guest.vf.fn.configRead(0x04, 2)).toBe(0);
    expect(guest.vf.fn.configRead(0x72, 2)).toBe(2);
    expect(guest.vf.fn.behaviour.readBar(3, 12, 4)).toBe(1);
  });

  it('FLR reads back as zero, and keeps the mailbox memory', () => {
    const { machine, guest } = working();
    machine.memory.onMessage = () => {};
    guest.write(reg.MBMEM, 0x1234, 7);
    flr(guest);
    expect(guest.vf.fn.configRead(DEVICE_CONTROL, 2)).toBe(0);
    expect(guest.read(reg.MBMEM, 7)).toBe(0x1234);
  });
});

describe('either reset of a VF', () => {
  it.each([
    ['function-level', flr],
    ['VFCTRL', soft],
  ] as const)(
    '%s: the physical function stops its transmit queues, and leaves the rest of their settings',
    (_name, reset) => {
      const { guest } = working();
      const thresholds = 0x0008_0120;
      guest.write(reg.TXDCTL, thresholds | (1 << 25));
      reset(guest);
      expect(guest.read(reg.TXDCTL)).toBe(thresholds);
      expect(guest.read(reg.TXDCTL, 1)).toBe(0);
    },
  );

  for (const [name, reset] of [
    ['function-level', flr],
    ['VFCTRL', soft],
  ] as const) {
    it(`${name}: no DMA survives it, though the queues still say that they are enabled`, () => {
      const { machine, guest } = working();
      machine.memory.onMessage = () => {};
      for (let i = 0; i < 20; i++) guest.putData(ethernet(PEER, vfMac(0), bytesOf(50)));
      guest.ring();
      reset(guest);
      guest.vf.fn.configWrite(0x04, 2, 4);
      expect(guest.read(reg.RXDCTL) & (1 << 25)).toBe(1 << 25);
      expect(guest.read(reg.TXDCTL) & (1 << 25)).toBe(1 << 25);
      const { writes } = machine.memory;
      machine.memory.requesters.clear();
      machine.settle();
      machine.nic.receive({ bytes: ethernet(vfMac(0), PEER, bytesOf(50)), length: 64 });
      guest.write(reg.TDT, 5);
      machine.settle();
      expect(machine.memory.writes).toBe(writes);
      expect(machine.memory.requesters.size).toBe(0);
      expect(machine.sent).toEqual([]);
      expect(machine.pfRead(pfRegisters.VFTE) & 1).toBe(0);
      expect(machine.pfRead(pfRegisters.VFRE) & 1).toBe(0);
    });

    it(`${name}: tells the physical function, whose driver forgets what the VF had`, () => {
      const { machine, guest } = working();
      guest.request(4 | (1 << 16), 100);
      expect(machine.driver.info(0).clearToSend).toBe(true);
      const heard: number[] = [];
      const { onMessage } = machine.memory;
      machine.memory.onMessage = (message) => {
        heard.push(machine.pfRead(pfRegisters.VFLRE0));
        onMessage(message);
      };
      reset(guest);
      expect(heard).toContain(1);
      expect(machine.pfRead(pfRegisters.VFLRE0)).toBe(0);
      expect([...machine.driver.info(0).vlans]).toEqual([]);
      expect(machine.driver.info(0).apiVersion).toBe(0);
    });

    it(`${name}: leaves other VFs at work`, () => {
      const { machine, guest } = working();
      const other = new GuestVf(machine, machine.vf(1), 0x20_0000).start();
      reset(guest);
      other.send(ethernet(PEER, vfMac(1), bytesOf(50)));
      expect(machine.sent).toHaveLength(1);
      machine.nic.receive({ bytes: ethernet(vfMac(1), PEER, bytesOf(50)), length: 64 });
      expect(other.receive()).toBeDefined();
    });
  }

  it('VFCTRL leaves PCI configuration alone', () => {
    const { guest } = working();
    soft(guest);
    expect(guest.vf.fn.configRead(0x04, 2)).toBe(4);
    expect(guest.vf.fn.configRead(0x72, 2)).toBe(0x8002);
    expect(guest.read(reg.CTRL)).toBe(0);
  });

  it('the guest can start over, as Linux does, and works again', () => {
    for (const reset of [flr, soft]) {
      const { machine, guest } = working();
      reset(guest);
      guest.start();
      guest.send(ethernet(PEER, vfMac(0), bytesOf(50)));
      expect(machine.sent).toHaveLength(1);
      machine.nic.receive({ bytes: ethernet(vfMac(0), PEER, bytesOf(50)), length: 64 });
      expect(guest.receive()).toBeDefined();
    }
  });
});

describe('reset of the physical function', () => {
  it('by software puts every pool back to defaults and shows it to VFs', () => {
    const { machine, guest } = working();
    machine.nic.pf.write(0, 4, 1 << 26);
    expect(guest.read(reg.RXDCTL)).toBe(0);
    expect(guest.read(reg.SRRCTL)).toBe(0x402);
    expect(guest.read(reg.MAILBOX) & 0x40).toBe(0x40);
    expect(machine.pfRead(pfRegisters.VT_CTL)).toBe(0);
    expect(guest.vf.fn.configRead(0x04, 2), 'configuration space stays').toBe(4);
    machine.driver.start();
    guest.start();
    guest.send(ethernet(PEER, vfMac(0), bytesOf(50)));
    expect(machine.sent).toHaveLength(1);
  });

  it('keeps the link, so that VFs find it up again', () => {
    const { machine, guest } = working();
    machine.nic.pf.write(0, 4, 1 << 26);
    expect(guest.read(reg.LINKS) & (1 << 30)).toBe(1 << 30);
    expect(guest.read(reg.STATUS)).not.toBe(0xffff_ffff);
  });
});
