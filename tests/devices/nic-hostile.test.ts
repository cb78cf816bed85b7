/** Guest drivers that lie: the architected answer each time, bounded work, no exception, and the NIC usable after it. */
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { TestMachine } from './machine.js';
import { GuestVf, TX_COUNT } from './vf-guest.js';

function setUp() {
  const machine = new TestMachine({ vfs: [{ mac: vfMac(0) }, { mac: vfMac(1) }] });
  const guest = new GuestVf(machine, machine.vf(0), 0x10_0000).start();
  const victim = new GuestVf(machine, machine.vf(1), 0x20_0000).start();
  const frame = ethernet(vfMac(0), PEER, bytesOf(100));
  let requests = 0;
  const { memory } = machine;
  for (const name of ['read', 'write', 'writeDescriptor'] as const) {
    const original = memory[name].bind(memory) as (...args: unknown[]) => unknown;
    (memory as unknown as Record<string, unknown>)[name] = (...args: unknown[]) => {
      requests++;
      return original(...args);
    };
  }
  return {
    machine,
    guest,
    victim,
    arrive: () => machine.nic.receive({ bytes: frame, length: frame.length }),
    requests: () => {
      const count = requests;
      requests = 0;
      return count;
    },
    /** The other VF, and this one after a reset, work as if nothing had happened. */
    stillWorks: () => {
      machine.sent.length = 0;
      victim.send(ethernet(PEER, vfMac(1), bytesOf(60)));
      expect(machine.sent).toHaveLength(1);
      guest.start();
      guest.send(ethernet(PEER, vfMac(0), bytesOf(60)));
      expect(machine.sent).toHaveLength(2);
      machine.nic.receive({ bytes: frame, length: frame.length });
      expect(guest.receive()?.data).toEqual(frame);
    },
  };
}

describe('rings', () => {
  const rings: [string, (guest: GuestVf) => void][] = [
    [
      'outside memory',
      (g) => {
        g.write(reg.TDBAH, 0x1000);
        g.write(reg.RDBAH, 0xffff_ffff);
      },
    ],
    [
      'at the end of the address space',
      (g) => {
        g.write(reg.TDBAL, 0xffff_ff80);
        g.write(reg.TDBAH, 0xffff_ffff);
        g.write(reg.RDBAL, 0xffff_ff80);
        g.write(reg.RDBAH, 0xffff_ffff);
      },
    ],
    [
      'of length zero',
      (g) => {
        g.write(reg.TDLEN, 0);
        g.write(reg.RDLEN, 0);
      },
    ],
    [
      'of the greatest length, mostly outside memory',
      (g) => {
        g.write(reg.TDLEN, 0xffff_ffff);
        g.write(reg.RDLEN, 0xffff_ffff);
        g.write(reg.TDT, 0xfff0);
        g.write(reg.RDT, 0xfff0);
      },
    ],
    [
      'with tails beyond them',
      (g) => {
        g.write(reg.TDT, 0xffff);
        g.write(reg.RDT, TX_COUNT);
      },
    ],
    [
      'with heads beyond them',
      (g) => {
        g.write(reg.TDH, 0xffff);
        g.write(reg.RDH, 0xffff);
        g.write(reg.TDT, 1);
      },
    ],
    [
      'shrunk under a head that is far along',
      (g) => {
        g.write(reg.TDH, 60);
        g.write(reg.RDH, 60);
        g.write(reg.TDLEN, 128);
        g.write(reg.RDLEN, 128);
        g.write(reg.TDT, 3);
      },
    ],
  ];
  for (const [name, spoil] of rings) {
    it(`${name}: bounded work, then as new`, () => {
      const t = setUp();
      spoil(t.guest);
      t.requests();
      t.machine.settle(64, 50_000);
      for (let i = 0; i < 100; i++) t.arrive();
      expect(t.requests()).toBeLessThan(100_000);
      t.stillWorks();
    });
  }

  it('base addresses are aligned to 128 bytes whatever is written', () => {
    const { guest } = setUp();
    guest.write(reg.TDBAL, 0xffff_ffff);
    guest.write(reg.RDBAL, 0x12_3457);
    guest.write(reg.TDLEN, 0xffff_ffff);
    expect(guest.read(reg.TDBAL)).toBe(0xffff_ff80);
    expect(guest.read(reg.RDBAL)).toBe(0x12_3400);
    expect(guest.read(reg.TDLEN) % 128).toBe(0);
  });

  it('a blocked descriptor read stops the queue and does not loop', () => {
    const t = setUp();
    t.guest.write(reg.TDBAH, 0x1000);
    t.guest.write(reg.TDT, 10);
    t.requests();
    expect(t.machine.nic.run(64)).toBe(false);
    expect(t.requests()).toBeLessThanOrEqual(4);
    expect(t.guest.vf.fn.configRead(6, 2) & 0x2000, 'received master abort').toBe(0x2000);
    t.stillWorks();
  });
});

describe('descriptors', () => {
  it('that point nowhere: the packet is dropped, the guest’s own ring goes on', () => {
    const t = setUp();
    t.guest.putData(new Uint8Array(0), { ADDRESS_HIGH: 0x7fff_0000, LENGTH: 100 });
    t.guest.send(ethernet(PEER, vfMac(0), bytesOf(60)));
    expect(t.machine.sent).toHaveLength(1);
    expect(t.machine.memory.blocked).toHaveLength(1);
  });

  it('receive buffers outside memory: the write is blocked and nothing else is touched', () => {
    const t = setUp();
    t.machine.memory.view.setUint32(t.guest.rxRing + 4, 0x8000, true);
    t.arrive();
    expect(t.machine.memory.blocked.map(({ write }) => write)).toEqual([true]);
    t.stillWorks();
  });

  it('a ring full of descriptors without an end is worked off forty at a time', () => {
    const t = setUp();
    for (let i = 0; i < TX_COUNT - 1; i++) t.guest.putData(bytesOf(100), { EOP: 0 });
    t.guest.ring();
    t.machine.settle();
    expect(t.machine.sent).toEqual([]);
    expect(t.guest.read(reg.TDH)).toBe(40);
    t.stillWorks();
  });

  it('contexts between the descriptors of a packet end it', () => {
    const t = setUp();
    t.guest.putData(bytesOf(100), { EOP: 0 });
    t.guest.putContext({ MAC_BYTES: 14 });
    t.guest.send(ethernet(PEER, vfMac(0), bytesOf(60)));
    expect(t.machine.sent).toHaveLength(1);
  });

  it('types that do not exist are given back unsent', () => {
    const t = setUp();
    for (const TYPE of [0, 1, 4, 15]) {
      const slot = t.guest.send(ethernet(PEER, vfMac(0), bytesOf(60)), { TYPE });
      expect(t.guest.isDone(slot)).toBe(true);
    }
    expect(t.machine.sent).toEqual([]);
  });

  it('a quarter million segments of one byte come in bounded steps, and the other VF gets its turn', () => {
    const t = setUp();
    const at = t.guest.base + 0x9_0000;
    t.machine.memory.bytes.set(ethernet(PEER, vfMac(0), bytesOf(40), { type: 0x0800 }), at);
    t.guest.putContext({ MAC_BYTES: 14, IP_BYTES: 20, L4_TYPE: 1, L4_BYTES: 20, IPV4: 1, SEGMENT_BYTES: 1 });
    for (let i = 0; i < 4; i++) {
      t.guest.putData(new Uint8Array(0), {
        ADDRESS_LOW: at,
        LENGTH: 0xffff,
        SEGMENT: 1,
        USE_CONTEXT: 1,
        EOP: i === 3 ? 1 : 0,
        PAYLOAD: 0x3_ffff,
      });
    }
    t.guest.ring();
    for (let i = 0; i < 20; i++) {
      t.requests();
      expect(t.machine.nic.run(64)).toBe(true);
      expect(t.requests()).toBeLessThan(64);
    }
    const sent = t.machine.sent.length;
    expect(sent).toBeGreaterThan(100);
    expect(sent).toBeLessThanOrEqual(20 * 65);
    t.victim.putData(ethernet(PEER, vfMac(1), bytesOf(60)));
    t.victim.ring();
    t.machine.nic.run(192);
    expect(t.machine.sent.filter((frame) => frame[11] === 2)).toHaveLength(1);
    t.guest.negotiate();
    t.stillWorks();
  });

  it('changed under the device while a packet is half sent: it goes on with what is there', () => {
    const random = seededRandom(13);
    for (let round = 0; round < 20; round++) {
      const t = setUp();
      const at = t.guest.base + 0x9_0000;
      t.machine.memory.bytes.set(ethernet(PEER, vfMac(0), bytesOf(4000), { type: 0x0800 }), at);
      t.guest.putContext({
        MAC_BYTES: 14,
        IP_BYTES: 20,
        L4_TYPE: 1,
        L4_BYTES: 20,
        IPV4: 1,
        SEGMENT_BYTES: 50,
      });
      t.guest.putData(new Uint8Array(0), { ADDRESS_LOW: at, LENGTH: 4000, SEGMENT: 1, PAYLOAD: 4000 });
      t.guest.ring();
      t.machine.nic.run(8);
      for (let i = 0; i < 4; i++) {
        t.machine.memory.view.setUint32(t.guest.txRing + 16 + i * 4, random.u32(), true);
      }
      t.machine.settle(8);
      t.stillWorks();
    }
  });
});

describe('everything else', () => {
  it('doorbells without end cost nothing later', () => {
    const t = setUp();
    for (let i = 0; i < 10_000; i++) t.guest.write(reg.TDT, 0);
    t.requests();
    expect(t.machine.nic.run(64)).toBe(false);
    expect(t.requests()).toBe(0);
  });

  it('MSI-X vectors pointing anywhere are the messages that the guest asked for', () => {
    const t = setUp();
    t.guest.vf.fn.behaviour.writeBar(3, 0, 4, 0xdead_beef);
    t.guest.vf.fn.behaviour.writeBar(3, 4, 4, 0xffff_ffff);
    t.machine.memory.messages = [];
    t.arrive();
    const [message] = t.machine.memory.messages;
    expect(message?.requester).toBe(t.machine.vfIds[0]);
    expect(message?.address).toBeGreaterThan(2 ** 63);
    t.stillWorks();
  });

  it('narrow and misaligned accesses are answered and change nothing', () => {
    const { guest } = setUp();
    const { behaviour } = guest.vf.fn;
    const before = guest.vf.save();
    for (const [offset, size] of [
      [0x1000, 1],
      [0x1001, 1],
      [0x1002, 2],
      [0x02fc, 2],
      [0x3ffc, 2],
    ] as const) {
      behaviour.writeBar(0, offset, size, 0xffff);
      expect(behaviour.readBar(0, offset, size)).toBeLessThan(2 ** (size * 8));
    }
    expect(guest.vf.save()).toEqual(before);
    expect(behaviour.readBar(0, 0x1001, 4)).toBe(0xffff_ffff);
    expect(behaviour.readBar(1, 0, 4)).toBe(0xffff_ffff);
  });

  it('BARs moved under traffic: later accesses find the new place or nobody', () => {
    const t = setUp();
    const { complex } = t.machine;
    for (const base of [0, 0xffff_0000, 0xf020_0000, 0xf000_0000]) {
      complex.configWrite((1 << 20) + 0x160 + 0x24, 4, base);
      expect(() => complex.memoryWrite(0xf020_0000 + reg.TDT.offset, 4, 5)).not.toThrow();
      t.arrive();
      t.machine.settle();
    }
    t.stillWorks();
  });

  it('a VF stays its own: nothing it can write reaches another VF’s registers', () => {
    const t = setUp();
    const other = t.machine.vf(1).pool.registers.save();
    const random = seededRandom(17);
    for (let i = 0; i < 20_000; i++) {
      t.guest.vf.fn.behaviour.writeBar(0, random.below(0x1000) * 4, 4, random.u32());
    }
    expect(t.machine.vf(1).pool.registers.save()).toEqual(other);
  });
});
