import { beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { parseIpv4 } from '../../devices/ethernet/addresses.js';
import { compileKernel } from './kernel-source.js';
import {
  echoMessage,
  fragments,
  internetChecksum,
  ipFrame,
  numbers,
  ping,
  pongs,
  received,
} from './net-frames.js';
import { GUEST_IP, GUEST_MAC, NicMachine, PEER_IP } from './nic-machine.js';
import { DATA_END, MS, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

const SETTLED = 200 * MS;
const ICMP = 1;
const UDP = 17;
const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] as const;

/** A guest that answers, and whose wire is watched. */
function start(words = 'workload=udp-echo'): NicMachine {
  const net = new NicMachine(kernel, { commandLine: words });
  net.keepFrames = true;
  return net;
}

/** Puts the frames on the wire one after the other, a tenth of a millisecond apart. */
function send(net: NicMachine, frames: readonly Uint8Array[], from = SETTLED): void {
  frames.forEach((frame, i) => {
    net.machine.at(from + i * 0.1 * MS, () => net.toGuest(frame));
  });
}

function run(net: NicMachine, until = 1.5 * SECOND): NicMachine {
  expect(net.machine.run(until)).toBe('time');
  return net;
}

/** The line about what came in pieces. */
const pieces = (net: NicMachine): Record<string, number> => {
  const [martian, ins, ok, failed, timedOut, out] = numbers(net, /^ip: \d+ martian/);
  return {
    martian: martian ?? 0,
    ins: ins ?? 0,
    ok: ok ?? 0,
    failed: failed ?? 0,
    timedOut: timedOut ?? 0,
    out: out ?? 0,
  };
};

const replyTo = (request: Uint8Array): Uint8Array => {
  const reply = request.slice();
  reply[0] = 0;
  reply.fill(0, 2, 4);
  new DataView(reply.buffer).setUint16(2, internetChecksum(reply));
  return reply;
};

describe('sources', () => {
  it('that no other host can have are discarded and counted', () => {
    const net = start();
    const sources = [
      '255.255.255.255',
      '224.0.0.1',
      '239.1.2.3',
      '240.0.0.1',
      '127.0.0.1',
      '0.0.0.0',
      '10.0.0.255',
      '10.0.0.0',
      '10.0.0.2',
    ];
    send(
      net,
      sources.map((source, i) => ping(i, new Uint8Array(32), GUEST_IP, GUEST_MAC, parseIpv4(source)!)),
    );
    send(net, [ping(99, new Uint8Array(32))], SETTLED + 10 * MS);
    run(net);
    expect(pieces(net).martian).toBe(sources.length);
    expect(numbers(net, /^icmp:/)).toEqual([1, 1, 0, 0]);
    expect(pongs(net)).toHaveLength(1);
    // Nor does it ask where they are.
    const asked = net.fromGuest.filter((frame) => frame[13] === 6 && frame[21] === 1);
    expect(asked.map((frame) => frame.slice(38, 42).join('.'))).toEqual(['10.0.0.1']);
  });
});

describe('what is for all', () => {
  it('is answered by none: pings and UDP to broadcast, in frames to all or to the guest', () => {
    const net = start();
    const all = [parseIpv4('10.0.0.255')!, parseIpv4('255.255.255.255')!];
    const udp = new Uint8Array(40);
    new DataView(udp.buffer).setUint16(0, 5555);
    new DataView(udp.buffer).setUint16(2, 7);
    new DataView(udp.buffer).setUint16(4, udp.length);
    for (const mac of [BROADCAST, GUEST_MAC]) {
      send(
        net,
        all.flatMap((to) => [
          ipFrame({ payload: echoMessage(1, 32), to, mac }),
          ipFrame({ payload: udp, protocol: UDP, to, mac }),
        ]),
      );
    }
    // One host's address in a frame to all.
    send(net, [ipFrame({ payload: echoMessage(2, 32), mac: BROADCAST })], SETTLED + 5 * MS);
    send(
      net,
      [ipFrame({ payload: udp, protocol: UDP }), ipFrame({ payload: echoMessage(3, 32) })],
      SETTLED + 10 * MS,
    );
    run(net);
    expect(received(net, ICMP)).toEqual([replyTo(echoMessage(3, 32))]);
    expect(received(net, UDP)).toHaveLength(1);
    expect(numbers(net, /^icmp:/)).toEqual([1, 1, 0, 4]);
    expect(numbers(net, /^ip: \d+ in/)[3]).toBe(1);
  });
});

describe('fragments', () => {
  it.each([
    ['in order', (frames: Uint8Array[]) => frames],
    ['backwards', (frames: Uint8Array[]) => frames.slice().reverse()],
    ['each twice', (frames: Uint8Array[]) => frames.flatMap((frame) => [frame, frame]).slice(0, -1)],
  ])('that come %s are put together, and a ping of 3000 bytes is answered in fragments', (_name, order) => {
    const net = start();
    const request = echoMessage(5, 3000);
    send(net, order(fragments(request, [1480, 2960], 77)));
    run(net);
    expect(received(net, ICMP)).toEqual([replyTo(request)]);
    expect(pieces(net)).toMatchObject({ ok: 1, failed: 0, out: 3 });
    const sent = net.fromGuest.filter((frame) => frame[13] === 0 && frame[23] === ICMP);
    expect(sent.map((frame) => frame.length <= 1514)).toEqual([true, true, true]);
  });

  it('make up datagrams of up to the longest there are', () => {
    const net = start();
    const request = echoMessage(6, 65_507);
    const cuts = Array.from({ length: 44 }, (_, i) => (i + 1) * 1480);
    send(net, fragments(request, cuts, 78));
    run(net);
    expect(received(net, ICMP)).toEqual([replyTo(request)]);
    expect(pieces(net)).toMatchObject({ ok: 1, failed: 0, out: 45 });
  });

  it('of any sizes, orders and mixtures give what was sent or nothing', () => {
    const net = start();
    const random = seededRandom(11);
    const frames: Uint8Array[] = [];
    const requests: Uint8Array[] = [];
    for (let i = 0; i < 60; i += 3) {
      const group = [i, i + 1, i + 2].flatMap((n) => {
        const request = echoMessage(n, 200 + random.below(5000));
        requests.push(request);
        const cuts: number[] = [];
        for (let at = 8; at < request.length; at += 8 * (1 + random.below(180)))
          if (at > (cuts.at(-1) ?? 0)) cuts.push(at);
        // No longer than a frame.
        const fine = cuts.flatMap((cut, k) => {
          const end = cuts[k + 1] ?? request.length;
          return end - cut > 1480 ? [cut, cut + 8 * Math.floor((end - cut) / 16)] : [cut];
        });
        return fragments(request, fine, 1000 + n);
      });
      for (let k = group.length - 1; k > 0; k--) {
        const other = random.below(k + 1);
        [group[k], group[other]] = [group[other]!, group[k]!];
      }
      frames.push(...group);
    }
    send(net, frames);
    run(net, 2.5 * SECOND);
    const bySequence = (a: Uint8Array, b: Uint8Array): number => a[7]! - b[7]!;
    expect(received(net, ICMP).sort(bySequence)).toEqual(requests.map(replyTo));
  });

  it.each([
    [
      'overlap',
      [
        [0, 1480],
        [1472, 2000],
        [2000, 3008],
      ],
    ],
    [
      'lie within another',
      [
        [0, 1480],
        [8, 16],
        [1480, 2000],
      ],
    ],
    [
      'lie behind the end',
      [
        [1536, 3008],
        [3008, 3016],
        [0, 1480],
      ],
    ],
  ])('that %s spoil their datagram, and no other', (_name, ranges) => {
    const net = start();
    const bad = echoMessage(7, 3000);
    const padded = new Uint8Array(4000);
    padded.set(bad);
    const frames = ranges.map(([from, to]) =>
      ipFrame({ payload: padded.subarray(from, to), id: 80, offset: from!, more: to! < bad.length }),
    );
    const good = echoMessage(8, 3000);
    send(net, [...frames, ...fragments(good, [1480, 2960], 81)]);
    run(net);
    expect(received(net, ICMP)).toEqual([replyTo(good)]);
    expect(pieces(net).ok).toBe(1);
    expect(pieces(net).failed).toBeGreaterThan(0);
  });

  it('whose end is beyond every datagram, or that are no multiple of 8, are refused', () => {
    const net = start();
    const payload = echoMessage(9, 1000);
    send(net, [
      ipFrame({ payload, id: 1, offset: 65_528 }),
      ipFrame({ payload: payload.subarray(0, 1001), id: 2, more: true }),
      ipFrame({ payload: new Uint8Array(0), id: 3, more: true }),
    ]);
    run(net);
    expect(pieces(net)).toMatchObject({ ins: 3, ok: 0, failed: 3 });
  });

  it('are kept for half a minute; then their sender is told, if the beginning has come', () => {
    const net = start();
    const request = echoMessage(10, 3000);
    const [first, second, third] = fragments(request, [1480, 2960], 90);
    const [, middle] = fragments(request, [1480, 2960], 91);
    send(net, [first!, third!, middle!]);
    net.machine.at(29 * SECOND, () => expect(pieces(net).timedOut).toBe(0));
    // Too late.
    net.machine.at(40 * SECOND, () => net.toGuest(second!));
    run(net, 45 * SECOND);
    expect(pieces(net)).toMatchObject({ ok: 0, timedOut: 2 });
    const [message, ...more] = received(net, ICMP);
    expect(more).toEqual([]);
    expect([...message!.subarray(0, 2)]).toEqual([11, 1]);
    expect(internetChecksum(message!)).toBe(0);
    expect(message!.subarray(8)).toEqual(first!.subarray(14, 14 + 28));
  });

  it('of a flood take no more than their share of memory, and the network works on', () => {
    const net = start();
    const payload = echoMessage(11, 1472);
    const used = (): number => net.machine.nonZeroPages().filter((page) => page >= DATA_END / 4096).length;
    let pages = 0;
    net.machine.at(SETTLED - MS, () => {
      pages = used();
    });
    const flood = Array.from({ length: 5000 }, (_, i) => ipFrame({ payload, id: i, more: true }));
    send(net, flood);
    const many = Array.from({ length: 600 }, (_, i) =>
      ipFrame({ payload: payload.subarray(0, 8), id: 1, offset: 8 + i * 16, more: true }),
    );
    send(net, many, SETTLED + 600 * MS);
    const good = echoMessage(12, 3000);
    send(net, fragments(good, [1480, 2960], 60_000), SECOND);
    net.machine.at(1.2 * SECOND, () => {
      net.peer.startFlow({ kind: 'echo', ip: GUEST_IP, port: 7, rate: 1000, payloadBytes: 300, count: 500 });
    });
    run(net, 2.2 * SECOND);
    // 512 buffers are kept for packets anyway; all of the flood would be 2500 pages.
    expect(used() - pages).toBeLessThan(400);
    expect(received(net, ICMP)).toEqual([replyTo(good)]);
    expect(net.peer.report()[0]!.arrived).toMatchObject({ received: 500, lost: 0 });
  });

  it('carry UDP too: a long datagram is echoed, with its checksum', () => {
    const net = start();
    const datagram = new Uint8Array(8 + 5000).map((_, at) => at * 11);
    const view = new DataView(datagram.buffer);
    view.setUint16(0, 5555);
    view.setUint16(2, 7);
    view.setUint16(4, datagram.length);
    view.setUint16(6, 0);
    send(net, fragments(datagram, [1480, 2960, 4440], 95, UDP));
    run(net);
    const [answer] = received(net, UDP);
    expect(answer!.subarray(8)).toEqual(datagram.subarray(8));
    const pseudo = new Uint8Array(12 + answer!.length);
    new DataView(pseudo.buffer).setUint32(0, GUEST_IP);
    new DataView(pseudo.buffer).setUint32(4, PEER_IP);
    pseudo.set([0, UDP, answer!.length >> 8, answer!.length & 0xff], 8);
    pseudo.set(answer!, 12);
    expect(answer!.subarray(6, 8)).not.toEqual(Uint8Array.of(0, 0));
    expect(internetChecksum(pseudo)).toBe(0);
  });
});
