/**
 * Keeps the channels of a destination in step: nobody goes on to round n + 1 before every channel has delivered
 * round n. Otherwise a page sent on a slow channel in round n could land on the newer copy that a fast channel
 * brought in round n + 1.
 */
import { invariant } from '../../base/errors.js';
import type { TransferCount } from '../ports.js';
import { addCounts, NOTHING_MOVED } from './counts.js';

interface Waiter {
  readonly round: number;
  readonly channels: number;
  readonly tell: (count: TransferCount) => void;
}

export class RoundBarrier {
  readonly #channels: number;
  /** Sums of the rounds that all channels have delivered; bounded by `ROUNDS_MAX`, which receivers enforce. */
  readonly #complete = new Map<number, TransferCount>();
  readonly #waiting: Waiter[] = [];
  #sum = NOTHING_MOVED;
  #delivered = 0;

  constructor(channels: number) {
    this.#channels = channels;
  }

  /** One more channel has delivered `round`; true when all have, and may go on. */
  deliver(round: number, count: TransferCount): boolean {
    invariant(round === this.#complete.size + 1, `round ${round} after round ${this.#complete.size}`);
    this.#sum = addCounts(this.#sum, count);
    const whole = ++this.#delivered === this.#channels;
    if (whole) {
      this.#complete.set(round, this.#sum);
      this.#sum = NOTHING_MOVED;
      this.#delivered = 0;
    }
    for (const waiter of this.#waiting.splice(0)) this.#tell(waiter);
    return whole;
  }

  /**
   * What `round` brought, or undefined while a channel still has some of it. `channels`: on how many it was sent, if
   * not on all; only the last round may be sent so.
   */
  received(round: number, channels: number = this.#channels): TransferCount | undefined {
    const whole = this.#complete.get(round);
    if (whole !== undefined || round !== this.#complete.size + 1 || this.#delivered < channels) return whole;
    return this.#sum;
  }

  /** Calls `tell` with what `received` gives as soon as it gives something. */
  whenReceived(round: number, tell: (count: TransferCount) => void, channels: number = this.#channels): void {
    this.#tell({ round, channels, tell });
  }

  #tell(waiter: Waiter): void {
    const count = this.received(waiter.round, waiter.channels);
    if (count === undefined) this.#waiting.push(waiter);
    else waiter.tell(count);
  }
}
