import { describe, expect, it } from 'vitest';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const { RSTI, RSTD } = reg.MAILBOX.fields;
const made = ({ nic }: TestMachine): number[] =>
  Array.from({ length: 64 }, (_, i) => i).filter((i) => nic.pools.find(i) !== undefined);

describe('pools of a NIC', () => {
  it('that nobody has used take no memory, whatever traffic the others have', () => {
    const machine = new TestMachine({ vfs: [{ mac: vfMac(0) }, { mac: vfMac(1) }] });
    new GuestVf(machine, machine.vf(0), 0x10_0000).start();
    machine.nic.receive({ bytes: ethernet(vfMac(0), PEER, bytesOf(50)), length: 64 });
    machine.nic.pf.write(pfRegisters.VFTE.offset, 4, 0xffff_ffff);
    expect(made(machine)).toEqual([0, 1]);
  });

  it('are, when they are first asked for, as all are since the last reset', () => {
    const { nic } = new TestMachine({ vfs: [{ mac: vfMac(0) }] });
    const mailbox = (pool: number): number => nic.pools.at(pool).registers.get(reg.MAILBOX);
    expect(mailbox(40)).toBe(RSTD.mask);
    nic.pf.write(pfRegisters.CTRL.offset, 4, pfRegisters.CTRL.fields.RST.mask);
    expect([40, 41].map(mailbox)).toEqual([RSTI.mask, RSTI.mask]);
    nic.pf.write(pfRegisters.CTRL_EXT.offset, 4, pfRegisters.CTRL_EXT.fields.PFRSTD.mask);
    expect([40, 42].map(mailbox)).toEqual([RSTD.mask, RSTD.mask]);
  });
});
