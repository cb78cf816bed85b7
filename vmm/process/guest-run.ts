/**
 * Whether the guest runs: the run state, the changes to it one after the other, and the events that tell of them.
 */
import { vmmErrors } from '../errors.js';
import type { QmpEvents } from '../monitor/protocol.js';
import { RUN_STATES, type RunState, RunStateMachine } from '../monitor/run-state.js';

export interface GuestRunOptions {
  readonly emit: <K extends keyof QmpEvents>(name: K, data: QmpEvents[K]) => void;
  /** The run state changed; `why` if the guest stands still for good. */
  readonly onState: (state: RunState, why: Error | undefined) => void;
}

/** States in which the guest stands still for good. */
export type EndState = 'guest-panicked' | 'shutdown' | 'internal-error';
const END_STATES: readonly RunState[] = ['guest-panicked', 'shutdown', 'internal-error'];

const EMPTY: Record<string, never> = {};

export class GuestRun {
  readonly #emit: GuestRunOptions['emit'];
  readonly #run: RunStateMachine;
  #why: Error | undefined;
  #changes: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(initial: RunState, options: GuestRunOptions) {
    this.#emit = options.emit;
    this.#run = new RunStateMachine(initial, (state) => options.onState(state, this.#why));
  }

  get state(): RunState {
    return this.#run.state;
  }

  /** The guest stands still for good. */
  get hasEnded(): boolean {
    return END_STATES.includes(this.state);
  }

  move(next: RunState): void {
    this.#run.move(next);
  }

  /**
   * Runs `change` after all changes before it, if the state is then one of `from`; throws `vmm/machine-state`
   * otherwise: a command was let through by the state at its time, and the guest may have ended, or a migration may
   * have stopped it, while the command waited for its turn.
   */
  change(
    operation: string,
    from: readonly RunState[],
    change: (state: RunState) => Promise<void>,
  ): Promise<void> {
    const mine = this.#changes.then(async () => {
      const state = this.state;
      if (!from.includes(state)) throw this.wrongState(operation);
      await change(state);
    });
    this.#changes = mine.catch(() => undefined);
    return mine;
  }

  /** The same in whatever state. */
  inTurn(change: (state: RunState) => Promise<void>): Promise<void> {
    return this.change('', RUN_STATES, change);
  }

  wrongState(operation: string): Error {
    return vmmErrors.error('machine-state', { operation, state: this.state });
  }

  /** The guest was stopped in state `from`, unless it ended by itself meanwhile. */
  stopped(from: RunState, to: 'paused' | 'finish-migrate'): void {
    if (this.state !== from) return;
    this.move(to);
    if (from === 'running') this.#emit('STOP', EMPTY);
  }

  /** The guest was made to run in state `from`, unless it has ended already. */
  resumed(from: RunState): void {
    if (this.state !== from) return;
    this.move('running');
    this.#emit('RESUME', EMPTY);
  }

  /**
   * The guest stands still for good, which `tell` announces; nothing happens if it did before, or if that is nobody's
   * business any more.
   */
  ended(state: EndState, why: Error | undefined, tell: () => void = () => {}): void {
    if (this.#closed || !this.#run.can(state)) return;
    const ran = this.state === 'running';
    this.#why = why;
    this.move(state);
    tell();
    if (ran) this.#emit('STOP', EMPTY);
  }

  /** The process is about to end: what becomes of the guest now is no news. */
  close(): void {
    this.#closed = true;
  }
}
