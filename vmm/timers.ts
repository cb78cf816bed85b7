/**
 * Timers for waits of any length. Those of the host count milliseconds in 31 bits, and what does not fit fires at once: an hour
 * in the wrong unit, or "for ever", would be no time at all. A long wait is waited in pieces; Infinity has no last one.
 */
import type { Cancel } from '../base/clock.js';

const PIECE_MS = 2 ** 30;

/** Calls `callback` once after `ms` milliseconds, from 0 to Infinity, unless cancelled. Until then the process lives. */
export const afterMs = (ms: number, callback: () => void): Cancel => timer(ms, callback, true);

/** The same, but it keeps no process from ending. */
export const laterMs = (ms: number, callback: () => void): Cancel => timer(ms, callback, false);

function timer(ms: number, callback: () => void, keepsAlive: boolean): Cancel {
  let piece: NodeJS.Timeout;
  const wait = (leftMs: number): void => {
    piece =
      leftMs > PIECE_MS ? setTimeout(() => wait(leftMs - PIECE_MS), PIECE_MS) : setTimeout(callback, leftMs);
    if (!keepsAlive) piece.unref();
  };
  wait(ms);
  return () => clearTimeout(piece);
}
