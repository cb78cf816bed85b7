/** Segmentation offload: one large packet becomes frames, each right in every field. 82599 datasheet, 7.2.4 */
import { describe, expect, it } from 'vitest';
import {
  bytesOf,
  ethernet,
  IPV4,
  IPV6,
  internetChecksum,
  ipv4,
  ipv6,
  l4Checksum,
  PEER,
  pseudoSum,
  SOURCE_IP6,
  TARGET_IP6,
  tcp,
  udp,
  vfMac,
} from './frames.js';
import type { TestMachine } from './machine.js';
import type { GuestVf } from './vf-guest.js';
import { hostWithGuest } from './vf-host.js';

describe('segmentation', () => {
  function large(size: number, wide = false) {
    const data = bytesOf(size, 3);
    const partial = wide ? pseudoSum(6, 0, SOURCE_IP6, TARGET_IP6) : pseudoSum(6, 0);
    const segment = tcp(data, { checksum: partial, sequence: 0xffff_ff00, flags: 0x19 | 0x80, wide });
    const packet = wide ? ipv6(6, segment) : ipv4(6, segment, { checksum: 0, id: 0xffff });
    return { data, frame: ethernet(PEER, vfMac(0), packet, wide ? IPV6 : IPV4) };
  }
  const context = (mss: number, wide = false) => ({
    MAC_BYTES: 14,
    IP_BYTES: wide ? 40 : 20,
    L4_TYPE: 1,
    L4_BYTES: 20,
    IPV4: wide ? 0 : 1,
    SEGMENT_BYTES: mss,
  });
  const FLAGS = { SEGMENT: 1, USE_CONTEXT: 1, L4_CHECKSUM: 1, IP_CHECKSUM: 1 };

  /** Queues a packet larger than the test's buffers, in its own memory. */
  function queue(machine: TestMachine, guest: GuestVf, frame: Uint8Array, payload: number): number {
    const at = guest.base + 0xa_0000;
    machine.memory.bytes.set(frame, at);
    const slot = guest.putData(new Uint8Array(0), {
      ...FLAGS,
      ADDRESS_LOW: at,
      LENGTH: frame.length,
      PAYLOAD: payload,
    });
    guest.ring();
    return slot;
  }

  it('cuts a packet into frames that carry it whole, each right in every field', () => {
    const { machine, guest } = hostWithGuest();
    for (const wide of [false, true]) {
      const { data, frame } = large(10_000, wide);
      guest.putContext(context(1440, wide));
      const slot = queue(machine, guest, frame, data.length);
      machine.settle();
      expect(guest.isDone(slot)).toBe(true);
      const ipBytes = wide ? 40 : 20;
      const header = 14 + ipBytes + 20;
      const frames = machine.sent.splice(0);
      expect(frames).toHaveLength(7);
      frames.forEach((sent, i) => {
        const chunk = i < 6 ? 1440 : 10_000 - 6 * 1440;
        expect(sent).toHaveLength(header + chunk);
        expect(sent.slice(header)).toEqual(data.slice(i * 1440, i * 1440 + chunk));
        const segment = sent.slice(14 + ipBytes);
        const sequence = new DataView(segment.buffer).getUint32(4);
        expect(sequence).toBe((0xffff_ff00 + i * 1440) % 2 ** 32);
        // PSH and FIN only in the last, CWR only in the first.
        expect(segment[13]).toBe(i === 0 ? 0x90 : i === 6 ? 0x19 : 0x10);
        const checksum = (segment[16]! << 8) | segment[17]!;
        segment.set([0, 0], 16);
        expect(checksum).toBe(l4Checksum(6, segment, wide));
        if (!wide) {
          expect((sent[16]! << 8) | sent[17]!, 'total length').toBe(40 + chunk);
          expect((sent[18]! << 8) | sent[19]!, 'identification').toBe((0xffff + i) & 0xffff);
          expect(internetChecksum(sent.slice(14, 34))).toBe(0);
        } else {
          expect((sent[18]! << 8) | sent[19]!, 'payload length').toBe(20 + chunk);
        }
      });
    }
  });

  it('keeps all flags of a packet that fits one frame', () => {
    const { machine, guest } = hostWithGuest();
    const { data, frame } = large(500);
    guest.putContext(context(1440));
    queue(machine, guest, frame, data.length);
    machine.settle();
    expect(machine.sent).toHaveLength(1);
    expect(machine.sent[0]![47]).toBe(0x99);
  });

  it('goes on where it was interrupted, so that small steps send the same frames', () => {
    const whole = hostWithGuest();
    const { data, frame } = large(30_000);
    whole.guest.putContext(context(100));
    queue(whole.machine, whole.guest, frame, data.length);
    whole.machine.settle(10_000);
    const steps = hostWithGuest();
    steps.guest.putContext(context(100));
    const slot = queue(steps.machine, steps.guest, frame, data.length);
    let count = 0;
    while (steps.machine.nic.run(7)) {
      count++;
      expect(steps.guest.isDone(slot), 'not before the last segment').toBe(false);
    }
    expect(count).toBeGreaterThan(30);
    expect(steps.machine.sent).toEqual(whole.machine.sent);
    expect(steps.guest.isDone(slot)).toBe(true);
  });

  it('cuts UDP the same way, with a length in each', () => {
    const { machine, guest } = hostWithGuest();
    const data = bytesOf(3000);
    const segment = udp(data, { checksum: pseudoSum(17, 0) });
    const frame = ethernet(PEER, vfMac(0), ipv4(17, segment, { checksum: 0 }), IPV4);
    guest.putContext({ ...context(1000), L4_TYPE: 0, L4_BYTES: 8 });
    queue(machine, guest, frame, data.length);
    machine.settle();
    expect(machine.sent).toHaveLength(3);
    for (const sent of machine.sent) {
      const part = sent.slice(34);
      expect((part[4]! << 8) | part[5]!).toBe(1008);
      const checksum = (part[6]! << 8) | part[7]!;
      part.set([0, 0], 6);
      expect(checksum).toBe(l4Checksum(17, part, false));
    }
  });

  it('cuts a tunnel whose outer header the context covers together with the inner, each frame right in both', () => {
    const { machine, guest } = hostWithGuest();
    // As ixgbevf sends a GRE tunnel by partial segmentation: IPLEN reaches from the outer header to the inner TCP, and
    // the outer checksum is seeded with what cancels all behind the outer header.
    const data = bytesOf(2500, 3);
    const inner = ipv4(6, tcp(data, { checksum: pseudoSum(6, 0), sequence: 1 }), { id: 7 });
    const innerLength = 40 + 1000;
    inner.set([innerLength >>> 8, innerLength & 0xff], 2);
    inner.set([0, 0], 10);
    const innerSum = internetChecksum(inner.slice(0, 20));
    inner.set([innerSum >>> 8, innerSum & 0xff], 10);
    const gre = Uint8Array.of(0, 0, 0x08, 0x00);
    const outer = ipv4(47, new Uint8Array(0), { id: 100 });
    const behind = new Uint8Array([...gre, ...inner.slice(0, 20)]);
    const seed = internetChecksum(behind);
    outer.set([0, 0], 2);
    outer.set([seed >>> 8, seed & 0xff], 10);
    const frame = ethernet(PEER, vfMac(0), new Uint8Array([...outer, ...gre, ...inner]), IPV4);
    guest.putContext({ ...context(1000), IP_BYTES: 44 });
    queue(machine, guest, frame, data.length);
    machine.settle();
    const frames = machine.sent.splice(0);
    expect(frames).toHaveLength(3);
    frames.forEach((sent, i) => {
      expect(internetChecksum(sent.slice(14, 34)), `outer header of frame ${i}`).toBe(0);
      expect(sent.slice(34, 38), 'GRE').toEqual(gre);
      expect((sent[16]! << 8) | sent[17]!, 'outer length').toBe(44 + 20 + (i < 2 ? 1000 : 500));
    });
  });

  it('a packet that cannot be cut is dropped, and the queue goes on', () => {
    const { machine, guest } = hostWithGuest();
    const { data, frame } = large(5000);
    const bad = [
      context(0),
      { ...context(1440), L4_BYTES: 0 },
      { ...context(1440), IP_BYTES: 0 },
      { ...context(1440), MAC_BYTES: 127, IP_BYTES: 511, L4_BYTES: 255, SEGMENT_BYTES: 0xffff },
      { ...context(1440), L4_TYPE: 2 },
    ];
    for (const values of bad) {
      guest.putContext(values);
      const slot = queue(machine, guest, frame, data.length);
      machine.settle();
      expect(machine.sent).toEqual([]);
      expect(guest.isDone(slot)).toBe(true);
    }
    guest.putContext(context(1440));
    queue(machine, guest, frame, data.length);
    machine.settle();
    expect(machine.sent).toHaveLength(4);
  });
});
