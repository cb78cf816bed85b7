import { describe, expect, it } from 'vitest';
import {
  type DestinationEvent,
  type DestinationState,
  destinationOwnsGuest,
  destinationTable,
  Lifecycle,
  qmpStatus,
  type SourceEvent,
  type SourceState,
  sourceOwnsGuest,
  sourceTable,
} from '../../migration/states.js';

/**
 * The oracles: rules about the order of things, written without a look at the tables. A source goes along a line; it can
 * leave it towards the guest as long as the guest is its own, and comes back to it if the destination refused the commit. A
 * destination does the same without a way back.
 */
const sourceLine: readonly [SourceState, SourceEvent][] = [
  ['none', 'start'],
  ['setup', 'ready'],
  ['active', 'converged'],
  ['pre-switchover', 'paused'],
  ['device', 'commit'],
  ['committed', 'running'],
  ['completed', 'start'],
];
function sourceOracle(state: SourceState, event: SourceEvent): SourceState | undefined {
  const at = sourceLine.findIndex(([name]) => name === state);
  const busy = at >= 1 && at <= 4;
  if (event === 'fail') return busy || state === 'cancelling' ? 'failed' : undefined;
  if (event === 'cancel') return busy ? 'cancelling' : undefined;
  if (event === 'undone') return state === 'cancelling' ? 'cancelled' : undefined;
  if (event === 'refused') return state === 'committed' ? 'device' : undefined;
  if (event === 'lost') return state === 'committed' ? 'unacknowledged' : undefined;
  return at >= 0 && at <= 5 && sourceLine[at]![1] === event ? sourceLine[at + 1]![0] : undefined;
}

const destinationLine: readonly [DestinationState, DestinationEvent][] = [
  ['none', 'start'],
  ['setup', 'ready'],
  ['active', 'state'],
  ['device', 'loaded'],
  ['prepared', 'commit'],
  ['committed', 'running'],
  ['completed', 'start'],
];
function destinationOracle(state: DestinationState, event: DestinationEvent): DestinationState | undefined {
  const at = destinationLine.findIndex(([name]) => name === state);
  if (event === 'fail') return at >= 1 && at <= 5 ? 'failed' : undefined;
  return at >= 0 && at <= 5 && destinationLine[at]![1] === event ? destinationLine[at + 1]![0] : undefined;
}

const sourceEvents: readonly SourceEvent[] = [
  ...[
    'start',
    'ready',
    'converged',
    'paused',
    'commit',
    'running',
    'cancel',
    'undone',
    'fail',
    'refused',
    'lost',
  ],
] as SourceEvent[];
const destinationEvents: readonly DestinationEvent[] = [
  ...['start', 'ready', 'state', 'loaded', 'commit', 'running', 'fail'],
] as DestinationEvent[];

/** Every pair whose outcome differs between table and oracle. */
function disagreements<S extends string, E extends string>(
  table: { readonly [State in S]: { readonly [Event in E]?: S } },
  events: readonly E[],
  oracle: (state: S, event: E) => S | undefined,
): string[] {
  const found: string[] = [];
  for (const state of Object.keys(table) as S[]) {
    for (const event of events) {
      const life = new Lifecycle(table, state, () => undefined);
      let outcome: S | undefined;
      try {
        life.to(event);
        outcome = life.state;
      } catch {
        expect(life.state).toBe(state);
      }
      if (outcome !== oracle(state, event)) found.push(`${state} + ${event}: ${outcome}`);
    }
  }
  return found;
}

describe('the tables of states', () => {
  it('agree with the oracle for every state and event', () => {
    expect(disagreements(sourceTable, sourceEvents, sourceOracle)).toEqual([]);
    expect(disagreements(destinationTable, destinationEvents, destinationOracle)).toEqual([]);
  });

  it('are found out when one entry is wrong', () => {
    const wrong = { ...sourceTable, committed: { ...sourceTable.committed, cancel: 'cancelling' as const } };
    expect(disagreements(wrong, sourceEvents, sourceOracle)).toEqual(['committed + cancel: cancelling']);
  });

  it('leave the guest with one owner on every path: the destination owns it only after the source gave it up', () => {
    // What the two sides can be in at the same time: the destination commits only after the source did.
    for (const source of Object.keys(sourceTable) as SourceState[]) {
      const committedAtSource = ['committed', 'completed', 'unacknowledged'].includes(source);
      expect(sourceOwnsGuest(source)).toBe(!committedAtSource);
    }
    for (const state of Object.keys(destinationTable) as DestinationState[]) {
      expect(destinationOwnsGuest(state)).toBe(['committed', 'completed'].includes(state));
    }
  });

  it('show QMP clients names that QEMU has', () => {
    const known = [
      'none',
      'setup',
      'active',
      'pre-switchover',
      'device',
      'completed',
      'failed',
      'cancelling',
      'cancelled',
    ];
    for (const state of [...Object.keys(sourceTable), ...Object.keys(destinationTable)]) {
      expect(known).toContain(qmpStatus(state as SourceState | DestinationState));
    }
  });
});
