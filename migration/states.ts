/**
 * The legal states of a migration, with QEMU's names, as two declared tables. The flows in `source.ts` and
 * `destination.ts` announce what happened; what that means is decided here alone.
 *
 * QEMU has no name for the moment between *commit* and the destination's answer, in which neither side may decide
 * anything, nor for a commit that was never answered; `qmpStatus` gives what a QMP client is told instead.
 */
import { invariant } from '../base/errors.js';

export type SourceState =
  | 'none'
  | 'setup'
  | 'active'
  | 'pre-switchover'
  | 'device'
  | 'committed'
  | 'completed'
  | 'cancelling'
  | 'cancelled'
  | 'failed'
  | 'unacknowledged';

/**
 * `ready`: the peers agree, channels stand, tracking is on. `converged`: the rest fits the downtime limit, or rounds
 * are used up. `paused`: the guest stands still. `commit`: the guest is given away, before the message is sent.
 * `running`: the destination said so. `cancel`, `fail`: asked for, or gone wrong. `undone`: all is as before.
 * `refused`: the destination had given up before it heard the commit, and said that it never will run the guest.
 * `lost`: nothing will be heard of the destination any more.
 */
export type SourceEvent =
  | 'start'
  | 'ready'
  | 'converged'
  | 'paused'
  | 'commit'
  | 'running'
  | 'cancel'
  | 'undone'
  | 'fail'
  | 'refused'
  | 'lost';

export type DestinationState =
  | 'none'
  | 'setup'
  | 'active'
  | 'device'
  | 'prepared'
  | 'committed'
  | 'completed'
  | 'failed';

/** `state`: the last message before loading has come. `loaded`: the promise is given. `commit`: received. */
export type DestinationEvent = 'start' | 'ready' | 'state' | 'loaded' | 'commit' | 'running' | 'fail';

type Table<S extends string, E extends string> = { readonly [State in S]: { readonly [Event in E]?: S } };

export const sourceTable: Table<SourceState, SourceEvent> = {
  none: { start: 'setup' },
  setup: { ready: 'active', cancel: 'cancelling', fail: 'failed' },
  active: { converged: 'pre-switchover', cancel: 'cancelling', fail: 'failed' },
  'pre-switchover': { paused: 'device', cancel: 'cancelling', fail: 'failed' },
  device: { commit: 'committed', cancel: 'cancelling', fail: 'failed' },
  // Given back before it was taken, it is as if the commit had never been sent.
  committed: { running: 'completed', refused: 'device', lost: 'unacknowledged' },
  completed: {},
  cancelling: { undone: 'cancelled', fail: 'failed' },
  cancelled: {},
  failed: {},
  unacknowledged: {},
};

export const destinationTable: Table<DestinationState, DestinationEvent> = {
  none: { start: 'setup' },
  setup: { ready: 'active', fail: 'failed' },
  active: { state: 'device', fail: 'failed' },
  device: { loaded: 'prepared', fail: 'failed' },
  prepared: { commit: 'committed', fail: 'failed' },
  // The guest is ours: whether `run` is answered or the link breaks, there is nobody to give it back to.
  committed: { running: 'completed', fail: 'failed' },
  completed: {},
  failed: {},
};

/** True where the guest belongs to the source: it runs there, or can be made to at any moment. */
export const sourceOwnsGuest = (state: SourceState): boolean =>
  state !== 'committed' && state !== 'completed' && state !== 'unacknowledged';

/** True where the guest belongs to the destination. */
export const destinationOwnsGuest = (state: DestinationState): boolean =>
  state === 'committed' || state === 'completed';

/** What QMP's `query-migrate` calls this state. */
export function qmpStatus(state: SourceState | DestinationState): string {
  if (state === 'committed' || state === 'prepared') return 'device';
  return state === 'unacknowledged' ? 'failed' : state;
}

/** Holds one side's state; an event that the table doesn't have for it is a defect of ours. */
export class Lifecycle<S extends string, E extends string> {
  readonly #table: Table<S, E>;
  readonly #changed: (from: S, to: S, event: E) => void;
  #state: S;

  constructor(table: Table<S, E>, initial: S, changed: (from: S, to: S, event: E) => void) {
    this.#table = table;
    this.#state = initial;
    this.#changed = changed;
  }

  get state(): S {
    return this.#state;
  }

  to(event: E): void {
    const from = this.#state;
    const next = this.#table[from][event];
    invariant(next !== undefined, `migration event ${event} in state ${from}`);
    this.#state = next;
    this.#changed(from, next, event);
  }
}
