/** Every pair of states, for every combination of features, against Linux's table of next states. */
import { describe, expect, it } from 'vitest';
import { FerryError } from '../../base/errors.js';
import { VfioMigration } from '../../devices/vfio/migration.js';
import {
  ARCS,
  arcsOf,
  type DeviceState,
  isSupported,
  nextState,
  STATE_NAMES,
  STATES,
} from '../../devices/vfio/states.js';
import { ArtificialDevice, feed, wholeState } from './vfio-world.js';

/** From row to column, as Linux has it for a device with all features; 0 is ERROR: no way. */
const COLUMNS = [1, 2, 6, 7, 3, 4, 5];
const TABLE: Readonly<Record<number, readonly number[]>> = {
  1: [1, 5, 5, 5, 3, 4, 5],
  2: [5, 2, 6, 5, 5, 5, 5],
  6: [2, 2, 6, 7, 7, 2, 2],
  7: [5, 5, 6, 7, 3, 5, 5],
  3: [1, 1, 0, 0, 3, 1, 1],
  4: [1, 1, 1, 1, 1, 4, 1],
  5: [1, 2, 2, 7, 1, 1, 5],
  0: [0, 0, 0, 0, 0, 0, 0],
};
const NEEDS = [1, 1, 1, 1, 1, 3, 5, 7];

/** What Linux does: looks the next state up, and on from there while the device has no such state. */
function oracle(from: number, to: number, flags: number): number {
  const has = (state: number): boolean => (flags & NEEDS[state]!) === NEEDS[state]!;
  if (to === 0 || !has(to) || !has(from)) return 0;
  const look = (state: number): number => TABLE[state]![COLUMNS.indexOf(to)]!;
  let next = look(from);
  while (!has(next)) next = look(next);
  return next;
}

const COMBINATIONS = [
  ['STOP_COPY', 1],
  ['STOP_COPY and P2P', 3],
  ['STOP_COPY and PRE_COPY', 5],
  ['all features', 7],
] as const;
const ALL = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const pairs = ALL.flatMap((from) => ALL.map((to) => [from, to] as const));

describe.each(COMBINATIONS)('a device with %s', (_name, flags) => {
  it('takes the next state from everywhere to everywhere that Linux takes', () => {
    for (const [from, to] of pairs) {
      const label = `${STATE_NAMES[from]} -> ${STATE_NAMES[to]}`;
      expect(nextState(from, to, flags) ?? 0, label).toBe(oracle(from, to, flags));
    }
  });

  it('is, after a request, where it was asked to be, or refuses it and is where it was', () => {
    for (const [from, to] of pairs) {
      if (from === 0 || !isSupported(from, flags)) continue;
      const migration = inState(from, flags);
      const before = migration.session;
      if (oracle(from, to, flags) === 0) {
        const request = () => migration.setState(to);
        expect(request).toThrowError(expect.objectContaining({ code: 'devices/vfioRefused' }));
        expect(request).toThrowError(
          expect.objectContaining({ facts: expect.objectContaining({ errno: 'EINVAL' }) }),
        );
        expect(migration.state).toBe(from);
        expect(migration.session).toBe(before);
        continue;
      }
      const device = migration.device as ArtificialDevice;
      device.log.length = 0;
      const opened = migration.setState(to);
      expect(migration.state).toBe(to);
      expect(device.activity).toBe(STATES[to]!.activity);
      expect(device.log.filter((entry) => entry !== 'restored')).toEqual(activitiesOnTheWay(from, to, flags));
      // One session for the states of one transfer, a new one for every other state with data, none without.
      const kind = STATES[to]!.session;
      const goesOn = kind !== undefined && kind === STATES[from]!.session;
      expect(migration.session !== undefined).toBe(kind !== undefined);
      expect(opened).toBe(goesOn ? undefined : migration.session);
      if (goesOn) expect(migration.session).toBe(before);
      else if (before !== undefined) expect(() => before.read(new Uint8Array(1))).toThrow(/ENODEV/);
    }
  });

  it('declares only steps between states that it has, each of which is a next state', () => {
    for (const { from, to } of arcsOf(flags)) {
      expect(isSupported(from, flags) && isSupported(to, flags)).toBe(true);
      expect(oracle(from, to, flags)).toBe(to);
    }
  });
});

describe('the table of steps', () => {
  it('has no step that no device takes, and the comparison notices a missing one', () => {
    for (const arc of ARCS) expect(COMBINATIONS.some(([, flags]) => arcsOf(flags).includes(arc))).toBe(true);
    const wrong = pairs.filter(([from, to]) => oracle(from, to, 7) !== (nextState(from, to, 3) ?? 0));
    expect(wrong.length).toBeGreaterThan(10);
  });

  it('never opens or ends a session on the way', () => {
    for (const [, flags] of COMBINATIONS) {
      for (const [from, to] of pairs) {
        const shared = STATES[from]!.session === STATES[to]!.session ? STATES[to]!.session : undefined;
        for (const state of way(from, to, flags).slice(0, -1)) expect(STATES[state]!.session).toBe(shared);
      }
    }
  });
});

describe('a step that fails', () => {
  const failures = [
    ['setActivity', 2, 1],
    ['save', 1, 3],
    ['save', 2, 6],
    ['restore', 4, 1],
  ] as const;

  it.each(failures)('in %s leaves ERROR, out of which only a reset leads', (call, from, to) => {
    const migration = inState(from, 7);
    const device = migration.device as ArtificialDevice;
    device.failing = call;
    expect(() => migration.setState(to)).toThrowError(
      expect.objectContaining({ code: 'devices/recordRefused' }),
    );
    expect(STATE_NAMES[migration.state]).toBe('ERROR');
    expect(migration.session).toBeUndefined();
    for (const state of ALL) expect(() => migration.setState(state)).toThrowError(FerryError);
    migration.reset();
    expect(STATE_NAMES[migration.state]).toBe('RUNNING');
    expect(device.activity).toBe('running');
    migration.setState(to);
    expect(migration.state).toBe(to);
  });

  it('may leave the device short of where it was to go, never beyond', () => {
    const migration = inState(2, 7);
    const device = migration.device as ArtificialDevice;
    device.failing = 'save';
    expect(() => migration.setState(3)).toThrow(/save fails/);
    expect(device.activity).toBe('stopped');
    expect(migration.state).toBe(0);
  });
});

describe('a reset', () => {
  it('leads from every state to RUNNING and ends the session', () => {
    for (const state of [1, 2, 3, 4, 5, 6, 7] as const) {
      const migration = inState(state, 7);
      const { session } = migration;
      migration.reset();
      expect(migration.state).toBe(2);
      expect((migration.device as ArtificialDevice).log.slice(-1)).not.toEqual(['stopped']);
      expect((migration.device as ArtificialDevice).log).toContain('reset');
      if (session !== undefined) expect(() => session.read(new Uint8Array(1))).toThrow(/ENODEV/);
    }
  });
});

/** A device in `state`; one in RESUMING has everything it needs to leave it. */
function inState(state: DeviceState, flags: number): VfioMigration {
  const migration = new VfioMigration(new ArtificialDevice(), flags);
  const session = migration.setState(state);
  if (state === 4) feed(session!, wholeState(new VfioMigration(new ArtificialDevice())));
  return migration;
}

function way(from: DeviceState, to: DeviceState, flags: number): DeviceState[] {
  const states: DeviceState[] = [];
  for (let at = from; at !== to; ) {
    const next = oracle(at, to, flags) as DeviceState;
    if (next === 0) return [];
    states.push(next);
    at = next;
  }
  return states;
}

function activitiesOnTheWay(from: DeviceState, to: DeviceState, flags: number): string[] {
  let now: string = STATES[from]!.activity;
  return way(from, to, flags).flatMap((state) => {
    const next = STATES[state]!.activity;
    if (next === now) return [];
    now = next;
    return [next];
  });
}
