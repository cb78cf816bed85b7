import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { DELIVERED } from '../../devices/nic82599/receive.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { BROADCAST, bytesOf, ethernet, type Mac, PEER, vfMac } from './frames.js';
import { PF_MAC, TestMachine } from './machine.js';
import { GuestVf, rxWriteBack } from './vf-guest.js';

const LB = 1 << 18;

/** Several VFs at work; `send` and `wire` return which of them got a copy, and whether the wire did. */
function setUp(policies: readonly Partial<VfPolicy>[] = [0, 1, 2].map((n) => ({ mac: vfMac(n) }))) {
  const machine = new TestMachine({ vfs: policies, memoryBytes: 0x80_0000 });
  const guests = policies.map((_, n) => new GuestVf(machine, machine.vf(n), 0x10_0000 * (n + 1)).start());
  const collect = () => {
    const got = guests.map((guest) => {
      const frame = guest.receive();
      expect(guest.receive(), 'never twice').toBeUndefined();
      return frame;
    });
    const toWire = machine.sent.splice(0);
    expect(toWire.length, 'never twice on the wire').toBeLessThanOrEqual(1);
    return { got, pools: got.flatMap((frame, n) => (frame === undefined ? [] : [n])), wire: toWire[0] };
  };
  return {
    machine,
    guests,
    send: (from: number, frame: Uint8Array, flags?: Parameters<GuestVf['send']>[1]) => {
      guests[from]!.send(frame, flags);
      return collect();
    },
    wire: (frame: Uint8Array) => {
      machine.nic.receive({ bytes: frame, length: frame.length });
      return collect();
    },
  };
}

const data = bytesOf(60);
const GROUP: Mac = [0x01, 0x00, 0x5e, 0x12, 0x34, 0x56];
const OTHER_GROUP: Mac = [0x01, 0x00, 0x5e, 0x12, 0x34, 0x66];
/** The twelve bits of an address that select a bit of the multicast table, as ixgbevf computes them. */
const hashOf = (mac: Mac): number => ((mac[4] >>> 4) | (mac[5] << 4)) & 0xfff;

describe('from the wire', () => {
  it('unicast goes to the one VF with the address', () => {
    const { wire } = setUp();
    for (const n of [0, 1, 2]) {
      const { pools, got } = wire(ethernet(vfMac(n), PEER, data));
      expect(pools).toEqual([n]);
      expect(rxWriteBack.STATUS.read(got[n]!.descriptor, 0) & LB).toBe(0);
    }
    expect(wire(ethernet([2, 2, 2, 2, 2, 2], PEER, data)).pools, 'unknown: the host’s own pool').toEqual([]);
    expect(wire(ethernet(PF_MAC, PEER, data)).pools).toEqual([]);
  });

  it('broadcast goes to all, whatever multicasts they want', () => {
    const { guests, wire } = setUp();
    expect(wire(ethernet(BROADCAST, PEER, data)).pools).toEqual([0, 1, 2]);
    guests[1]!.request(0xc, 0);
    guests[1]!.write(reg.EIMS, 3);
    expect(wire(ethernet(BROADCAST, PEER, data)).pools).toEqual([0, 1, 2]);
  });

  it('multicast goes by hash, or to a VF that takes all', () => {
    const { guests, wire } = setUp([{ mac: vfMac(0) }, { mac: vfMac(1), trusted: true }, { mac: vfMac(2) }]);
    expect(wire(ethernet(GROUP, PEER, data)).pools).toEqual([]);
    guests[0]!.request(3 | (1 << 16), hashOf(GROUP));
    // The table is shared: every VF with hashed multicast accepts what anyone asked for.
    expect(wire(ethernet(GROUP, PEER, data)).pools).toContain(0);
    expect(wire(ethernet(OTHER_GROUP, PEER, data)).pools).toEqual([]);
    guests[1]!.request(0xc, 2);
    expect(wire(ethernet(OTHER_GROUP, PEER, data)).pools).toEqual([1]);
  });

  it('tagged frames reach members of the VLAN only, and only VLANs that anyone has come in', () => {
    const { guests, wire } = setUp();
    const tagged = (n: number, tag: number) => ethernet(vfMac(n), PEER, data, { tag });
    expect(wire(tagged(0, 100)).pools).toEqual([]);
    guests[0]!.request(4 | (1 << 16), 100);
    expect(wire(tagged(0, 100)).pools).toEqual([0]);
    expect(wire(tagged(1, 100)).pools).toEqual([]);
    guests[1]!.request(4 | (1 << 16), 100);
    expect(wire(ethernet(BROADCAST, PEER, data, { tag: 100 })).pools).toEqual([0, 1]);
    guests[0]!.request(4, 100);
    expect(wire(ethernet(BROADCAST, PEER, data, { tag: 100 })).pools).toEqual([1]);
    expect(wire(tagged(2, 0)).pools, 'priority tags').toEqual([2]);
  });

  it('a VF with a port VLAN gets that VLAN without its tag, and nothing else', () => {
    const { wire } = setUp([{ mac: vfMac(0), portVlan: 7 }, { mac: vfMac(1) }]);
    const { pools, got } = wire(ethernet(vfMac(0), PEER, data, { tag: 7 }));
    expect(pools).toEqual([0]);
    expect(got[0]!.data).toEqual(ethernet(vfMac(0), PEER, data));
    expect(rxWriteBack.STATUS.read(got[0]!.descriptor, 0) & 8, 'the guest does not see the VLAN').toBe(0);
    expect(wire(ethernet(vfMac(0), PEER, data)).pools, 'untagged').toEqual([]);
    expect(wire(ethernet(BROADCAST, PEER, data)).pools).toEqual([1]);
  });

  it('without virtualisation everything goes to pool 0', () => {
    const { machine, wire } = setUp();
    machine.nic.pf.write(pfRegisters.VT_CTL.offset, 4, 0);
    expect(wire(ethernet(PEER, PEER, data)).pools).toEqual([0]);
  });
});

describe('from a VF', () => {
  it('unicast to another VF goes there, marked as looped back, and not to the wire', () => {
    const { send } = setUp();
    const frame = ethernet(vfMac(2), vfMac(0), data);
    const { pools, wire, got } = send(0, frame);
    expect(pools).toEqual([2]);
    expect(wire).toBeUndefined();
    expect(got[2]!.data).toEqual(frame);
    expect(rxWriteBack.STATUS.read(got[2]!.descriptor, 0) & LB).toBe(LB);
  });

  it('unicast to nobody here goes to the wire alone', () => {
    const { send } = setUp();
    const frame = ethernet(PEER, vfMac(0), data);
    expect(send(0, frame)).toMatchObject({ pools: [], wire: frame });
  });

  it('broadcast goes to all others and to the wire, never back', () => {
    const { send } = setUp();
    for (const n of [0, 1, 2]) {
      const { pools, wire } = send(n, ethernet(BROADCAST, vfMac(n), data));
      expect(pools).toEqual([0, 1, 2].filter((other) => other !== n));
      expect(wire).toBeDefined();
    }
  });

  it('to itself goes nowhere, unless the switch loops it back', () => {
    const { machine, send } = setUp();
    const frame = ethernet(vfMac(0), vfMac(0), data);
    expect(send(0, frame)).toMatchObject({ pools: [], wire: undefined });
    machine.nic.pf.write(pfRegisters.VMTXSW.offset, 4, 1);
    expect(send(0, frame)).toMatchObject({ pools: [0], wire: undefined });
  });

  it('everything goes to the wire when the switch is off', () => {
    const { machine, send } = setUp();
    machine.nic.pf.write(pfRegisters.TX_SWITCH.offset, 4, 0);
    expect(send(0, ethernet(vfMac(1), vfMac(0), data))).toMatchObject({ pools: [] });
    expect(send(0, ethernet(vfMac(1), vfMac(0), data)).wire).toBeDefined();
  });

  it('nothing leaves while the link is down, and VFs still reach each other', () => {
    const { machine, send } = setUp();
    machine.nic.setLink(false);
    expect(send(0, ethernet(PEER, vfMac(0), data)).wire).toBeUndefined();
    expect(send(0, ethernet(vfMac(1), vfMac(0), data)).pools).toEqual([1]);
  });

  it.each<[string, Mac]>([
    ['of another VF', vfMac(1)],
    ['of the host', PF_MAC],
    ['that nobody here has', [2, 2, 2, 2, 2, 2]],
    ['of zeros', [0, 0, 0, 0, 0, 0]],
    ['for broadcasts', BROADCAST],
    ['of a group', GROUP],
  ])('a source address %s is dropped and counted; without the check it passes', (_whose, source) => {
    const { machine, send } = setUp();
    for (const destination of [PEER, vfMac(2), BROADCAST]) {
      const { pools, wire } = send(0, ethernet(destination, source, data));
      const counted = machine.pfRead(pfRegisters.SPOOF_COUNT);
      expect({ pools, onWire: wire !== undefined, counted }).toEqual({
        pools: [],
        onWire: false,
        counted: 1,
      });
    }
    expect(machine.vf(0).pool.read(reg.GPTC.offset, 4)).toBe(0);
    machine.driver.setPolicy(0, { spoofCheck: false });
    const spoofed = ethernet(PEER, source, data);
    expect(send(0, spoofed).wire).toEqual(spoofed);
  });

  it.each([
    ['its descriptor', true],
    ['its own bytes', false],
  ])(
    'a frame with the tag in %s goes out in VLANs that its VF has joined, and is counted in others',
    (_where, inDescriptor) => {
      const { machine, guests, send } = setUp();
      const speak = (vlan: number) => {
        if (!inDescriptor) return send(0, ethernet(BROADCAST, vfMac(0), data, { tag: vlan }));
        guests[0]!.putContext({ MAC_BYTES: 14, VLAN: vlan });
        return send(0, ethernet(BROADCAST, vfMac(0), data), { INSERT_VLAN: 1, USE_CONTEXT: 1 });
      };
      const passes = (vlan: number): boolean => {
        const before = machine.pfRead(pfRegisters.SPOOF_COUNT);
        const { pools, wire } = speak(vlan);
        const dropped = machine.pfRead(pfRegisters.SPOOF_COUNT) - before;
        if (wire === undefined) expect({ pools, dropped }).toEqual({ pools: [], dropped: 1 });
        else expect(wire).toEqual(ethernet(BROADCAST, vfMac(0), data, { tag: vlan }));
        return wire !== undefined;
      };
      expect(passes(100), 'VLAN of nobody').toBe(false);
      guests[1]!.request(4 | (1 << 16), 100);
      expect(passes(100), 'VLAN of another VF').toBe(false);
      guests[0]!.request(4 | (1 << 16), 100);
      expect(passes(100), 'its own VLAN').toBe(true);
      expect(passes(0x6064), 'its own VLAN, with a priority').toBe(true);
      expect(passes(101), 'the VLAN beside it').toBe(false);
      guests[0]!.request(4, 100);
      expect(passes(100), 'the VLAN it has left').toBe(false);
      expect(passes(0x6000), 'a priority and no VLAN').toBe(true);
      machine.driver.setPolicy(0, { spoofCheck: false });
      expect(passes(100), 'without the check').toBe(true);
    },
  );

  it('a VF with a port VLAN has it inserted, and can’t speak in another', () => {
    const { machine, guests, send } = setUp([{ mac: vfMac(0), portVlan: 7 }, { mac: vfMac(1) }]);
    const { wire, pools } = send(0, ethernet(BROADCAST, vfMac(0), data));
    expect(wire).toEqual(ethernet(BROADCAST, vfMac(0), data, { tag: 7 }));
    expect(pools, 'VF 1 is not in the VLAN').toEqual([]);
    guests[1]!.request(4 | (1 << 16), 7);
    expect(send(0, ethernet(BROADCAST, vfMac(0), data)).pools).toEqual([1]);
    expect(machine.pfRead(pfRegisters.SPOOF_COUNT)).toBe(0);
  });

  it('its frames are counted for it and for the port', () => {
    const { machine, guests, send } = setUp();
    send(0, ethernet(PEER, vfMac(0), data));
    send(0, ethernet(vfMac(1), vfMac(0), data));
    expect(guests[0]!.read(reg.GPTC)).toBe(2);
    expect(guests[0]!.read(reg.GOTC_LSB)).toBe(2 * (74 + 4));
    expect(machine.pfRead(pfRegisters.GPTC), 'only one reached the wire').toBe(1);
  });
});

describe('the tables', () => {
  it('an address of two pools reaches both', () => {
    const { machine, wire } = setUp([{ mac: vfMac(0) }, { mac: vfMac(0) }, { mac: vfMac(2) }]);
    expect(wire(ethernet(vfMac(0), PEER, data)).pools).toEqual([0, 1]);
    expect(machine.driver.info(1).mac).toEqual(vfMac(0));
  });

  it('keep a VF’s own address while it is gone from its additional ones, and the reverse', () => {
    const { machine, guests, wire } = setUp([{ mac: vfMac(0), trusted: true }]);
    const guest = guests[0]!;
    const words = ([a, b, c, d, e, f]: Mac) => [a | (b << 8) | (c << 16) | (d << 24), e | (f << 8)] as const;
    const other: Mac = [0x52, 1, 2, 3, 4, 5];
    const hears = () =>
      [vfMac(0), other].map((mac) => {
        const { pools } = wire(ethernet(mac, PEER, data));
        return pools.includes(0);
      });
    guest.request(6 | (1 << 16), ...words(vfMac(0)));
    guest.request(6 | (2 << 16), ...words(other));
    expect(hears()).toEqual([true, true]);
    guest.request(2, ...words(other));
    guest.request(2, ...words(vfMac(0)));
    expect(hears(), 'its own was the other for a while').toEqual([true, true]);
    guest.request(6);
    expect(hears(), 'no additional ones').toEqual([true, false]);
    expect(machine.driver.info(0).macvlans).toEqual([]);
  });

  it('deliver what a plain reading of the registers says (against an oracle)', () => {
    const { machine, guests, wire } = setUp();
    const random = seededRandom(11);
    const macs: Mac[] = Array.from({ length: 12 }, (_, i) => [2, i & 1, 0, 0, i, random.below(256)]);
    const { pf } = machine.nic;
    const write = (register: { offset: number; stride: number }, index: number, value: number) =>
      pf.write(register.offset + index * register.stride, 4, value >>> 0);
    const entries: { mac: Mac; pools: number }[] = [];
    for (let i = 0; i < 128; i++) {
      const valid = random.chance(0.3);
      const mac = random.pick(macs);
      const pools = random.below(8);
      write(pfRegisters.RAL, i, mac[0] | (mac[1] << 8) | (mac[2] << 16) | (mac[3] << 24));
      write(pfRegisters.RAH, i, mac[4] | (mac[5] << 8) | (valid ? 0x8000_0000 : 0));
      write(pfRegisters.MPSAR_LOW, i, pools);
      write(pfRegisters.MPSAR_HIGH, i, 0);
      if (valid) entries.push({ mac, pools });
    }
    const promiscuous = 4;
    write(pfRegisters.VMOLR, 2, pf.read(pfRegisters.VMOLR.offset + 8, 4) | (1 << 22));
    for (let i = 0; i < 200; i++) {
      const to = random.pick(macs);
      const matching = entries.filter((entry) => entry.mac.every((byte, at) => byte === to[at]));
      const expected = matching.reduce((pools, entry) => pools | entry.pools, promiscuous);
      expect(wire(ethernet(to, PEER, data)).pools).toEqual([0, 1, 2].filter((n) => (expected >>> n) & 1));
    }
    expect(guests).toHaveLength(3);
  });

  it('the older place of the first sixteen addresses shows the same entries', () => {
    const { machine } = setUp();
    machine.nic.pf.write(0x5400 + 8 * 15, 4, 0x1234);
    expect(machine.nic.pf.read(0xa200 + 8 * 15, 4)).toBe(0x1234);
    expect(machine.nic.pf.read(0x5400, 4)).toBe(machine.nic.pf.read(0xa200, 4));
  });

  it('63 VFs broadcast to 62 others', () => {
    const machine = new TestMachine({
      vfs: Array.from({ length: 63 }, (_, n) => ({ mac: vfMac(n) })),
      memoryBytes: 0x10_0000 * 5,
    });
    for (let n = 0; n < 63; n++) {
      const guest = new GuestVf(machine, machine.vf(n), 0);
      guest.enableDevice();
      guest.negotiate();
    }
    const first = new GuestVf(machine, machine.vf(62), 0x10_0000);
    first.open();
    let delivered = 0;
    for (let i = 0; i < 64; i++) {
      machine.nic.pools.at(i).deliver = () => {
        delivered++;
        return DELIVERED;
      };
    }
    first.send(ethernet(BROADCAST, vfMac(62), data));
    expect(delivered, '62 VFs and the host').toBe(63);
    expect(machine.sent).toHaveLength(1);
  });
});
