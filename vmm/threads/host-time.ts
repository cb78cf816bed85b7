/** The host's monotonic clock as plain numbers on a base that all threads of a machine share. */
import { performance } from 'node:perf_hooks';

const NS_PER_MS = 1e6;
const SAMPLES = 16;

/** Where the base lies: a reading of `process.hrtime.bigint()`, which is the same clock in every thread. */
export type HostEpoch = bigint;

export const hostEpoch = (): HostEpoch => process.hrtime.bigint();

/**
 * Returns a function that reads nanoseconds since `epoch`. `performance.now` is the cheapest reading of the monotonic
 * clock; how its zero lies to the epoch is found by reading both clocks in turn.
 */
export function hostTime(epoch: HostEpoch): () => number {
  let least = -Infinity;
  let most = Infinity;
  for (let i = 0; i < SAMPLES; i++) {
    const before = Number(process.hrtime.bigint() - epoch);
    const now = performance.now() * NS_PER_MS;
    const after = Number(process.hrtime.bigint() - epoch);
    least = Math.max(least, before - now);
    most = Math.min(most, after - now);
  }
  const offset = (least + most) / 2;
  return () => performance.now() * NS_PER_MS + offset;
}
