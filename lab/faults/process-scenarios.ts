/** What happens to the processes, and to the host that they run on. */
import { MIB } from '../../base/units.js';
import { BROKEN, SILENT } from '../checkers/causes.js';
import type { Place } from './link/rule.js';
import { type FaultScenario, type FaultyProcess, IMPATIENT, type Keeper } from './scenario.js';

/** Phases of a migration by the messages between them, and who has the guest if a VMM is killed there. */
const PHASES: readonly (readonly [
  name: string,
  words: string,
  at: Place,
  withoutSource: Keeper,
  withoutDestination: Keeper,
])[] = [
  ['setup', 'before the first page', { message: 'welcome', edge: 'after' }, 'ended', 'source'],
  ['rounds', 'after the first round', { message: 'round-end' }, 'ended', 'source'],
  ['prepare', 'when the guest stands still', { message: 'complete' }, 'ended', 'source'],
  ['prepared', 'when the destination is prepared', { message: 'prepared' }, 'ended', 'source'],
  ['commit', 'before `commit` arrives', { message: 'commit' }, 'ended', 'undecided'],
  [
    'start',
    'when `commit` has arrived, while the device starts',
    { message: 'commit', edge: 'after' },
    'destination',
    'undecided',
  ],
  [
    'running',
    'when the source has heard that the guest runs',
    { message: 'running', edge: 'after' },
    'destination',
    'ended',
  ],
];

const kills: readonly FaultScenario[] = PHASES.flatMap(
  ([phase, words, at, withoutSource, withoutDestination]) =>
    (
      [
        ['source', withoutSource],
        ['destination', withoutDestination],
      ] as const
    ).map(([process, guest]) => ({
      name: `kill-${process}-${phase}`,
      text: `the ${process} is killed ${words}`,
      strikes: [{ at, does: { kind: 'kill', process } }],
      guest,
      causes: BROKEN,
    })),
);

const suspended = (
  name: string,
  process: FaultyProcess,
  seconds: number,
  at: Place,
  where: string,
  guest: Keeper,
  causes?: RegExp,
): FaultScenario => ({
  name,
  text: `the ${process} is stopped for ${seconds} s ${where}`,
  strikes: [{ at, does: { kind: 'suspend', process, ms: seconds * 1000 } }],
  guest,
  ...(causes && { causes, patience: IMPATIENT }),
});

const ROUND = { message: 'round-end' } as const;
const COMPLETE = { message: 'complete' } as const;
const COMMIT = { message: 'commit' } as const;
const COMMITTED = { message: 'commit', edge: 'after' } as const;

export const PROCESS_SCENARIOS: readonly FaultScenario[] = [
  ...kills,
  {
    name: 'kill-fabric',
    text: 'the network is killed after the first round',
    strikes: [{ at: ROUND, does: { kind: 'kill', process: 'fabric' } }],
    guest: 'destination',
  },
  suspended('suspend-source-short', 'source', 0.4, COMPLETE, 'in the switchover', 'destination'),
  suspended('suspend-destination-short', 'destination', 0.4, COMPLETE, 'in the switchover', 'destination'),
  suspended('suspend-fabric', 'fabric', 0.4, COMPLETE, 'in the switchover', 'destination'),
  suspended('suspend-source', 'source', 8, ROUND, 'after the first round', 'source', SILENT),
  suspended('suspend-destination', 'destination', 8, COMPLETE, 'in the switchover', 'source', SILENT),
  suspended(
    'suspend-source-committed',
    'source',
    8,
    COMMITTED,
    'when `commit` has arrived',
    'destination',
    SILENT,
  ),
  suspended(
    'suspend-destination-commit',
    'destination',
    6,
    COMMIT,
    'before `commit` arrives: the source asks until it answers',
    'either',
    SILENT,
  ),
  suspended(
    'suspend-destination-long',
    'destination',
    13,
    COMMITTED,
    'when `commit` has been sent: longer than the source asks',
    'destination',
    SILENT,
  ),
  {
    name: 'client-gone',
    text: 'the monitor client that asked for the migration is gone after the first round',
    strikes: [{ at: ROUND, does: { kind: 'client-gone' } }],
    guest: 'destination',
  },
  ...(['capture', 'recording'] as const).map((file) => ({
    name: `full-disk-${file}`,
    text: `no room is left for the ${file === 'capture' ? 'capture of the network' : 'recording of the stream'}`,
    strikes: [],
    host: { kind: 'full-disk', file } as const,
    guest: 'destination' as const,
  })),
  {
    name: 'memory-limit-destination',
    text: 'the destination may have no more address space than it has and 64 MiB, too little for the guest',
    strikes: [],
    host: { kind: 'memory-limit', side: 'destination', moreBytes: 64 * MIB },
    guest: 'source',
    causes: /^vmm\/ram-unavailable$/,
  },
  {
    name: 'busy-cores',
    text: 'each core serves three others that never rest',
    strikes: [],
    host: { kind: 'busy-cores', perCore: 3 },
    guest: 'destination',
  },
];
