/** What a verdict is made of: what was checked, and the console that much of it is read from. */

export interface Check {
  /** What was checked, as a property that holds when the check passes. */
  readonly name: string;
  readonly passed: boolean;
  /** What was seen. */
  readonly seen: string;
}

/** One console line of the guest, on the side that printed it. */
export interface ConsoleLine {
  readonly side: 'source' | 'destination';
  readonly text: string;
}
