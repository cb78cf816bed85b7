import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { instant, microseconds, milliseconds, nanoseconds, seconds } from '../../base/units.js';
import { Announcer } from '../../devices/ethernet/announcer.js';
import type { LinkOptions } from '../../devices/ethernet/link.js';
import { MacTable, PORT_UNKNOWN } from '../../devices/ethernet/mac-table.js';
import { PORT_ECHO, TrafficPeer } from '../../devices/ethernet/peer.js';
import { EthernetSwitch, PORTS_MAX, type SwitchPort } from '../../devices/ethernet/switch.js';
import { ManualTime, station } from './ethernet-stations.js';

const BROADCAST = 0xff;

/** A frame from station `from` to `to` (BROADCAST for all), `length` bytes. */
function frame(to: number, from: number, length = 60): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(to === BROADCAST ? new Uint8Array(6).fill(0xff) : station(to).mac);
  bytes.set(station(from).mac, 6);
  return bytes;
}

function network(links: LinkOptions[] = [{}, {}, {}]) {
  const time = new ManualTime();
  const network = new EthernetSwitch({ scheduler: time, random: seededRandom(5) });
  const got: { port: number; at: number; frame: Uint8Array }[] = [];
  const ports = links.map((link, i) =>
    network.addPort({
      ...link,
      name: `p${i}`,
      deliver: (bytes, at, length) => {
        got.push({ port: i, at: time.now(), frame: bytes.slice(at, at + length) });
        return true;
      },
    }),
  ) as SwitchPort[];
  const send = (port: number, bytes: Uint8Array): number[] => {
    const before = got.length;
    ports[port]!.receive(bytes, 0, bytes.length);
    return got.slice(before).map((one) => one.port);
  };
  return { time, network, ports, got, send };
}

describe('a switch', () => {
  it('floods until it has heard a station, then sends to its port alone', () => {
    const { send, ports } = network();
    expect(send(0, frame(2, 1))).toEqual([1, 2]);
    expect(send(1, frame(1, 2))).toEqual([0]);
    expect(send(0, frame(2, 1))).toEqual([1]);
    expect(send(0, frame(BROADCAST, 1))).toEqual([1, 2]);
    expect(ports[0]!.statistics).toMatchObject({ framesIn: 3, framesOut: 1, flooded: 2, bytesIn: 180 });
  });

  it('lets nobody hear an answer before the question', () => {
    const it = new EthernetSwitch({ scheduler: new ManualTime(), random: seededRandom(5) });
    const heard: string[] = [];
    // The first that hears the question answers at once, to all.
    const names = ['asker', 'answerer', 'listener'];
    const ports = names.map((name) =>
      it.addPort({
        name,
        deliver: (bytes, at) => {
          const question = bytes[at + 11] === station(1).mac[5];
          heard.push(`${name}: ${question ? 'question' : 'answer'}`);
          const answer = frame(BROADCAST, 2);
          if (question && name === 'answerer') ports[1]!.receive(answer, 0, answer.length);
          return true;
        },
      }),
    ) as SwitchPort[];
    const question = frame(BROADCAST, 1);
    ports[0]!.receive(question, 0, question.length);
    expect(heard).toEqual(['answerer: question', 'listener: question', 'asker: answer', 'listener: answer']);
  });

  it('learns a station’s new place from its announcement', () => {
    const { time, send, network: it, ports } = network();
    send(0, frame(BROADCAST, 1));
    expect(send(2, frame(1, 3))).toEqual([0]);
    expect(it.lastMove).toBeUndefined();
    time.pass(seconds(2));
    const moved = time.now();
    new Announcer(time, ports[1]!.receive).announce(station(1).mac);
    expect(send(2, frame(1, 3))).toEqual([1]);
    expect(it.stations).toEqual({ known: 2, moves: 1, evictions: 0 });
    time.pass(seconds(10));
    expect(it.lastMove).toBe(moved);
    expect(ports[1]!.statistics.framesIn).toBe(5);
  });

  it('forgets what it has not heard for the ageing time, and what was behind a port that goes down', () => {
    const { time, send, network: it, ports } = network();
    send(0, frame(BROADCAST, 1));
    time.pass(seconds(300));
    expect(send(2, frame(1, 3))).toEqual([0]);
    time.pass(seconds(1));
    expect(send(2, frame(1, 3))).toEqual([0, 1]);
    send(0, frame(BROADCAST, 1));
    it.setPortUp(ports[0]!, false);
    expect(send(2, frame(1, 3))).toEqual([1]);
    expect(send(0, frame(BROADCAST, 1))).toEqual([]);
    expect(ports[0]!.statistics.downDrops).toBe(2);
    it.setPortUp(ports[0]!, true);
    expect(send(2, frame(1, 3))).toEqual([0, 1]);
  });

  it('keeps from forwarding what is invalid, for itself, or at home where it came from', () => {
    const { send, ports } = network();
    const { statistics: before } = ports[0]!;
    expect(before.invalid).toBe(0);
    send(0, new Uint8Array(0));
    send(0, new Uint8Array(13));
    send(0, new Uint8Array(20_000));
    const fromGroup = frame(2, 1);
    fromGroup[6] = 1;
    send(0, fromGroup);
    const pause = frame(2, 1);
    pause.set([0x01, 0x80, 0xc2, 0, 0, 1]);
    expect(send(0, pause)).toEqual([]);
    expect(send(0, frame(1, 4))).toEqual([]);
    expect(ports[0]!.statistics).toMatchObject({ invalid: 4, filtered: 2 });
  });

  it('has 64 ports, and a free one again after one is unplugged', () => {
    const { network: it, ports } = network([]);
    const deliver = (): boolean => true;
    for (let i = 0; i < PORTS_MAX; i++) ports.push(it.addPort({ name: `p${i}`, deliver })!);
    expect(it.addPort({ name: 'more', deliver })).toBeUndefined();
    it.removePort(ports[7]!);
    expect(it.addPort({ name: 'more', deliver })?.index).toBe(7);
  });

  it('delivers a frame everywhere before an answer that came from within its delivery', () => {
    const time = new ManualTime();
    const it = new EthernetSwitch({ scheduler: time, random: seededRandom(5) });
    const plug = (n: number): TrafficPeer => {
      const peer: TrafficPeer = new TrafficPeer({
        station: station(n),
        scheduler: time,
        send: (bytes, at, length) => port.receive(bytes, at, length),
      });
      const port = it.addPort({
        name: `peer ${n}`,
        deliver: (bytes, at, length) => {
          peer.receive(bytes, at, length);
          return true;
        },
      }) as SwitchPort;
      return peer;
    };
    const [a, b] = [plug(1), plug(2)];
    const heard: string[] = [];
    it.addPort({
      name: 'listener',
      deliver: (bytes, at) => {
        heard.push(`${bytes[at + 21]}`);
        return true;
      },
    });
    for (const size of [64, 1472]) {
      a!.startFlow({
        kind: 'echo',
        ip: station(2).ip,
        port: PORT_ECHO,
        rate: 1000,
        payloadBytes: size,
        count: 500,
      });
    }
    time.pass(seconds(1));
    for (const flow of a!.report()) {
      expect(flow).toMatchObject({ sent: 500, outstanding: 0 });
      expect(flow.arrived).toMatchObject({ received: 500, lost: 0, corrupt: 0, reordered: 0, duplicated: 0 });
    }
    expect(b!.statistics.udpEchoed).toBe(1000);
    // The question went to all, the answer to the one who asked.
    expect(heard).toEqual(['1']);
  });
});

describe('a link', () => {
  it('delays, each way', () => {
    const { time, send, got } = network([{ delay: milliseconds(2) }, { delay: milliseconds(3) }, {}]);
    send(0, frame(2, 1));
    time.pass(seconds(1));
    expect(got.map(({ port, at }) => [port, at])).toEqual([
      [2, 2e6],
      [1, 5e6],
    ]);
  });

  it('takes the time that a frame takes at its bandwidth, in order', () => {
    const { time, send, got } = network([{}, { bandwidth: 1e9 / 8 }]);
    const sent = [60, 1000, 1514, 64].map((length, i) => frame(BROADCAST, i + 1, length));
    for (const one of sent) send(0, one);
    time.pass(seconds(1));
    expect(got.map((one) => one.frame)).toEqual(sent);
    const wire = (length: number): number => (length + 24) * 8;
    let end = 0;
    expect(got.map((one) => one.at)).toEqual(sent.map((one) => (end += wire(one.length))));
  });

  it('drops what its queue has no room for, and loses nothing else', () => {
    const { time, send, got, ports } = network([{}, { bandwidth: 1e6, queueBytes: 10_000 }]);
    for (let i = 0; i < 100; i++) send(0, frame(BROADCAST, 1, 976));
    time.pass(seconds(10));
    expect(got).toHaveLength(11);
    expect(ports[1]!.statistics).toMatchObject({ framesOut: 11, queueDrops: 89, lost: 0 });
  });

  it('loses about the share that it is told to, the same ones for the same seed', () => {
    const runs = [1, 2].map(() => {
      const { send, got, ports } = network([{}, { loss: 0.1 }]);
      for (let i = 0; i < 10_000; i++) send(0, frame(BROADCAST, i & 0xff, 60));
      expect(ports[1]!.statistics.lost + got.length).toBe(10_000);
      return got;
    });
    expect(runs[0]!.length).toBeGreaterThan(8900);
    expect(runs[0]!.length).toBeLessThan(9100);
    const stationsOf = (run: (typeof runs)[0]) => run!.map((one) => one.frame[11]).join();
    expect(stationsOf(runs[0])).toBe(stationsOf(runs[1]));
  });

  it('keeps order and bytes of what is under way, through growth and wrap-around', () => {
    const { time, send, got } = network([{}, { delay: milliseconds(1) }]);
    const random = seededRandom(3);
    const sent: Uint8Array[] = [];
    for (let i = 0; i < 5000; i++) {
      const one = frame(BROADCAST, 1, random.between(14, 1514));
      random.fill(one.subarray(12));
      sent.push(one);
      send(0, one);
      // The rate falls and rises, so that the ring fills, wraps, drains and grows.
      time.pass(microseconds(random.below(i % 1000 < 500 ? 10 : 300)));
    }
    time.pass(seconds(1));
    expect(got).toHaveLength(sent.length);
    expect(sent.findIndex((one, i) => !Buffer.from(one).equals(got[i]!.frame))).toBe(-1);
  });
});

describe('the table of stations', () => {
  const macOf = (n: number): Uint8Array => Uint8Array.of(2, 0, n >>> 24, n >>> 16, n >>> 8, n);

  it('holds its size under a flood of addresses, and goes on to work', () => {
    const table = new MacTable(64);
    for (let n = 0; n < 100_000; n++) table.learn(macOf(n), 0, 1, instant(n));
    expect(table.count(instant(100_000))).toBeLessThanOrEqual(64);
    expect(table.evictions).toBeGreaterThan(90_000);
    table.learn(macOf(1), 0, 5, instant(100_001));
    expect(table.lookup(macOf(1), 0, instant(100_001))).toBe(5);
  });

  it('finds everything that was learned while there is room', () => {
    const table = new MacTable(8192);
    for (let n = 0; n < 500; n++) table.learn(macOf(n * 7), 0, n, instant(0));
    const wrong = [...Array(500).keys()].filter((n) => table.lookup(macOf(n * 7), 0, instant(1)) !== n);
    expect(wrong).toEqual([]);
    expect(table.lookup(macOf(1), 0, instant(1))).toBe(PORT_UNKNOWN);
    table.forget(3);
    expect(table.lookup(macOf(21), 0, instant(1))).toBe(PORT_UNKNOWN);
    expect(table.count(instant(nanoseconds(1)))).toBe(499);
  });
});
