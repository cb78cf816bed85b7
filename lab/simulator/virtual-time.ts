/**
 * Virtual time: one thread, a queue of events, and a clock that moves only when nothing else can run. What is due at
 * the same moment runs in an order drawn from the seed, so that every seed is another interleaving and the same seed
 * is the same one.
 */
import type { AbortSignalLike, Cancel, Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import { type Duration, type Instant, instant, nanoseconds, seconds } from '../../base/units.js';
import type { Trace } from './trace.js';

interface Event {
  readonly at: number;
  /** Drawn by seed; decides between events of the same moment. */
  readonly tie: number;
  readonly number: number;
  readonly run: () => void;
  cancelled: boolean;
}

/** A simulation that takes longer than this hangs: nothing in it waits for more than minutes. */
const VIRTUAL_TIME_MAX = seconds(24 * 3600);

export class VirtualTime implements Scheduler {
  readonly #random: SeededRandom;
  readonly #trace: Trace;
  readonly #heap: Event[] = [];
  #now = 0;
  #numbers = 0;

  constructor(random: SeededRandom, trace: Trace) {
    this.#random = random;
    this.#trace = trace;
  }

  now(): Instant {
    return instant(this.#now);
  }

  after(duration: Duration, callback: () => void): Cancel {
    invariant(duration >= 0, `a wait of ${duration} ns`);
    if (duration === Infinity) return () => {};
    const event: Event = {
      // Never before the time has passed: who looks at the clock and waits for the rest would wait for ever.
      at: this.#now + Math.ceil(duration),
      tie: this.#random.u32(),
      number: this.#numbers++,
      run: callback,
      cancelled: false,
    };
    this.#push(event);
    return () => {
      event.cancelled = true;
    };
  }

  sleep(duration: Duration, signal?: AbortSignalLike): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal === undefined) {
        this.after(duration, resolve);
        return;
      }
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        cancel();
        reject(signal.reason);
      };
      const cancel = this.after(duration, () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      });
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  yield(): Promise<void> {
    return this.sleep(nanoseconds(0));
  }

  /**
   * Runs events until `work` has settled, and returns what it settled with. Throws an InvariantError if nothing is left
   * to run before that, or if virtual time runs away: somebody waits for what nobody will do.
   */
  run<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    work.then(done, done);
    return new Promise<T>((resolve, reject) => {
      // Every promise that can settle by itself has: the event loop turns only after its microtasks ran dry.
      const turn = (): void => {
        if (settled) {
          resolve(work);
          return;
        }
        try {
          this.#next();
        } catch (error) {
          reject(error);
          return;
        }
        setImmediate(turn);
      };
      setImmediate(turn);
    });
  }

  /** Runs what is due next, of what was not cancelled meanwhile. */
  #next(): void {
    let event = this.#pop();
    while (event?.cancelled === true) event = this.#pop();
    invariant(event !== undefined, `simulation stands still at ${this.#now} ns: nothing is left to run`);
    invariant(event.at <= VIRTUAL_TIME_MAX, 'simulation runs on without end');
    this.#now = event.at;
    this.#trace.tick(this.now(), event.number);
    event.run();
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!earlier(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && earlier(heap[child + 1]!, heap[child]!)) child++;
      if (!earlier(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function earlier(a: Event, b: Event): boolean {
  if (a.at !== b.at) return a.at < b.at;
  return a.tie !== b.tie ? a.tie < b.tie : a.number < b.number;
}
