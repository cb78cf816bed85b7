/**
 * The states of a migratable device, as Linux's VFIO migration version 2 has them: what they are, which steps a device
 * implements, and the way from one to another.
 *
 * Only the steps are declared. The way follows from one rule: between two states of one data session it stays inside
 * that session, otherwise no state of a session lies on it. So a session never begins or ends unasked, and going back
 * from STOP_COPY to PRE_COPY is impossible, because that would be two sessions.
 */

export const ERROR = 0;
export const STOP = 1;
export const RUNNING = 2;
export const STOP_COPY = 3;
export const RESUMING = 4;
export const RUNNING_P2P = 5;
export const PRE_COPY = 6;
export const PRE_COPY_P2P = 7;

/** Numbers of the kernel's `vfio_device_mig_state`. */
export type DeviceState =
  | typeof ERROR
  | typeof STOP
  | typeof RUNNING
  | typeof STOP_COPY
  | typeof RESUMING
  | typeof RUNNING_P2P
  | typeof PRE_COPY
  | typeof PRE_COPY_P2P;

export const STATE_NAMES = [
  'ERROR',
  'STOP',
  'RUNNING',
  'STOP_COPY',
  'RESUMING',
  'RUNNING_P2P',
  'PRE_COPY',
  'PRE_COPY_P2P',
] as const;

/** The name of a state, for messages; a number that is none is said as it is. */
export const stateName = (state: number): string => STATE_NAMES[state] ?? `state ${state}`;

/** Flags of VFIO_DEVICE_FEATURE_MIGRATION. STOP_COPY is what every migratable device has. */
export const MIGRATION_STOP_COPY = 1;
export const MIGRATION_P2P = 2;
export const MIGRATION_PRE_COPY = 4;
export const MIGRATION_ALL = MIGRATION_STOP_COPY | MIGRATION_P2P | MIGRATION_PRE_COPY;

/** How much a device does in a state: everything; no DMA of its own; nothing but answer. */
export type Activity = 'running' | 'quiesced' | 'stopped';

interface StateTraits {
  readonly activity: Activity;
  /** The data session that the state belongs to. */
  readonly session: 'saving' | 'resuming' | undefined;
  /** Flags without which the state does not exist. */
  readonly needs: number;
}

const traits = (activity: Activity, session: StateTraits['session'], needs: number): StateTraits => ({
  activity,
  session,
  needs,
});

export const STATES: readonly StateTraits[] = [
  traits('stopped', undefined, MIGRATION_STOP_COPY),
  traits('stopped', undefined, MIGRATION_STOP_COPY),
  traits('running', undefined, MIGRATION_STOP_COPY),
  traits('stopped', 'saving', MIGRATION_STOP_COPY),
  traits('stopped', 'resuming', MIGRATION_STOP_COPY),
  traits('quiesced', undefined, MIGRATION_STOP_COPY | MIGRATION_P2P),
  traits('running', 'saving', MIGRATION_STOP_COPY | MIGRATION_PRE_COPY),
  traits('quiesced', 'saving', MIGRATION_ALL),
];

/** One step of a device. With P2P nothing goes from running to stopped, or back, without it. */
interface Arc {
  readonly from: DeviceState;
  readonly to: DeviceState;
  readonly unless: number;
}

const arc = (from: DeviceState, to: DeviceState, unless = 0): Arc => ({ from, to, unless });

export const ARCS: readonly Arc[] = [
  arc(STOP, RESUMING),
  arc(RESUMING, STOP),
  arc(STOP, STOP_COPY),
  arc(STOP_COPY, STOP),
  arc(RUNNING, STOP, MIGRATION_P2P),
  arc(STOP, RUNNING, MIGRATION_P2P),
  arc(RUNNING, RUNNING_P2P),
  arc(RUNNING_P2P, RUNNING),
  arc(RUNNING_P2P, STOP),
  arc(STOP, RUNNING_P2P),
  arc(RUNNING, PRE_COPY),
  arc(PRE_COPY, RUNNING),
  arc(PRE_COPY, STOP_COPY, MIGRATION_P2P),
  arc(PRE_COPY, PRE_COPY_P2P),
  arc(PRE_COPY_P2P, PRE_COPY),
  arc(PRE_COPY_P2P, RUNNING_P2P),
  arc(RUNNING_P2P, PRE_COPY_P2P),
  arc(PRE_COPY_P2P, STOP_COPY),
];

export function isSupported(state: number, flags: number): state is DeviceState {
  const needs = STATES[state]?.needs;
  return needs !== undefined && (flags & needs) === needs;
}

/** Steps that a device with these flags implements. */
export function arcsOf(flags: number): readonly Arc[] {
  return ARCS.filter(
    ({ from, to, unless }) => isSupported(from, flags) && isSupported(to, flags) && (flags & unless) === 0,
  );
}

/**
 * The next state on the shortest way; `to` itself when already there. Undefined if there is no way: out of or into
 * ERROR, to a state that these flags don't have, or across sessions.
 */
export function nextState(from: DeviceState, to: DeviceState, flags: number): DeviceState | undefined {
  if (from === ERROR || to === ERROR || !isSupported(from, flags) || !isSupported(to, flags))
    return undefined;
  if (from === to) return to;
  const within = STATES[from]!.session === STATES[to]!.session ? STATES[to]!.session : undefined;
  const arcs = arcsOf(flags);
  // Breadth first, backwards from the goal: the first time `from` is met, what it was met from is the next state.
  const seen = new Set<DeviceState>([to]);
  for (const here of seen) {
    for (const { from: before, to: after } of arcs) {
      if (after !== here || seen.has(before)) continue;
      if (before === from) return here;
      if (STATES[before]!.session === within) seen.add(before);
    }
  }
  return undefined;
}
