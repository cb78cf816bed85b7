/**
 * The VM's run states, with QEMU's names (qapi/run-state.json), and the one table of legal moves between them.
 *
 * | state | the guest |
 * |---|---|
 * | `prelaunch` | is loaded and was never started (`--paused`) |
 * | `running` | runs |
 * | `paused` | was stopped by the monitor |
 * | `inmigrate` | is not here yet: this VMM waits for an incoming migration |
 * | `finish-migrate` | is stopped for the last pages and its state, and until it is known whether it was moved |
 * | `postmigrate` | runs in another VMM; here it never runs again, but it may come back |
 * | `guest-panicked` | crashed, or reported a panic |
 * | `shutdown` | switched its machine off |
 * | `internal-error` | can't go on because of the host |
 */
import { InvariantError } from '../../base/errors.js';

export const RUN_STATES = [
  'prelaunch',
  'running',
  'paused',
  'inmigrate',
  'finish-migrate',
  'postmigrate',
  'guest-panicked',
  'shutdown',
  'internal-error',
] as const;

export type RunState = (typeof RUN_STATES)[number];

/** Each state and the states that may follow it. A guest that came here stopped stays `paused`. */
export const RUN_STATE_MOVES: Readonly<Record<RunState, readonly RunState[]>> = {
  // A guest may be at its end before its start has been told of.
  prelaunch: ['running', 'finish-migrate', 'guest-panicked', 'shutdown', 'internal-error'],
  running: ['paused', 'finish-migrate', 'guest-panicked', 'shutdown', 'internal-error'],
  paused: ['running', 'finish-migrate', 'guest-panicked', 'shutdown', 'internal-error'],
  inmigrate: ['running', 'paused', 'guest-panicked', 'shutdown', 'internal-error'],
  'finish-migrate': ['running', 'paused', 'postmigrate', 'guest-panicked', 'shutdown', 'internal-error'],
  postmigrate: ['inmigrate', 'internal-error'],
  'guest-panicked': ['internal-error'],
  shutdown: ['internal-error'],
  'internal-error': [],
};

/** Holds the state; every change goes through the table and is told to the listener after it took effect. */
export class RunStateMachine {
  #state: RunState;
  readonly #changed: (state: RunState, previous: RunState) => void;

  constructor(initial: RunState, changed: (state: RunState, previous: RunState) => void) {
    this.#state = initial;
    this.#changed = changed;
  }

  get state(): RunState {
    return this.#state;
  }

  /** Moves to `next`; a move the table does not have is a defect of ours. */
  move(next: RunState): void {
    const previous = this.#state;
    if (!RUN_STATE_MOVES[previous].includes(next)) {
      throw new InvariantError(`run state: no move from ${previous} to ${next}`);
    }
    this.#state = next;
    this.#changed(next, previous);
  }

  /** True if the table has a move from here to `next`. */
  can(next: RunState): boolean {
    return RUN_STATE_MOVES[this.#state].includes(next);
  }
}
