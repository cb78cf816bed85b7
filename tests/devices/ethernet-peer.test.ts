import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { seconds } from '../../base/units.js';
import {
  buildArpRequest,
  buildGratuitousArp,
  buildIcmp,
  buildRarpAnnouncement,
  buildUdp,
  finishIcmp,
  finishUdp,
} from '../../devices/ethernet/datagram.js';
import { flowHeader, payloadIsIntact, writePayload } from '../../devices/ethernet/flow-payload.js';
import { FrameBuffer } from '../../devices/ethernet/frame.js';
import { PORT_DISCARD, PORT_ECHO, TrafficPeer } from '../../devices/ethernet/peer.js';
import { ETHERTYPE_ARP, ETHERTYPE_RARP, L4_AT, UDP_PAYLOAD_AT } from '../../devices/ethernet/protocols.js';
import { type Harm, ManualTime, station, wiredStations } from './ethernet-stations.js';

const FLOW_FRAME_BYTES = UDP_PAYLOAD_AT + 100;
/** Does `what` to the flow datagram number `n` (from 0), and nothing to any other frame. */
function harmTo(n: number, what: Harm): Harm {
  let seen = 0;
  return (frame, pass) => {
    if (frame.length === FLOW_FRAME_BYTES && seen++ === n) what(frame, pass);
    else pass(frame);
  };
}

function oneWay(harm?: Harm) {
  const { time, a, b } = wiredStations(harm);
  a.startFlow({
    kind: 'out',
    ip: station(2).ip,
    port: PORT_DISCARD,
    rate: 10_000,
    payloadBytes: 100,
    count: 1000,
  });
  time.pass(seconds(1));
  const [report] = b.report();
  return report!.arrived!;
}

const nothing = { received: 1000, lost: 0, duplicated: 0, reordered: 0, corrupt: 0, tooLate: 0 };

describe('a flow', () => {
  it('over a good wire arrives whole, with its latency', () => {
    const arrived = oneWay();
    expect(arrived).toMatchObject(nothing);
    expect(arrived.latency).toMatchObject({ count: 1000, minNs: 1000, medianNs: 1000, maxNs: 1000 });
    expect(arrived.longestGapNs).toBe(1e6);
  });

  it('counts a lost datagram as lost, and as nothing else', () => {
    expect(oneWay(harmTo(500, () => {}))).toMatchObject({ ...nothing, received: 999, lost: 1 });
  });

  it('counts a duplicated datagram as duplicated, and as nothing else', () => {
    const twice: Harm = (frame, pass) => {
      pass(frame);
      pass(frame);
    };
    expect(oneWay(harmTo(500, twice))).toMatchObject({ ...nothing, duplicated: 1 });
  });

  it('counts a reordered datagram as reordered, and as nothing else', () => {
    let held: Uint8Array | undefined;
    const overtaken = harmTo(500, (frame) => {
      held = frame;
    });
    const swap: Harm = (frame, pass) => {
      const waiting = held;
      overtaken(frame, pass);
      if (waiting === undefined) return;
      held = undefined;
      pass(waiting);
    };
    expect(oneWay(swap)).toMatchObject({ ...nothing, reordered: 1 });
  });

  it.each([
    ['magic', 0],
    ['flow number', 7],
    ['sequence number', 8],
    ['checksum', 13],
    ['time', 20],
    ['pattern', 60],
    ['last byte', 99],
  ])('counts a datagram with a wrong bit in its %s as corrupt, and as nothing else', (_, at) => {
    const flip: Harm = (frame, pass) => {
      frame[UDP_PAYLOAD_AT + at]! ^= 0x10;
      pass(frame);
    };
    const repaired: Harm = (frame, pass) => {
      frame[UDP_PAYLOAD_AT + at]! ^= 0x10;
      // Whoever changed it made the UDP checksum fit again.
      frame[L4_AT + 6] = frame[L4_AT + 7] = 0;
      pass(frame);
    };
    for (const n of [500, 999]) {
      expect(oneWay(harmTo(n, flip))).toMatchObject({ ...nothing, received: 999, corrupt: 1 });
      expect(oneWay(harmTo(n, repaired))).toMatchObject({ ...nothing, received: 999, corrupt: 1 });
    }
  });

  it('tells how long the network was away, and what it cost', () => {
    let blackout = false;
    const { time, a, b } = wiredStations((frame, pass) => (blackout ? undefined : pass(frame)));
    a.startFlow({ kind: 'out', ip: station(2).ip, port: PORT_DISCARD, rate: 1000, payloadBytes: 64 });
    time.pass(seconds(1));
    blackout = true;
    time.pass(seconds(0.03));
    blackout = false;
    time.pass(seconds(1));
    expect(b.report()[0]!.arrived).toMatchObject({ lost: 30, longestGapNs: 31e6, duplicated: 0 });
  });

  it('is measured by phases as well, which add up to the whole, each with its own gap and latency', () => {
    let harm: Harm = (frame, pass) => pass(frame);
    const { time, a } = wiredStations((frame, pass) => harm(frame, pass));
    a.startFlow({ kind: 'echo', ip: station(2).ip, port: PORT_ECHO, rate: 1000, payloadBytes: 64 });
    time.pass(seconds(0.5));
    const [before] = a.nextPhase();
    harm = () => {};
    time.pass(seconds(0.03));
    harm = (frame, pass) => pass(frame);
    time.pass(seconds(0.1));
    const [blackout] = a.nextPhase();
    time.pass(seconds(0.5));
    const [after] = a.nextPhase();
    expect(before!.arrived).toMatchObject({ lost: 0, holes: 0, longestGapNs: 1e6 });
    expect(blackout!.arrived).toMatchObject({ lost: 30, holes: 1, longestGapNs: 31e6 });
    expect(after!.arrived).toMatchObject({ lost: 0, holes: 0, longestGapNs: 1e6, latency: { minNs: 2000 } });
    const [whole] = a.report();
    expect(whole!.arrived).toMatchObject({ lost: 30, holes: 1, longestGapNs: 31e6 });
    const sum = (of: (flow: NonNullable<typeof before>) => number): number =>
      [before, blackout, after].reduce((total, flow) => total + of(flow!), 0);
    expect(sum(({ sent }) => sent)).toBe(whole!.sent);
    expect(sum(({ arrived }) => arrived!.received)).toBe(whole!.arrived!.received);
    expect(sum(({ arrived }) => arrived!.latency!.count)).toBe(whole!.arrived!.latency!.count);
    expect(a.nextPhase()[0]!.arrived).toMatchObject({ received: 0, longestGapNs: 0, latency: null });
  });

  it('echoed is measured there and back, and what the wire kept at the end is outstanding', () => {
    let cut = false;
    const { time, a, b } = wiredStations((frame, pass) => (cut ? undefined : pass(frame)));
    a.startFlow({
      kind: 'echo',
      ip: station(2).ip,
      port: PORT_ECHO,
      rate: 1000,
      payloadBytes: 64,
      count: 100,
    });
    time.pass(seconds(0.05));
    cut = true;
    time.pass(seconds(1));
    const [report] = a.report();
    expect(report).toMatchObject({ flow: 0, kind: 'echo', remote: '10.0.0.2:7', sent: 100 });
    expect(report!.arrived).toMatchObject({ lost: 0, corrupt: 0, latency: { minNs: 2000, maxNs: 2000 } });
    expect(report!.outstanding).toBe(100 - report!.arrived!.received);
    expect(report!.outstanding).toBeGreaterThan(40);
    expect(b.statistics.udpEchoed).toBe(report!.arrived!.received);
  });

  it('waits until its other end is known, asking again', () => {
    let deaf = true;
    const { time, a, b } = wiredStations((frame, pass) => (deaf ? undefined : pass(frame)));
    a.startFlow({ kind: 'out', ip: station(2).ip, port: PORT_DISCARD, rate: 10, payloadBytes: 64, count: 5 });
    time.pass(seconds(3.5));
    expect(a.report()[0]!.sent).toBe(0);
    deaf = false;
    time.pass(seconds(2));
    expect(b.report()[0]!.arrived).toMatchObject({ received: 5, lost: 0 });
  });
});

describe('a payload', () => {
  it('is intact only as it was written: not one bit may differ', () => {
    const view = new DataView(new ArrayBuffer(61));
    writePayload(view, 0, 61, 3, 4_000_000_000, 2 ** 52 + 1);
    expect(payloadIsIntact(view, 0, 61)).toBe(true);
    for (let bit = 0; bit < 61 * 8; bit++) {
      const at = bit >> 3;
      view.setUint8(at, view.getUint8(at) ^ (1 << (bit & 7)));
      expect(payloadIsIntact(view, 0, 61), `bit ${bit}`).toBe(false);
      view.setUint8(at, view.getUint8(at) ^ (1 << (bit & 7)));
    }
    expect(flowHeader.read(view, 0)).toMatchObject({ flow: 3, sequence: 4_000_000_000, sentAt: 2 ** 52 + 1 });
    expect(payloadIsIntact(view, 0, 60)).toBe(false);
    expect(payloadIsIntact(view, 0, 23)).toBe(false);
  });
});

describe('a station', () => {
  function alone() {
    const sent: Uint8Array[] = [];
    const peer = new TrafficPeer({
      station: station(1),
      scheduler: new ManualTime(),
      send: (bytes, at, length) => sent.push(bytes.slice(at, at + length)),
    });
    const receive = (frame: FrameBuffer): void => peer.receive(frame.bytes, 0, frame.length);
    return { peer, sent, receive, frame: new FrameBuffer() };
  }

  it('answers who has its address, and nobody else’s', () => {
    const { sent, receive, frame } = alone();
    buildArpRequest(frame, station(2), station(3).ip);
    receive(frame);
    expect(sent).toEqual([]);
    buildArpRequest(frame, station(2), station(1).ip);
    receive(frame);
    expect(Buffer.from(sent[0]!).toString('hex')).toBe(
      `525400000002${'525400000001'}0806${'0001080006040002'}${'525400000001'}0a000001${'525400000002'}0a000002`.padEnd(
        120,
        '0',
      ),
    );
  });

  it('answers echo requests with their data, and not those with a wrong checksum', () => {
    const { peer, sent, receive, frame } = alone();
    buildIcmp(frame, station(2), station(1), 13);
    frame.bytes.set([8, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4, 5], L4_AT);
    finishIcmp(frame, 13);
    receive(frame);
    expect([...sent[0]!.subarray(L4_AT, L4_AT + 13)]).toEqual([
      0,
      0,
      frame.bytes[L4_AT + 2]! + 8,
      frame.bytes[L4_AT + 3],
      0x12,
      0x34,
      0,
      1,
      1,
      2,
      3,
      4,
      5,
    ]);
    frame.bytes[L4_AT + 12]! ^= 1;
    receive(frame);
    expect(sent).toHaveLength(1);
    expect(peer.statistics).toMatchObject({ pingsAnswered: 1, checksumErrors: 1 });
  });

  it('measures 64 incoming flows and counts the others, whatever they claim', () => {
    const { peer, receive, frame } = alone();
    const view = new DataView(frame.bytes.buffer);
    for (let flow = 0; flow < 1000; flow++) {
      buildUdp(frame, { ...station(2), port: 1000 }, { ...station(1), port: 9 }, 30);
      writePayload(view, UDP_PAYLOAD_AT, 30, flow, flow === 3 ? 2 ** 32 - 1 : 0, 0);
      finishUdp(frame, 30);
      receive(frame);
    }
    expect(peer.report()).toHaveLength(64);
    expect(peer.statistics.flowsRefused).toBe(936);
    expect(peer.report()[3]!.arrived).toMatchObject({ received: 1, lost: 2 ** 32 - 1 });
  });

  it('survives any bytes: random ones, and good frames with some changed or cut off', () => {
    const { peer, receive, frame } = alone();
    const random = seededRandom(7);
    const makers = [
      () => buildArpRequest(frame, station(2), station(1).ip),
      () => {
        buildIcmp(frame, station(2), station(1), 8);
        finishIcmp(frame, 8);
      },
      () => {
        buildUdp(frame, { ...station(2), port: random.below(65536) }, { ...station(1), port: PORT_ECHO }, 40);
        finishUdp(frame, 40);
      },
      () => {
        random.fill(frame.bytes.subarray(0, 200));
        frame.bytes.set(station(1).mac);
        frame.length = 200;
      },
    ];
    for (let i = 0; i < 20_000; i++) {
      random.pick(makers)();
      for (let n = random.below(4); n > 0; n--) frame.bytes[6 + random.below(100)] = random.u32();
      frame.length = random.below(frame.length + 1);
      receive(frame);
    }
    expect(peer.report().length).toBeLessThanOrEqual(64);
  });
});

describe('an announcement', () => {
  it('by gratuitous ARP names the address twice, to everybody', () => {
    const frame = new FrameBuffer();
    buildGratuitousArp(frame, station(1));
    expect(frame.length).toBe(60);
    expect(frame.u16(12)).toBe(ETHERTYPE_ARP);
    expect(Buffer.from(frame.bytes.subarray(0, 42)).toString('hex')).toBe(
      'ffffffffffff52540000000108060001080006040001525400000001' + '0a000001' + '000000000000' + '0a000001',
    );
  });

  it('by RARP needs no IP address', () => {
    const frame = new FrameBuffer();
    buildRarpAnnouncement(frame, station(1).mac);
    expect(frame.length).toBe(60);
    expect(frame.u16(12)).toBe(ETHERTYPE_RARP);
    expect(Buffer.from(frame.bytes.subarray(14, 42)).toString('hex')).toBe(
      '0001080006040003' + '525400000001' + '00000000' + '525400000001' + '00000000',
    );
  });
});
