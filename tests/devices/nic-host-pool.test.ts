/** The physical function's own queues: the same rings, seen through its views, with its requester id and vectors. */
import { describe, expect, it } from 'vitest';
import { compose } from '../../base/bits.js';
import { rxWriteBack, txData } from '../../devices/nic82599/descriptors.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { PF_MAC, TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const RX = 0x30_0000;
const TX = 0x30_1000;
const BUFFER = 0x30_2000;

/** Queue 0 of the host's pool (the one behind the last VF), with vector 3 for receive and 4 for transmit. */
function setUp(vfs: number) {
  const machine = new TestMachine({ vfs: Array.from({ length: vfs }, (_, n) => ({ mac: vfMac(n) })) });
  const { pf } = machine.nic;
  const queue = vfs * 2;
  const rx = queue < 64 ? 0x1000 + 0x40 * queue : 0xd000 + 0x40 * (queue - 64);
  const tx = 0x6000 + 0x40 * queue;
  const write = (offset: number, value: number) => pf.write(offset, 4, value >>> 0);
  write(tx, TX);
  write(tx + 8, 16 * 16);
  write(tx + 0x28, 1 << 25);
  write(rx, RX);
  write(rx + 8, 16 * 16);
  write(rx + 0x14, 2 | (1 << 25));
  write(rx + 0x28, 1 << 25);
  for (let i = 0; i < 16; i++) machine.memory.view.setUint32(RX + i * 16, BUFFER + i * 2048, true);
  write(rx + 0x18, 15);
  write(pfRegisters.IVAR.offset + (queue >>> 1) * 4, 0x80 | 3 | ((0x80 | 4) << 8));
  for (const vector of [3, 4]) {
    pf.fn.behaviour.writeBar(4, vector * 16, 4, 0xfee0_0000);
    pf.fn.behaviour.writeBar(4, vector * 16 + 8, 4, 0x60 + vector);
    pf.fn.behaviour.writeBar(4, vector * 16 + 12, 4, 0);
  }
  write(pfRegisters.EIMS.offset, 0x18);
  machine.memory.messages = [];
  machine.memory.requesters.clear();
  return { machine, pf, rx, tx, write };
}

describe.each([0, 1, 40, 63])('the host’s own pool beside %i VFs', (vfs) => {
  it('receives what is addressed to the host, or to nobody', () => {
    const { machine, pf, rx } = setUp(vfs);
    for (const to of [PF_MAC, [2, 9, 9, 9, 9, 9]] as const) {
      const frame = ethernet(to, PEER, bytesOf(60));
      machine.nic.receive({ bytes: frame, length: frame.length });
    }
    expect(pf.read(rx + 0x10, 4)).toBe(2);
    const words = Uint32Array.from({ length: 4 }, (_, i) => machine.memory.view.getUint32(RX + i * 4, true));
    expect(rxWriteBack.LENGTH.read(words, 0)).toBe(74);
    expect(machine.memory.messages.map((m) => m.data)).toEqual([0x63, 0x63]);
    expect([...machine.memory.requesters]).toEqual([pf.fn.routingId]);
  });

  it('sends, to the wire and to VFs', () => {
    const { machine, tx, write } = setUp(vfs);
    const frame = ethernet(vfs > 0 ? vfMac(0) : PEER, PF_MAC, bytesOf(60));
    const guest = vfs > 0 && vfs < 63 ? new GuestVf(machine, machine.vf(0), 0x10_0000).start() : undefined;
    machine.memory.messages = [];
    machine.memory.bytes.set(frame, BUFFER);
    const words = compose(txData, 4, {
      ADDRESS_LOW: BUFFER,
      LENGTH: frame.length,
      TYPE: 3,
      EXTENDED: 1,
      EOP: 1,
      REPORT_STATUS: 1,
    });
    words.forEach((word, i) => {
      machine.memory.view.setUint32(TX + i * 4, word, true);
    });
    write(tx + 0x18, 1);
    machine.settle();
    expect(machine.memory.view.getUint32(TX + 12, true) & 1).toBe(1);
    expect(machine.memory.messages.map((m) => m.data)).toContain(0x64);
    if (guest !== undefined) expect(guest.receive()?.data).toEqual(frame);
    else if (vfs === 0) expect(machine.sent).toEqual([frame]);
  });
});
