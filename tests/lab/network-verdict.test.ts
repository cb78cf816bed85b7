/** What a move with traffic is judged by: a record of a move that went well passes, and no other does. */
import { describe, expect, it } from 'vitest';
import type { FlowMeasurement } from '../../devices/ethernet/flow-receiver.js';
import type { Check } from '../../lab/move/check.js';
import {
  type DeviceView,
  type FlowRecord,
  flowRecord,
  type GuestCounters,
  guestCounters,
} from '../../lab/move/network-record.js';
import { networkLines } from '../../lab/move/network-tables.js';
import { lossAllowance, networkChecks } from '../../lab/move/network-verdict.js';
import type { Flow } from '../../lab/move/scenario.js';
import { judge, statusPattern } from '../../lab/move/verdict.js';
import { simulate } from '../migration/simulate.js';
import {
  ALL_FLOWS,
  blackout,
  fabric,
  flow,
  MS,
  measured,
  port,
  RATE,
  recordOf,
  whole,
} from './sample-network.js';

/** Names of the checks that fail. `flows` are those that the record has, unless others were asked for. */
async function failed(view: DeviceView | undefined, flows = ALL_FLOWS): Promise<string[]> {
  const { source } = await simulate();
  const network = view && recordOf(view);
  const checks = networkChecks({ flows, network }, { ...source, blackout } as unknown as typeof source);
  expect(checks.every(({ seen }) => seen !== '')).toBe(true);
  return checks.filter(({ outcome }) => outcome !== 'held').map(({ name }) => name);
}

/** The record with one flow measured otherwise, over all phases. */
const withTotal = (name: Flow, change: Partial<FlowMeasurement>, more: Partial<FlowRecord> = {}) => ({
  ...whole,
  total: whole.total.map((record) =>
    record.flow === name ? { ...record, ...more, arrived: { ...record.arrived!, ...change } } : record,
  ),
});

/** The same move with one flow. */
function alone(name: Flow): DeviceView {
  const only = (records: readonly FlowRecord[]) => records.filter((record) => record.flow === name);
  const { before, move, after, total, guest } = whole;
  const still = name === 'from-guest' ? 0 : 110;
  return {
    ...whole,
    before: { ...before, flows: only(before.flows) },
    move: { ...move, flows: only(move.flows) },
    after: { ...after, flows: only(after.flows) },
    total: only(total),
    guest: { ...guest, incoming: name === 'to-guest' ? guest.incoming : undefined },
    nics: { ...whole.nics, source: { stopped: still, 'no-descriptor': 0, malformed: 0, cable: 0 } },
  };
}

const withGuest = (change: Partial<GuestCounters>) => ({ ...whole, guest: { ...whole.guest, ...change } });

/** The record with the destination's NIC, and what was lost of the echoes. */
const withDrops = (echoesLost: number, drops: Partial<NonNullable<DeviceView['nics']['source']>>) => ({
  ...withTotal('echo', measured(30_000 - echoesLost, echoesLost)),
  nics: { ...whole.nics, destination: { ...whole.nics.destination!, ...drops } },
});

const DAMAGE = 'every packet that arrived had the right bytes';
const REPEATED = 'no packet came twice or out of order';
const LOSSES = 'every lost packet is accounted for';
const PLACE = "the network heard of the guest's new place";
const FLOWING = 'traffic flows at the destination';
const COUNTERS = "the guest's own counters agree";

describe('the network of a move that went well', () => {
  it('passes every check, with each flow alone as well', async () => {
    expect(await failed(whole)).toEqual([]);
    for (const name of ALL_FLOWS) expect(await failed(alone(name), [name])).toEqual([]);
  });

  it('says nothing where no traffic was asked for', async () => {
    expect(networkChecks({ flows: [], network: undefined }, undefined)).toEqual([]);
  });

  it('passes with losses that someone counted: no descriptor, no room on the cable, dropped by the guest', async () => {
    expect(await failed(withDrops(610, { 'no-descriptor': 500 }))).toEqual([]);
    expect(await failed(withDrops(610, { cable: 500 }))).toEqual([]);
    expect(
      await failed({
        ...withDrops(610, {}),
        guest: { ...whole.guest, echo: { echoed: 29_390, notSent: 500 } },
      }),
    ).toEqual([]);
    const dropping = { ...fabric, ports: [{ ...port('source'), queueDrops: 500 }, port('destination')] };
    expect(await failed({ ...withDrops(610, {}), fabric: dropping })).toEqual([]);
  });
});

describe('the network of a move with several devices', () => {
  const named = (index: number, view: DeviceView = whole): DeviceView => ({ ...view, name: `vf${index}` });

  it('is judged by device: whole if each is, and told of those that are not', async () => {
    const { source } = await simulate();
    const record = { ...source, blackout } as unknown as typeof source;
    const stations = { ...fabric.stations, moves: 3 };
    const checksOf = (...views: DeviceView[]) => {
      const network = { ...recordOf(...views), fabric: { ...fabric, stations } };
      return networkChecks({ flows: ALL_FLOWS, network }, record);
    };
    const good = checksOf(named(0), named(1), named(2));
    expect(good.map(({ outcome }) => outcome)).toEqual(good.map(() => 'held'));
    expect(good[0]!.seen).toMatch(/^3 devices, vf0: /);
    const outcomesOf = (checks: readonly Check[]) =>
      [...new Set(checks.map(({ outcome }) => outcome))].sort();
    // One loss too many of one device is not made up for by what the others may lose.
    const bad = checksOf(named(0), named(1, withDrops(113, {})), named(2));
    expect(bad.filter(({ outcome }) => outcome !== 'held')).toEqual([
      { name: LOSSES, outcome: 'failed', seen: expect.stringMatching(/^vf1: [^;]*213 lost; (?!.*vf[02]:)/) },
    ]);
    // What each of three devices announces reaches all of them: 32 frames of other kinds for each, and not one more.
    const announced = (others: number) =>
      named(1, withDrops(110, { stopped: 190 + 70 + 190 + others - 210 }));
    const outcomes = [3 * 32, 3 * 32 + 1].map((n) => outcomesOf(checksOf(named(0), announced(n), named(2))));
    expect(outcomes).toEqual([['held'], ['failed', 'held']]);
    const unasked = checksOf(named(0, { ...whole, nics: { ...whole.nics, source: undefined } }), named(1));
    expect(unasked.filter(({ outcome }) => outcome !== 'held')).toEqual([
      { name: LOSSES, outcome: 'not-checked', seen: expect.stringMatching(/^vf0: /) },
    ]);
    // The network heard of three new places, and there are four devices.
    const unheard = checksOf(named(0), named(1), named(2), named(3));
    expect(unheard.filter(({ outcome }) => outcome !== 'held')).toEqual([
      { name: PLACE, outcome: 'failed', seen: '3 of 4 devices were heard at another port' },
    ]);
    const still = { ...whole.after, flows: ALL_FLOWS.map((name) => flow(name, 10_000, 10_000)) };
    const silent = checksOf(named(0), named(1, { ...whole, after: still }));
    expect(silent.filter(({ outcome }) => outcome !== 'held')).toMatchObject([
      { name: FLOWING, outcome: 'failed', seen: expect.stringMatching(/^vf1: /) },
    ]);
  });
});

describe('the network of a move is not whole', () => {
  it.each([
    ['echo', withTotal('echo', { received: 29_889, corrupt: 1 })],
    ['from-guest', withTotal('from-guest', { received: 29_999, corrupt: 1 })],
    ['to-guest', withGuest({ incoming: { ...whole.guest.incoming!, received: 29_899, corrupt: 1 } })],
  ] as const)('with one corrupt packet in %s', async (_, network) => {
    expect(await failed(network)).toEqual([DAMAGE]);
  });

  it('with one wrong checksum at the peer, or at the guest', async () => {
    const [peer] = fabric.peers;
    expect(
      await failed({ ...whole, fabric: { ...fabric, peers: [{ ...peer!, checksumErrors: 1 }] } }),
    ).toEqual([DAMAGE]);
    expect(await failed(withGuest({ device: { ...whole.guest.device!, badChecksums: 1 } }))).toEqual([
      DAMAGE,
    ]);
  });

  it.each(ALL_FLOWS)('when nothing came of %s: then nothing was compared either', async (name) => {
    const silent =
      name === 'to-guest'
        ? withGuest({ incoming: { ...whole.guest.incoming!, received: 0, lost: 0 } })
        : withTotal(name, measured(0, 0));
    expect(await failed(silent)).toContain(DAMAGE);
  });

  it.each([
    ['duplicate', withTotal('echo', { duplicated: 1 })],
    ['reordered packet', withTotal('from-guest', { reordered: 1 })],
    ['packet too late to be judged', withTotal('echo', { tooLate: 1 })],
    ['duplicate at the guest', withGuest({ incoming: { ...whole.guest.incoming!, duplicated: 1 } })],
    ['reordered packet at the guest', withGuest({ incoming: { ...whole.guest.incoming!, reordered: 1 } })],
  ] as const)('with one %s', async (_, network) => {
    expect(await failed(network)).toEqual([REPEATED]);
  });

  it('when its guest was heard at no other port, or only before the move', async () => {
    const { stationMovedAtNs: _, ...unheard } = fabric;
    expect(await failed({ ...whole, fabric: unheard })).toEqual([PLACE]);
    expect(await failed({ ...whole, fabric: { ...fabric, stationMovedAtNs: 0.5e9 } })).toEqual([PLACE]);
  });

  it('with one loss more than anybody has counted', async () => {
    expect(await failed(withDrops(112, {}))).toEqual([]);
    expect(await failed(withDrops(113, {}))).toEqual([LOSSES]);
    expect(
      await failed(withGuest({ incoming: { ...whole.guest.incoming!, received: 29_880, lost: 120 } })),
    ).toEqual([LOSSES]);
  });

  it('when an echo neither came back nor is known to be lost', async () => {
    expect(await failed(withTotal('echo', {}, { pending: 1 }))).toEqual([LOSSES]);
  });

  it('when more frames met a NIC that stood still than the blackout explains', async () => {
    // Echoes and datagrams of 12 + 2 + 5 ms, what the guest sent itself of 2 + 5, and 32 frames of other kinds.
    const allowed = 190 + 70 + 190 + 32;
    expect(await failed(withDrops(110, { stopped: allowed - 210 }))).toEqual([]);
    expect(await failed(withDrops(110, { stopped: allowed - 210 + 1 }))).toEqual([LOSSES]);
  });

  it.each(['source', 'destination'] as const)('when the NIC of the %s could not be asked', async (side) => {
    expect(await failed({ ...whole, nics: { ...whole.nics, [side]: undefined } })).toEqual([LOSSES]);
  });

  it.each(ALL_FLOWS)('when %s no longer flows at the destination', async (name) => {
    const still =
      name === 'to-guest'
        ? withGuest({ incoming: { ...whole.guest.incoming!, received: 19_900 } })
        : {
            ...whole,
            after: {
              ...whole.after,
              flows: whole.after.flows.map((of) => (of.flow === name ? flow(name, 10_000, 10_000) : of)),
            },
          };
    expect(await failed(still)).toEqual([FLOWING]);
  });

  it('though much was lost before, wherever that was, as long as it flows afterwards', async () => {
    const { incoming } = whole.guest;
    const nics = (drops: { stopped: number; cable: number }) => ({
      ...whole.nics,
      source: { 'no-descriptor': 0, malformed: 0, ...drops },
    });
    const lossy = withGuest({ incoming: { ...incoming!, received: 24_000, lost: 6000 } });
    const known = { ...whole.guestBefore, incoming: { ...incoming!, received: 14_000, lost: 6000 } };
    const before = { ...lossy, guestBefore: known };
    expect(await failed({ ...before, nics: nics({ stopped: 6110, cable: 0 }) })).toEqual([LOSSES]);
    expect(await failed({ ...before, nics: nics({ stopped: 0, cable: 6110 }) })).toEqual([]);
    // The guest knew of 100: so many of the others may have come before that too little is left for afterwards.
    expect(await failed({ ...lossy, nics: nics({ stopped: 0, cable: 6110 }) })).toEqual([FLOWING]);
  });

  it('when traffic only trickles, or nobody watched it afterwards', async () => {
    const trickle = { ...whole.after, flows: ALL_FLOWS.map((name) => flow(name, 10_000, 5001)) };
    expect(await failed({ ...whole, after: trickle })).toEqual([FLOWING]);
    expect(await failed({ ...whole, after: { ...whole.after, durationNs: 0 } })).toContain(FLOWING);
  });

  it.each([
    ['it echoed fewer than came back', withGuest({ echo: { echoed: 29_889, notSent: 0 } })],
    ['it echoed more than was sent', withGuest({ echo: { echoed: 30_001, notSent: 0 } })],
    ['more of its datagrams arrived than it sent', withGuest({ stream: { sent: 29_999 } })],
    [
      'it received more than was sent',
      withGuest({ incoming: { ...whole.guest.incoming!, received: 29_901 } }),
    ],
    ['its device counted an error', withGuest({ device: { ...whole.guest.device!, errors: 1 } })],
    ['it printed nothing of its device', withGuest({ device: undefined })],
    ['it printed nothing of its echoes', withGuest({ echo: undefined })],
    ['it printed nothing of its stream', withGuest({ stream: undefined })],
  ] as const)('when %s', async (_, network) => {
    expect(await failed(network)).toEqual([COUNTERS]);
  });

  it('when it was not measured to the end', async () => {
    expect(await failed(undefined)).toEqual(['the network was measured']);
  });
});

describe('the verdict on a move with traffic', () => {
  it('is verified only if the network is whole, whatever became of the guest', async () => {
    const { source } = await simulate();
    const evidence = {
      record: { ...source, blackout } as unknown as typeof source,
      sourceStatus: 'postmigrate',
      destinationStatus: 'running',
      console: [{ side: 'destination', text: '[    1.000000] idle: up 1 s' }],
      statusLinesMin: 1,
      statusLine: statusPattern(true, 'idle'),
      ownKernel: true,
    } as const;
    const outcome = (view: DeviceView | undefined, flows = ALL_FLOWS) =>
      judge({ ...evidence, traffic: { flows, network: view && recordOf(view) } }).outcome;
    expect(outcome(whole)).toBe('verified');
    expect(outcome(undefined, [])).toBe('verified');
    expect(outcome(undefined)).toBe('failed');
    expect(outcome(withTotal('echo', { corrupt: 1 }))).toBe('failed');
  });
});

describe('what may be lost', () => {
  it('grows with the time that the machine stood, full verification included, and with the rate', () => {
    const { before, move } = whole;
    const none = lossAllowance('echo', { rate: RATE, before, move }, undefined);
    const record = { blackout, verification: undefined, timeline: [], devices: [] };
    const moved = lossAllowance('echo', { rate: RATE, before, move }, record as never);
    const verification = { mode: 'full', durationNs: 100 * MS };
    const verified = lossAllowance('echo', { rate: RATE, before, move }, {
      ...record,
      verification,
    } as never);
    expect([none, moved, verified].map(({ datagrams }) => datagrams)).toEqual([70, 190, 1190]);
    // A device that was asked for 30 ms before the blackout, and worked 20 ms after it.
    const timeline = [
      { who: 'vf0', what: 'request', at: 100 * MS, duration: 10 * MS },
      { who: 'migration', what: 'quiescing', at: 130 * MS },
    ];
    const devices = [{ name: 'vf0', startedAfterNs: 20 * MS }];
    const away = { ...record, timeline, devices } as never;
    expect(lossAllowance('echo', { rate: RATE, before, move }, away, 'vf0').datagrams).toBe(690);
    expect(lossAllowance('echo', { rate: RATE, before, move }, away, 'vf1').datagrams).toBe(190);
    expect(lossAllowance('echo', { rate: 2 * RATE, before, move }, undefined).datagrams).toBe(140);
    // After it could not run the peer sends what it owes at once; what the guest sends waits with it.
    const stalled = { rate: RATE, before, move: { ...move, longestStallNs: 30 * MS } };
    expect(lossAllowance('echo', stalled, undefined).datagrams).toBe(320);
    expect(lossAllowance('from-guest', stalled, undefined).datagrams).toBe(70);
    expect(lossAllowance('from-guest', { rate: RATE, before, move }, record as never).datagrams).toBe(70);
  });
});

describe("the guest's counters", () => {
  const lines = (...texts: string[]) => texts.map((text) => ({ side: 'destination' as const, text }));

  it('are those that it printed last', () => {
    const [counters] = guestCounters(
      lines(
        '[    1.0] udp-echo: 9990 packets/s, 100 echoed, 7 not sent, 0 bad checksums',
        '[    1.5] udp-echo: 9990 packets/s, 5100 echoed, 8 not sent, 0 bad checksums',
        '[    1.5] udp-stream: sent 5000 packets/s, 2500 sent, 1 busy, 0 bad checksums',
        '[    1.5] udp-stream: incoming 4990 packets/s, 2400 received, 3 lost, 2 duplicated, 1 reordered',
        '[    1.5] udp-stream: incoming longest gap 1234 us, 4 corrupt',
        '[    1.5] eth0: 5101 received, 5102 sent, 1 dropped, 2 errors, 3 bad checksums',
      ),
      1,
    );
    expect(counters).toEqual({
      echo: { echoed: 5100, notSent: 8 },
      stream: { sent: 2500 },
      incoming: { received: 2400, lost: 3, duplicated: 2, reordered: 1, corrupt: 4, longestGapNs: 1_234_000 },
      device: { received: 5101, sent: 5102, dropped: 1, errors: 2, badChecksums: 3 },
    });
  });

  it('are absent where it printed none, or only half of them', () => {
    const none = { echo: undefined, stream: undefined, incoming: undefined, device: undefined };
    expect(guestCounters([], 1)).toEqual([none]);
    expect(
      guestCounters(
        lines('[    1.5] udp-stream: incoming longest gap 1234 us, 4 corrupt', 'eth0: Link is Down'),
        1,
      ),
    ).toEqual([none]);
  });

  it('are told apart where there are several devices', () => {
    const both = guestCounters(
      lines(
        '[    1.5] udp-echo: 9990 packets/s, 5100 echoed, 8 not sent, 0 bad checksums',
        '[    1.5] udp-echo: eth0: 4990 packets/s, 3000 echoed, 8 not sent',
        '[    1.5] udp-echo: eth1: 5000 packets/s, 2100 echoed, 0 not sent',
        '[    1.5] eth0: 3001 received, 3002 sent, 1 dropped, 2 errors, 3 bad checksums',
        '[    1.5] udp-stream: eth1: sent 5000 packets/s, 2500 sent, 1 busy, 0 bad checksums',
        '[    1.5] udp-stream: eth1: incoming 4990 packets/s, 2400 received, 3 lost, 2 duplicated, 1 reordered',
        '[    1.5] udp-stream: eth1: incoming longest gap 1234 us, 4 corrupt',
      ),
      2,
    );
    expect(both).toMatchObject([
      { echo: { echoed: 3000, notSent: 8 }, stream: undefined, device: { received: 3001 } },
      { echo: { echoed: 2100 }, stream: { sent: 2500 }, incoming: { received: 2400 }, device: undefined },
    ]);
  });
});

describe('what the tables say besides', () => {
  it('is a word for echoes that were under way, where more came than was sent', () => {
    const lines = (echoes: number): string => {
      const { flows } = whole.move;
      const echo = flows.map((each) => ({ ...each, arrived: { ...each.arrived!, received: echoes } }));
      return networkLines(recordOf({ ...whole, move: { ...whole.move, flows: echo } }), undefined).join('\n');
    };
    expect(lines(10_001)).toContain('more received than sent');
    expect(lines(10_000)).not.toContain('more received');
  });
});

describe("a flow of the fabric's", () => {
  it('has the name by which it was asked for, as the guest sees it', () => {
    const of = (kind: 'echo' | 'in' | 'out') =>
      flowRecord(
        {
          kind,
          remote: '10.0.0.4:7',
          sent: 5,
          outstanding: 2,
          arrived: null,
          gapStalledNs: 3,
        } as Parameters<typeof flowRecord>[0],
        ['vf0', 'vf1', 'vf2'],
      );
    expect((['echo', 'in', 'out'] as const).map((kind) => of(kind).flow)).toEqual(ALL_FLOWS);
    expect(of('echo')).toMatchObject({ device: 'vf2', sent: 5, pending: 2, arrived: null, gapStalledNs: 3 });
  });
});
