/** What a verdict is made of: what was checked, and the console that much of it is read from. */

/** `not-checked`: nothing was established, one way or the other. Only `held` ever gets a tick. */
export type Outcome = 'held' | 'failed' | 'not-checked';

export interface Check {
  /** What was checked, as a property. */
  readonly name: string;
  readonly outcome: Outcome;
  /** What was seen, or why nothing was. */
  readonly seen: string;
}

export const heldIf = (condition: boolean): Outcome => (condition ? 'held' : 'failed');

/** One console line of the guest, on the side that printed it. */
export interface ConsoleLine {
  readonly side: 'source' | 'destination';
  readonly text: string;
  /** When it arrived, on the clock that all processes of the host have. */
  readonly atNs?: number;
}
