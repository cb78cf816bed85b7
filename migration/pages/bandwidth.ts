/**
 * The bandwidth limit: a token bucket over all channels, in one shared word. The word holds the time at which all
 * that was sent will be paid for; sending moves it on by bytes / rate, and whoever finds it ahead of the clock waits.
 * Bytes are charged after the fact, a frame at a time, so that a limit takes hold (or is lifted) within one batch.
 *
 * Times are microseconds of a clock that all threads share, as signed 32-bit words that wrap; a difference larger
 * than any debt can be comes from a clock that went round while nothing was sent.
 */
import { invariant } from '../../base/errors.js';
import { type Instant, KIB } from '../../base/units.js';
import { CHANNELS_MAX, FRAME_PAYLOAD_BYTES_MAX } from './layouts.js';
import type { WorkBoard } from './work-board.js';

/** Slowest limit; a slower one is raised to this. */
const RATE_KIB_MIN = 64;
/** Fastest; above it the limit is as good as none. */
const RATE_KIB_MAX = 0x7fff_ffff;
/** Unused bandwidth can be saved up for this long. */
const BURST_US = 10_000;

/** The clock's reading as the board keeps it. */
export function microsecondsOf(now: Instant): number {
  return Math.floor(now / 1e3) | 0;
}

/** The board's unit for a limit given in bytes per second; 0 for no limit. */
export function rateInKib(bytesPerSecond: number | undefined): number {
  if (bytesPerSecond === undefined) return 0;
  return Math.min(RATE_KIB_MAX, Math.max(RATE_KIB_MIN, Math.round(bytesPerSecond / KIB)));
}

/** More than all channels can owe: one frame each at the slowest rate, and as much again. */
const DEBT_US_MAX = ((2 * CHANNELS_MAX * FRAME_PAYLOAD_BYTES_MAX) / (RATE_KIB_MIN * KIB)) * 1e6;
invariant(DEBT_US_MAX < 2 ** 31, 'a debt that 32 bits of microseconds do not hold');

/** Bytes per second that senders under this limit come to; Infinity without one. */
export function rateInForce(bytesPerSecond: number | undefined): number {
  return rateInKib(bytesPerSecond) * KIB || Infinity;
}

/** What the senders owe, in microseconds; negative: what they have saved up. */
function debtUs(nextFreeUs: number, nowUs: number): number {
  const debt = (nextFreeUs - nowUs) | 0;
  return debt > DEBT_US_MAX || debt < -BURST_US ? -BURST_US : debt;
}

/** Microseconds that the sender must wait before it sends more; 0 or less if it may go on. */
export function waitUs(board: WorkBoard, nowUs: number): number {
  return board.rate === 0 ? 0 : debtUs(board.nextFreeUs, nowUs);
}

/** Charges `bytes` that were sent. */
export function chargeBytes(board: WorkBoard, bytes: number, nowUs: number): void {
  for (;;) {
    const rate = board.rate;
    if (rate === 0) return;
    const before = board.nextFreeUs;
    const costUs = Math.ceil((bytes / (rate * KIB)) * 1e6);
    if (board.replaceNextFree(before, (nowUs + debtUs(before, nowUs) + costUs) | 0)) return;
  }
}
