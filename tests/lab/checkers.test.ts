/** What must hold whatever is inflicted on a migration: each check finds nothing where all is well, and what it is there for. */
import { describe, expect, it } from 'vitest';
import type { FlowReport } from '../../devices/ethernet/flow.js';
import type { FlowMeasurement } from '../../devices/ethernet/flow-receiver.js';
import { CHECKERS, violationsOf } from '../../lab/checkers/checkers.js';
import type { Happened, SecondMove } from '../../lab/checkers/happened.js';
import { migrationErrors } from '../../migration/errors.js';

const arrived: FlowMeasurement = {
  received: 98,
  lost: 2,
  holes: 1,
  duplicated: 0,
  reordered: 0,
  corrupt: 0,
  tooLate: 0,
  longestGapNs: 2e6,
  longestGapAtNs: 0,
  silentNs: 0,
  latency: null,
};
const flow = (changes: Partial<FlowMeasurement> = {}, sent = 100): FlowReport => ({
  flow: 0,
  kind: 'echo',
  remote: '10.0.0.2:7',
  sent,
  outstanding: 0,
  arrived: { ...arrived, ...changes },
});

const moved: Happened = {
  runs: [
    { atNs: 0, side: 'source', running: true },
    { atNs: 10, side: 'source', running: false },
    { atNs: 20, side: 'destination', running: true },
  ],
  source: { status: 'completed', error: undefined, gone: false },
  destination: { status: 'completed', error: undefined, gone: false },
  faults: [],
  leftStopped: false,
  handOver: [],
  during: flow(),
  later: flow({ received: 8, lost: 0 }, 8),
  packetRate: 2000,
  tookNs: 20,
  mayTakeNs: 1000,
  defects: [],
};
const broken = migrationErrors.error('link-broken', { peer: 'the destination', reason: 'reset' }).toJSON();
const back: Happened['runs'] = [
  ...moved.runs,
  { atNs: 40, side: 'destination', running: false },
  { atNs: 50, side: 'source', running: true },
];
const cut = { name: 'cut', causes: /\/link-broken$/ };
const failed: Happened = {
  ...moved,
  runs: moved.runs.slice(0, 1),
  source: { status: 'failed', error: broken, gone: false },
  destination: { status: 'failed', error: broken, gone: false },
  faults: [cut],
  handOver: undefined,
};
const { source, destination, during } = moved;
const second: SecondMove = { source, destination, during, beganNs: 30, tookNs: 50, mayTakeNs: 50 };

describe('the checks of a migration under faults', () => {
  it.each([
    ['one that completes', moved],
    ['one that fails by what was inflicted', failed],
    [
      'one whose guest went with its process',
      { ...failed, runs: moved.runs.slice(0, 2), source: { ...failed.source, gone: true }, later: undefined },
    ],
    ['one whose sender caught up in the gap', { ...moved, senderStallNs: 20e6, during: flow({ lost: 40 }) }],
    [
      'one whose guest changed over to a standby and back',
      { ...moved, pathChanges: 2, during: flow({ lost: 4 + 60 + 8 }) },
    ],
    ['one whose guest was off the network twice', { ...moved, outages: 1, during: flow({ lost: 16 }) }],
    ['one after which another completes', { ...failed, second }],
    ['one whose driver gave its device up', { ...moved, later: undefined, deviceGivenUp: true }],
    ['one that says who runs the guest in the end', { ...moved, claims: ['destination'] } as const],
    [
      'one whose guest stood still, and went with the process to which it was given',
      {
        ...moved,
        runs: moved.runs.slice(0, 2),
        destination: { ...moved.destination, gone: true },
        later: undefined,
      },
    ],
    [
      'one whose guest crashed',
      { ...moved, runs: moved.runs.slice(0, 2), later: undefined, guestEnded: true },
    ],
    ['one whose guest is moved back', { ...moved, second, runs: back }],
    ['one without a network in the end', { ...moved, later: undefined, networkGone: true }],
  ])('find nothing in %s', (_, happened) => {
    expect(violationsOf(happened)).toEqual([]);
  });

  const twice = [...moved.runs.slice(0, 1), { atNs: 5, side: 'destination', running: true } as const];
  it.each<[checker: string, finding: RegExp, happened: Happened]>([
    ['one-runner', /both run the guest at 5 ns/, { ...moved, runs: twice }],
    [
      'one-runner',
      /nobody runs .* since 10 ns/,
      { ...moved, runs: moved.runs.slice(0, 2), later: undefined },
    ],
    [
      'one-runner',
      /nobody runs .* since 10 ns/,
      // It had not come to the process that is gone.
      {
        ...failed,
        runs: moved.runs.slice(0, 2),
        destination: { ...failed.destination, gone: true },
        later: undefined,
      },
    ],
    ['one-runner', /goes on at the source again at 50 ns/, { ...moved, runs: back }],
    [
      'one-runner',
      /goes on at the destination again at 70 ns/,
      {
        ...moved,
        second,
        runs: [
          ...back,
          { atNs: 60, side: 'source', running: false },
          { atNs: 70, side: 'destination', running: true },
        ],
      },
    ],
    [
      'one-runner',
      /the source says that it runs the guest, and it stands still/,
      { ...moved, claims: ['source', 'destination'] },
    ],
    [
      'one-runner',
      /the destination says that it does not run the guest, and it runs/,
      { ...moved, claims: [] },
    ],
    ['same-at-hand-over', /page 7/, { ...moved, handOver: ['page 7'] }],
    ['network-ledger', /1 packets .* duplicated/, { ...moved, during: flow({ duplicated: 1 }) }],
    ['network-ledger', /1 packets .* reordered/, { ...moved, during: flow({ reordered: 1 }) }],
    ['network-ledger', /1 packets .* corrupt/, { ...moved, during: flow({ corrupt: 1 }) }],
    ['network-ledger', /40 packets .* lost, .* explains 12/, { ...moved, during: flow({ lost: 40 }) }],
    [
      'network-ledger',
      /73 packets .* lost, .* explains 72/,
      { ...moved, pathChanges: 2, during: flow({ lost: 73 }) },
    ],
    ['typed-errors', /name none of what was inflicted: nothing/, { ...failed, faults: [] }],
    ['typed-errors', /a defect came to light: ouch/, { ...moved, defects: ['ouch'] }],
    [
      'typed-errors',
      /the source ended as failed, and says no why/,
      { ...failed, source: { ...failed.source, error: undefined } },
    ],
    [
      'typed-errors',
      /no code, words or advice/,
      { ...failed, source: { ...failed.source, error: { ...broken, advice: '' } } },
    ],
    ['bounded-time', /1001 ns, which is more than 1000 ns/, { ...moved, tookNs: 1001 }],
    [
      'survivor-works',
      /at the destination answers 3 of 8/,
      { ...moved, later: flow({ received: 3, lost: 5, longestGapNs: 1e9 }, 8) },
    ],
    [
      'heals',
      /destination of another migration ended as failed: .*reset/,
      { ...moved, second: { ...second, destination: failed.destination } },
    ],
    [
      'heals',
      /source of another migration ended as none: it says no why/,
      { ...moved, second: { ...second, source: { ...moved.source, status: undefined } } },
    ],
    ['bounded-time', /51 ns, which is more than 50 ns/, { ...moved, second: { ...second, tookNs: 51 } }],
    [
      'network-ledger',
      /1 packets .* corrupt/,
      { ...moved, second: { ...second, during: flow({ corrupt: 1 }) } },
    ],
    ['survivor-works', /BUG/, { ...moved, guestFindings: ['BUG: page 7'] }],
    ['nothing-left', /left behind: 1 sockets/, { ...moved, leftovers: ['1 sockets of the source'] }],
  ])('%s: %s', (checker, finding, happened) => {
    expect(violationsOf(happened)).toEqual([{ checker, finding: expect.stringMatching(finding) }]);
  });

  it('have each been seen to find something', () => {
    expect(CHECKERS.map(({ name }) => name)).toEqual([
      'one-runner',
      'same-at-hand-over',
      'network-ledger',
      'typed-errors',
      'bounded-time',
      'survivor-works',
      'heals',
      'nothing-left',
    ]);
  });
});
