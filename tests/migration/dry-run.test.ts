/** What both flows go through before a migration counts is a whole one, and touches nothing but the code. */
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../lab/simulator/run.js';
import { dryRun, migrateNothing } from '../../migration/dry-run.js';
import { realTime } from '../../vmm/threads/real-time.js';

describe('a migration of nothing', () => {
  it('comes to its end on both sides', async () => {
    await migrateNothing(realTime, sha256);
  });

  it('is made many times, once for all of a thread, and lets others have their turn', async () => {
    let turns = 0;
    const counting = {
      ...realTime,
      yield: () => {
        turns++;
        return realTime.yield();
      },
    };
    const first = dryRun(counting, sha256);
    expect(dryRun(counting, sha256)).toBe(first);
    await first;
    const made = turns;
    expect(made).toBeGreaterThanOrEqual(10);
    await dryRun(counting, sha256);
    expect(turns).toBe(made);
  });
});
