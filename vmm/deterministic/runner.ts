/**
 * Runs the vCPUs of a deterministic machine, one at a time, in slices of so many safepoints: on one virtual processor,
 * whose time is the scheduler's and advances by a fixed amount at each safepoint. Which vCPU runs next, and for how
 * long, is drawn from the seed.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import type { SeededRandom } from '../../base/random.js';
import { nanoseconds } from '../../base/units.js';

/** Virtual time from one safepoint to the next. */
const SAFEPOINT_NS = 100;
/** Safepoints in a slice. */
const SLICE_MIN = 200;
const SLICE_MAX = 2000;

/** What takes its turn: a vCPU. */
export interface Runnable {
  /** Begins, if it was told to since the last turn. */
  takeStart(): void;
  /** When it can run next, at `now` if at once, Infinity if nothing but an event makes it. */
  readyAt(now: number): number;
  /** Runs for so many safepoints. */
  runSlice(safepoints: number): void;
}

export class Runner {
  readonly #scheduler: Scheduler;
  readonly #random: SeededRandom;
  readonly #vcpus: Runnable[] = [];
  /** What the guest caused in a slice and others shall see only when it is over. */
  readonly #later: (() => void)[] = [];
  #next: Cancel | undefined;
  #ended = false;
  /** Safepoints of this slice so far, its start, and how far time has come in it. */
  #used = 0;
  #startedAt = 0;
  #reached = 0;

  constructor(scheduler: Scheduler, random: SeededRandom) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  add(vcpu: Runnable): void {
    this.#vcpus.push(vcpu);
  }

  /** Time as the guest sees it: within a slice it runs ahead of the scheduler, never behind. */
  now(): number {
    return Math.max(this.#scheduler.now(), this.#reached);
  }

  /** Counts one safepoint of the vCPU that runs. Returns how many it has had in this slice. */
  safepoint(): number {
    this.#used++;
    this.#reached = this.#startedAt + this.#used * SAFEPOINT_NS;
    return this.#used;
  }

  /** Has `report` called when the slice is over. */
  defer(report: () => void): void {
    this.#later.push(report);
    this.wake();
  }

  /** Something may have become runnable. */
  wake(): void {
    this.#schedule(0);
  }

  end(): void {
    this.#ended = true;
    this.#next?.();
  }

  #schedule(delayNs: number): void {
    if (this.#ended) return;
    this.#next?.();
    this.#next = this.#scheduler.after(nanoseconds(delayNs), () => this.#turn());
  }

  #turn(): void {
    this.#next = undefined;
    for (const vcpu of this.#vcpus) vcpu.takeStart();
    const now = this.now();
    const ready = this.#vcpus.filter((vcpu) => vcpu.readyAt(now) <= now);
    if (ready.length > 0) {
      this.#startedAt = now;
      this.#used = 0;
      const vcpu = this.#random.pick(ready);
      vcpu.runSlice(this.#random.between(SLICE_MIN, SLICE_MAX));
    }
    for (const report of this.#later.splice(0)) report();
    const at = Math.min(...this.#vcpus.map((vcpu) => vcpu.readyAt(this.now())));
    if (at < Infinity) this.#schedule(Math.max(0, Math.max(at, this.now()) - this.#scheduler.now()));
  }
}
