/** Registers of a virtual function read out and written into one that was reset: what comes back, and what can't. */
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { microseconds } from '../../base/units.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { readRegisters, writeRegisters } from '../../devices/nic82599/replay.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import type { TestMachine } from './machine.js';
import type { GuestVf } from './vf-guest.js';
import { guestAt, host } from './vf-host.js';

const FRAME = ethernet(vfMac(0), PEER, bytesOf(100));
const arrive = ({ nic }: TestMachine): void => nic.receiveBytes(FRAME, 0, FRAME.length);

/** A function in the middle of its work: frames in, a packet that was sent in part, a context, an interrupt held back. */
function busy() {
  const machine = host({ trusted: true });
  const guest = guestAt(machine);
  guest.request(4 | (1 << 16), 100);
  guest.request(3 | (2 << 16), 0x0123_0456);
  for (let i = 0; i < 5; i++) arrive(machine);
  guest.putContext({ MAC_BYTES: 14, IP_BYTES: 20, L4_TYPE: 1, L4_BYTES: 20, IPV4: 1, SEGMENT_BYTES: 40 });
  const at = guest.base + 0x9_0000;
  machine.memory.bytes.set(ethernet(PEER, vfMac(0), bytesOf(5000), { type: 0x0800 }), at);
  guest.putData(new Uint8Array(0), { ADDRESS_LOW: at, LENGTH: 4054, SEGMENT: 1, PAYLOAD: 4000 });
  guest.ring();
  machine.nic.run(20);
  guest.write(reg.EITR, 400);
  return { machine, guest };
}

const described = ({ vf }: GuestVf): ReadonlyMap<string, string> => new Map(vf.describe(vf.save()));

describe('registers that are read out and written into another function', () => {
  it('are all there but those that no access changes, which are exactly these', () => {
    const { machine, guest } = busy();
    const before = described(guest);
    const physical = guest.vf.physicalPart.save();
    const registers = readRegisters(guest.vf.pool);
    const target = host({ trusted: true });
    target.memory.bytes.set(machine.memory.bytes);
    const there = guest.movedTo(target, target.vf(0));
    there.enableDevice();
    there.vf.physicalPart.restore({ ...physical, name: there.vf.name });
    expect(writeRegisters(there.vf.pool, registers)).toBeUndefined();
    const after = described(there);
    const lost = [...before].filter(([name, value]) => after.get(name) !== value).map(([name]) => name);
    // Counters, the context, and how much of the packet was sent.
    expect(lost.map((name) => name.replace(/^(config|msix)\..*/, '$1')).sort()).toEqual([
      'registers.GORC_LSB',
      'registers.GOTC_LSB',
      'registers.GPRC',
      'registers.GPTC',
      'transmit0.contexts',
      'transmit0.segmentsSent',
    ]);
    expect(there.read(reg.RDH)).toBe(5);
    // It takes the next frame where the other would have.
    arrive(target);
    expect(there.read(reg.RDH)).toBe(6);
  });

  it('leave an answer that the driver has not read in its mailbox, and a cause that waited', () => {
    const { guest } = busy();
    guest.write(reg.EIMC, 7);
    guest.write(reg.EICS, 2);
    const { VFU, REQ, PFSTS } = reg.MAILBOX.fields;
    guest.write(reg.MAILBOX, VFU.mask);
    guest.write(reg.MBMEM, 4 | (1 << 16));
    guest.write(reg.MBMEM, 200, 1);
    guest.write(reg.MAILBOX, REQ.mask);
    guest.machine.time.advance(microseconds(100));
    const physical = guest.vf.physicalPart.save();
    const registers = readRegisters(guest.vf.pool);
    guest.vf.fn.reset('function');
    expect(guest.read(reg.MAILBOX) & PFSTS.mask).toBe(0);
    guest.vf.physicalPart.restore(physical);
    writeRegisters(guest.vf.pool, registers);
    expect(guest.read(reg.EICR) & 2).toBe(2);
    expect(guest.read(reg.MAILBOX) & PFSTS.mask).toBe(PFSTS.mask);
    expect(guest.read(reg.MBMEM) >>> 29).toBe(0b101);
  });

  it('may hold anything, and are refused whole when bytes are missing', () => {
    const { machine, guest } = busy();
    const registers = readRegisters(guest.vf.pool);
    expect(writeRegisters(guest.vf.pool, registers.subarray(4))).toMatch(
      /bytes of registers where \d+ belong/,
    );
    const random = seededRandom(5);
    for (let i = 0; i < 50; i++) {
      const hostile = Uint8Array.from(registers, () => random.below(256));
      expect(writeRegisters(guest.vf.pool, hostile)).toBeUndefined();
      arrive(machine);
      machine.nic.run(256);
    }
  });
});
