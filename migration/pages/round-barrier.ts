/**
 * Keeps the channels of a destination in step: nobody goes on to round n + 1 before every channel has delivered
 * round n. Otherwise a page sent on a slow channel in round n could land on the newer copy that a fast channel
 * brought in round n + 1.
 */
import { invariant } from '../../base/errors.js';
import type { TransferCount } from '../ports.js';
import { addCounts, NOTHING_MOVED } from './counts.js';

export class RoundBarrier {
  readonly #channels: number;
  /** Sums of the rounds that all channels have delivered; bounded by `ROUNDS_MAX`, which receivers enforce. */
  readonly #complete = new Map<number, TransferCount>();
  #sum = NOTHING_MOVED;
  #delivered = 0;

  constructor(channels: number) {
    this.#channels = channels;
  }

  /** One more channel has delivered `round`; true when all have, and may go on. */
  deliver(round: number, count: TransferCount): boolean {
    invariant(round === this.#complete.size + 1, `round ${round} after round ${this.#complete.size}`);
    this.#sum = addCounts(this.#sum, count);
    if (++this.#delivered < this.#channels) return false;
    this.#complete.set(round, this.#sum);
    this.#sum = NOTHING_MOVED;
    this.#delivered = 0;
    return true;
  }

  /** What `round` brought, or undefined while a channel still has some of it. */
  received(round: number): TransferCount | undefined {
    return this.#complete.get(round);
  }
}
