/** What comes of a fault scenario. */
import type { SerializedError } from '../../base/errors.js';
import type { SideEnd, Whereabouts } from '../checkers/happened.js';

/** What came of one run of a scenario, as plain data. */
export interface FaultRun {
  readonly scenario: string;
  /** Who had the guest when both sides had come to an end, before any person did anything. */
  readonly guest: Whereabouts;
  readonly source: SideEnd;
  readonly destination: SideEnd;
  /** Files that could not be written whole, as their processes said. */
  readonly unwritten: readonly SerializedError[];
  /** From `migrate` until both sides had come to an end. */
  readonly tookMs: number;
  /** Longest time without an answer of the guest; undefined where nobody answers in the end. */
  readonly gapMs: number | undefined;
  /** What does not hold; nothing if all does. */
  readonly findings: readonly string[];
}
