/** The highest rate at which what is offered arrives, whoever it is that receives. */

/** What came of offering packets at one rate for a while. */
export interface Offered {
  /** That arrived, while it was looked. */
  readonly perSecond: number;
  readonly offered: number;
  readonly lost: number;
}

/** What the peer's flows can be asked for. */
export const OFFERED_MAX = 1_000_000;
/** A rate holds if no more than this share gets lost. */
const LOSS_SHARE_MAX = 0.001;
/** Steps of the search, once a rate is found that does not hold. */
const BISECTIONS = 4;
/** Measured a little below it, so that a moment's disturbance is no loss. */
export const RATE_SHARE = 0.92;

/** At least `first`, if that holds or not; `offer` sends at a rate, each time anew. */
export async function highestRate(first: number, offer: (rate: number) => Promise<Offered>): Promise<number> {
  const holdsOnce = async (rate: number): Promise<boolean> => {
    const { perSecond, offered, lost } = await offer(rate);
    return lost <= offered * LOSS_SHARE_MAX && perSecond > rate * RATE_SHARE;
  };
  // A moment in which somebody else had the CPU says nothing about a rate.
  const holds = async (rate: number): Promise<boolean> => (await holdsOnce(rate)) || holdsOnce(rate);
  let low = first;
  while (low * 2 < OFFERED_MAX && (await holds(low * 2))) low *= 2;
  let high = low * 2;
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = Math.round((low + high) / 2);
    if (await holds(middle)) low = middle;
    else high = middle;
  }
  return low;
}
