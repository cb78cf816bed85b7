/**
 * Timers for waits of any length. Those of the host count milliseconds in 31 bits, and what does not fit fires at once: an hour
 * in the wrong unit, or "for ever", would be no time at all. A long wait is waited in pieces; Infinity has no last one.
 */
import type { Cancel } from '../base/clock.js';

const PIECE_MS = 2 ** 30;

/** Calls `callback` once after `ms` milliseconds, from 0 to Infinity, unless cancelled. Until then the process lives. */
export function afterMs(ms: number, callback: () => void): Cancel {
  let timer: NodeJS.Timeout;
  const wait = (leftMs: number): void => {
    timer =
      leftMs > PIECE_MS ? setTimeout(() => wait(leftMs - PIECE_MS), PIECE_MS) : setTimeout(callback, leftMs);
  };
  wait(ms);
  return () => clearTimeout(timer);
}
