import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { storeChecksum, sumBytes } from '../../devices/ethernet/checksum.js';
import { FrameBuffer } from '../../devices/ethernet/frame.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import {
  bytesOf,
  ethernet,
  IPV4,
  IPV6,
  internetChecksum,
  ipv4,
  ipv6,
  PEER,
  pseudoSum,
  SOURCE_IP6,
  TARGET_IP6,
  tcp,
  udp,
  vfMac,
} from './frames.js';
import { rxWriteBack } from './vf-guest.js';
import { hostWithGuest } from './vf-host.js';

function setUp() {
  const { machine, guest } = hostWithGuest();
  const deliver = (payload: Uint8Array, options: { type: number; tag?: number }) => {
    const frame = ethernet(vfMac(0), PEER, payload, options);
    machine.nic.receive({ bytes: frame, length: frame.length });
    return guest.receive()!.descriptor;
  };
  return { machine, guest, deliver };
}

const IPCS = 1 << 6;
const L4CS = 1 << 5;
const UDPCS = 1 << 4;
const IPE = 0x800;
const TCPE = 0x400;
const verdict = (words: Uint32Array) => ({
  status: rxWriteBack.STATUS.read(words, 0) & (IPCS | L4CS | UDPCS),
  error: rxWriteBack.ERROR.read(words, 0),
});

describe('receive checksums', () => {
  it('are judged for TCP and UDP over IPv4 and IPv6, of any length', () => {
    const { deliver } = setUp();
    for (const size of [0, 1, 2, 3, 46, 99, 1000, 1399]) {
      const payload = bytesOf(size, size);
      expect(verdict(deliver(ipv4(6, tcp(payload)), IPV4))).toEqual({ status: IPCS | L4CS, error: 0 });
      expect(verdict(deliver(ipv4(17, udp(payload)), IPV4))).toEqual({
        status: IPCS | L4CS | UDPCS,
        error: 0,
      });
      expect(verdict(deliver(ipv6(6, tcp(payload, { wide: true })), IPV6))).toEqual({
        status: L4CS,
        error: 0,
      });
      expect(verdict(deliver(ipv6(17, udp(payload, { wide: true })), IPV6))).toEqual({
        status: L4CS | UDPCS,
        error: 0,
      });
    }
  });

  it('find every single-bit error in header and payload', () => {
    const { machine, guest } = setUp();
    const good = ethernet(vfMac(0), PEER, ipv4(6, tcp(bytesOf(40))), IPV4);
    // Bits of the IP header that only the header's sum covers, and of the segment.
    for (let bit = 22 * 8; bit < good.length * 8; bit += 5) {
      const frame = good.slice();
      frame[bit >>> 3]! ^= 1 << (bit & 7);
      machine.nic.receive({ bytes: frame, length: frame.length });
      expect(rxWriteBack.ERROR.read(guest.receive()!.descriptor, 0), `bit ${bit}`).not.toBe(0);
    }
  });

  it('tell header errors from payload errors', () => {
    const { deliver } = setUp();
    expect(verdict(deliver(ipv4(6, tcp(bytesOf(20)), { checksum: 1 }), IPV4))).toEqual({
      status: IPCS | L4CS,
      error: IPE,
    });
    expect(verdict(deliver(ipv4(6, tcp(bytesOf(20), { checksum: 1 })), IPV4)).error).toBe(TCPE);
    expect(verdict(deliver(ipv4(17, udp(bytesOf(20), { checksum: 1 })), IPV4)).error).toBe(TCPE);
  });

  it('leave alone what has no checksum or is not recognised', () => {
    const { deliver } = setUp();
    expect(verdict(deliver(ipv4(17, udp(bytesOf(20), { checksum: 0 })), IPV4))).toEqual({
      status: IPCS,
      error: 0,
    });
    // IPv6 has no header checksum to have been looked at.
    const without = deliver(ipv6(17, udp(bytesOf(20), { checksum: 0, wide: true })), IPV6);
    expect(verdict(without)).toEqual({ status: 0, error: 0 });
    expect(verdict(deliver(ipv4(17, udp(bytesOf(20)), { fragment: 0x2000 }), IPV4)).status).toBe(IPCS);
    expect(verdict(deliver(ipv4(1, bytesOf(20)), IPV4)).status).toBe(IPCS);
    expect(verdict(deliver(bytesOf(60), { type: 0x0806 }))).toEqual({ status: 0, error: 0 });
  });

  it('ignore padding behind the datagram and tags before it', () => {
    const { guest, machine, deliver } = setUp();
    const short = ipv4(17, udp(bytesOf(1)));
    expect(verdict(deliver(short, IPV4)).error).toBe(0);
    const padded = new Uint8Array(60).fill(0xee);
    padded.set(short);
    expect(verdict(deliver(padded, IPV4)).error).toBe(0);
    guest.request(4 | (1 << 16), 100);
    expect(verdict(deliver(ipv4(6, tcp(bytesOf(33))), { ...IPV4, tag: 100 }))).toEqual({
      status: IPCS | L4CS,
      error: 0,
    });
    expect(machine.memory.blocked).toEqual([]);
  });

  it('name the packet type', () => {
    const { deliver } = setUp();
    const type = (words: Uint32Array) => words[0]! & 0x1_fff0;
    expect(type(deliver(ipv4(6, tcp(bytesOf(4))), IPV4))).toBe(0x110);
    expect(type(deliver(ipv4(17, udp(bytesOf(4))), IPV4))).toBe(0x210);
    expect(type(deliver(ipv6(6, tcp(bytesOf(4), { wide: true })), IPV6))).toBe(0x140);
    expect(type(deliver(ipv4(1, bytesOf(8)), IPV4))).toBe(0x10);
    expect(type(deliver(bytesOf(60), { type: 0x0806 }))).toBe(0);
  });

  it('never look outside the frame, whatever its headers claim', () => {
    const { machine, guest } = setUp();
    const random = seededRandom(9);
    for (let i = 0; i < 3000; i++) {
      const base = ethernet(
        vfMac(0),
        PEER,
        random.chance(0.5) ? ipv4(6, tcp(bytesOf(60))) : ipv6(0, bytesOf(80)),
        {
          type: random.pick([0x0800, 0x86dd, 0x8100]),
        },
      );
      const frame = base.slice(0, 14 + random.below(base.length - 14));
      for (let flips = 0; flips < 4; flips++) frame[14 + random.below(frame.length - 13)] = random.below(256);
      machine.nic.receive({ bytes: frame, length: frame.length });
      guest.receive();
    }
    expect(guest.read(reg.GPRC)).toBeGreaterThan(1000);
  });
});

describe('RSS', () => {
  // Verification vectors published with Microsoft's RSS specification.
  const KEY = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
  ];
  const vectors = [
    {
      from: [66, 9, 149, 187],
      port: 2794,
      to: [161, 142, 100, 80],
      toPort: 1766,
      tcp: 0x51ccc178,
      ip: 0x323e8fc2,
    },
    {
      from: [199, 92, 111, 2],
      port: 14230,
      to: [65, 69, 140, 83],
      toPort: 4739,
      tcp: 0xc626b0ea,
      ip: 0xd718262a,
    },
    {
      from: [24, 19, 198, 95],
      port: 12898,
      to: [12, 22, 207, 184],
      toPort: 38024,
      tcp: 0x5c2b394a,
      ip: 0xd2d0a5de,
    },
  ];

  it('hashes as the published vectors say', () => {
    const { machine, guest } = setUp();
    for (let i = 0; i < 10; i++) {
      const word = KEY[i * 4]! | (KEY[i * 4 + 1]! << 8) | (KEY[i * 4 + 2]! << 16) | (KEY[i * 4 + 3]! << 24);
      machine.nic.pf.write(pfRegisters.RSSRK.offset + i * 4, 4, word >>> 0);
    }
    for (const vector of vectors) {
      for (const protocol of [6, 1]) {
        const packet = ipv4(protocol, protocol === 6 ? tcp(bytesOf(10)) : bytesOf(30));
        packet.set([...vector.from, ...vector.to], 12);
        packet.set([vector.port >>> 8, vector.port & 0xff, vector.toPort >>> 8, vector.toPort & 0xff], 20);
        const frame = ethernet(vfMac(0), PEER, packet, IPV4);
        machine.nic.receive({ bytes: frame, length: frame.length });
        const words = guest.receive()!.descriptor;
        expect(words[1]).toBe(protocol === 6 ? vector.tcp : vector.ip);
        expect(words[0]! & 0xf).toBe(protocol === 6 ? 1 : 2);
      }
    }
  });

  it('spreads flows over both queues of a VF that asks for it, each flow to one', () => {
    const { machine, guest } = setUp();
    // The second queue, with the same ring registers but its own memory.
    const ring = guest.base + 0x4_0000;
    for (let i = 0; i < 64; i++) machine.memory.view.setUint32(ring + i * 16, guest.base + 0x5_0000, true);
    guest.write(reg.RDBAL, ring, 1);
    guest.write(reg.RDLEN, 64 * 16, 1);
    guest.write(reg.SRRCTL, 2 | (1 << 25) | (1 << 28), 1);
    guest.write(reg.RXDCTL, 1 << 25, 1);
    guest.write(reg.RDT, 63, 1);
    const flow = (n: number) => {
      const packet = ipv4(6, tcp(bytesOf(10)));
      packet.set([n >>> 8, n & 0xff], 20);
      const frame = ethernet(vfMac(0), PEER, packet, IPV4);
      machine.nic.receive({ bytes: frame, length: frame.length });
    };
    for (let n = 0; n < 20; n++) flow(n);
    expect(guest.read(reg.RDH, 1), 'without RQPL all go to the first').toBe(0);
    guest.write(reg.PSRTYPE, 1 << 29);
    const counts = [guest.read(reg.RDH, 0), guest.read(reg.RDH, 1)];
    for (let n = 0; n < 20; n++) flow(n);
    const first = guest.read(reg.RDH, 0) - counts[0]!;
    const second = guest.read(reg.RDH, 1) - counts[1]!;
    expect(first + second).toBe(20);
    expect(first).toBeGreaterThan(3);
    expect(second).toBeGreaterThan(3);
    const before = guest.read(reg.RDH, 1);
    const which = guest.read(reg.RDH, 0);
    flow(7);
    flow(7);
    const moved = [guest.read(reg.RDH, 0) - which, guest.read(reg.RDH, 1) - before];
    expect(moved.sort()).toEqual([0, 2]);
  });
});

describe('the one’s complement sum', () => {
  it('is that of the bytes, from any offset, of any length', () => {
    const frame = new FrameBuffer();
    const random = seededRandom(31);
    for (let i = 0; i < 2000; i++) {
      frame.length = 300;
      for (let at = 0; at < 300; at++) frame.bytes[at] = random.below(256);
      const from = random.below(100);
      const length = random.below(200);
      storeChecksum(frame, 400, sumBytes(frame, from, length), 6);
      const expected = internetChecksum(frame.bytes.slice(from, from + length));
      // All ones and zero are the same number in one's complement.
      expect(frame.u16(400) % 0xffff).toBe(expected % 0xffff);
    }
  });
});

describe('transmit checksums', () => {
  const context = (l4Type: number, wide = false) => ({
    MAC_BYTES: 14,
    IP_BYTES: wide ? 40 : 20,
    L4_TYPE: l4Type,
    L4_BYTES: l4Type === 1 ? 20 : 8,
    IPV4: wide ? 0 : 1,
  });
  const OFFLOAD = { USE_CONTEXT: 1, IP_CHECKSUM: 1, L4_CHECKSUM: 1 };

  it('are completed from the pseudo-header’s sum, for both protocols and address families', () => {
    const { machine, guest } = setUp();
    for (const size of [1, 2, 45, 700, 1399]) {
      const data = bytesOf(size, size);
      for (const wide of [false, true]) {
        for (const [protocol, l4, build] of [
          [6, 1, tcp],
          [17, 0, udp],
        ] as const) {
          const length = (protocol === 6 ? 20 : 8) + size;
          const partial = wide
            ? pseudoSum(protocol, length, SOURCE_IP6, TARGET_IP6)
            : pseudoSum(protocol, length);
          const segment = build(data, { checksum: partial, wide });
          const packet = wide ? ipv6(protocol, segment) : ipv4(protocol, segment, { checksum: 0 });
          guest.putContext(context(l4, wide));
          guest.send(ethernet(PEER, vfMac(0), packet, wide ? IPV6 : IPV4), {
            ...OFFLOAD,
            IP_CHECKSUM: wide ? 0 : 1,
          });
          const expected = wide ? ipv6(protocol, build(data, { wide })) : ipv4(protocol, build(data));
          const sent = machine.sent.pop()!;
          expect(sent.slice(0, 14 + expected.length)).toEqual(
            ethernet(PEER, vfMac(0), expected, wide ? IPV6 : IPV4),
          );
        }
      }
    }
  });

  it('are as the driver wrote them when it asks for none (the check can fail)', () => {
    const { machine, guest } = setUp();
    guest.putContext(context(1));
    const packet = ipv4(6, tcp(bytesOf(50), { checksum: 0x1234 }), { checksum: 0x5678 });
    guest.send(ethernet(PEER, vfMac(0), packet, IPV4), { USE_CONTEXT: 1 });
    const sent = machine.sent.pop()!;
    expect([(sent[24]! << 8) | sent[25]!, (sent[50]! << 8) | sent[51]!]).toEqual([0x5678, 0x1234]);
  });

  it('a packet whose context describes headers beyond it is dropped, its descriptor given back', () => {
    const { machine, guest } = setUp();
    const frame = ethernet(PEER, vfMac(0), ipv4(6, tcp(bytesOf(10))), IPV4);
    const contexts = [
      { MAC_BYTES: 127, IP_BYTES: 511, L4_TYPE: 1 },
      { MAC_BYTES: 14, IP_BYTES: 0, L4_TYPE: 1 },
      { MAC_BYTES: 14, IP_BYTES: 20, L4_TYPE: 3 },
      { MAC_BYTES: 0, IP_BYTES: 0, L4_TYPE: 2 },
    ];
    for (const values of contexts) {
      guest.putContext(values);
      const slot = guest.send(frame, OFFLOAD);
      expect(guest.isDone(slot)).toBe(true);
    }
    expect(machine.sent).toEqual([]);
  });

  it('the sum of IPv4 adds what the field holds, as drivers of tunnels rely on', () => {
    const { machine, guest } = setUp();
    const frame = ethernet(PEER, vfMac(0), ipv4(6, tcp(bytesOf(10)), { checksum: 0x1234 }), IPV4);
    guest.putContext({ MAC_BYTES: 14, IP_BYTES: 20, L4_TYPE: 1, L4_BYTES: 20, IPV4: 1 });
    guest.send(frame, { USE_CONTEXT: 1, IP_CHECKSUM: 1 });
    const sent = machine.sent.pop()!;
    const header = sent.slice(14, 34);
    // One's complement: with the seed in the sum, the whole is off by exactly the seed.
    const plain = ipv4(6, tcp(bytesOf(10)), { checksum: 0 }).slice(0, 20);
    const seeded = plain.slice();
    seeded.set([0x12, 0x34], 10);
    expect((header[10]! << 8) | header[11]!).toBe(internetChecksum(seeded));
  });

  it('what is no packet is counted for the host, whatever it is', () => {
    const { machine, guest } = setUp();
    const drops = () => machine.nic.pools.at(0).drops.malformed;
    guest.send(ethernet(PEER, vfMac(0), ipv4(6, tcp(bytesOf(10))), IPV4), OFFLOAD);
    expect(drops(), 'an offload without a context').toBe(1);
    guest.send(new Uint8Array(16), {});
    expect(drops(), 'too short').toBe(2);
    // 40 descriptors are the most that a packet has; the rest of a longer chain begins another.
    for (let i = 0; i < 45; i++) guest.putData(bytesOf(20), { EOP: 0 });
    guest.ring();
    machine.settle();
    expect(drops(), 'more descriptors than a packet has').toBe(3);
  });

  it('a transfer that is to be segmented has no more descriptors than a packet', () => {
    const { machine, guest } = setUp();
    const drops = () => machine.nic.pools.at(0).drops.malformed;
    const transfer = (descriptors: number): number => {
      guest.putContext({
        MAC_BYTES: 14,
        IP_BYTES: 20,
        L4_TYPE: 1,
        L4_BYTES: 20,
        IPV4: 1,
        SEGMENT_BYTES: 100,
      });
      const payload = (descriptors - 1) * 20;
      const head = ethernet(PEER, vfMac(0), ipv4(6, tcp(bytesOf(0))), IPV4);
      const all = { SEGMENT: 1, USE_CONTEXT: 1, IP_CHECKSUM: 1, L4_CHECKSUM: 1, PAYLOAD: payload };
      for (let i = 0; i < descriptors; i++) {
        guest.putData(i === 0 ? head : bytesOf(20), { ...all, EOP: i === descriptors - 1 ? 1 : 0 });
      }
      guest.ring();
      machine.settle();
      return machine.sent.splice(0).length;
    };
    expect([transfer(40), drops()]).toEqual([8, 0]);
    // What is left begins another, which is none either.
    expect([transfer(41), drops()]).toEqual([0, 2]);
  });

  it('an offload without any context loaded is dropped', () => {
    const { machine, guest } = setUp();
    const slot = guest.send(ethernet(PEER, vfMac(0), ipv4(6, tcp(bytesOf(10))), IPV4), OFFLOAD);
    expect(machine.sent).toEqual([]);
    expect(guest.isDone(slot)).toBe(true);
  });
});
