import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { milliseconds, nanoseconds } from '../../base/units.js';
import { hostTime } from '../../vmm/threads/host-time.js';
import { realTime } from '../../vmm/threads/real-time.js';
import { afterMs } from '../../vmm/timers.js';

const HOST_MS_MAX = 2 ** 31 - 1;

describe('a wait that is longer than a timer of the host', () => {
  it('is not over at once', async () => {
    const over: number[] = [];
    const cancels = [HOST_MS_MAX + 1, 2 ** 32, 16_777_216_000, Infinity].map((ms) =>
      realTime.after(milliseconds(ms), () => over.push(ms)),
    );
    const slept = new AbortController();
    const sleeping = realTime.sleep(nanoseconds(Infinity), slept.signal).then(() => over.push(0));
    // Those that do not fit would have come before this.
    await realTime.sleep(milliseconds(20));
    expect(over).toEqual([]);
    for (const cancel of cancels) cancel();
    slept.abort('enough');
    await expect(sleeping).rejects.toBe('enough');
  });
});

describe('the time of a process', () => {
  const HRTIME = () => Number(process.hrtime.bigint());

  it('is that of all processes of the host', () => {
    const before = HRTIME();
    const now = realTime.now();
    const after = HRTIME();
    expect(now).toBeGreaterThan(before - 1e6);
    expect(now).toBeLessThan(after + 1e6);
  });

  it('is right also if the process was kept waiting when it compared its clocks', () => {
    const bigint = process.hrtime.bigint;
    let readings = 0;
    const kept = vi.spyOn(process.hrtime, 'bigint').mockImplementation(() => {
      const reading = bigint();
      // 30 ms pass once between what this clock said and what the other will say.
      if (readings++ === 0) for (const until = bigint() + 30_000_000n; bigint() < until; );
      return reading;
    });
    const time = hostTime(0n);
    kept.mockRestore();
    const before = HRTIME();
    const now = time();
    expect(now).toBeGreaterThan(before - 5e6);
    expect(now).toBeLessThan(HRTIME() + 5e6);
  });
});

describe('a timer', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it.each([0, 1, HOST_MS_MAX, HOST_MS_MAX + 1, 10 * 2 ** 31 + 7])('of %d ms fires once, and then', (ms) => {
    const fired = vi.fn();
    afterMs(ms, fired);
    vi.advanceTimersByTime(Math.max(0, ms - 1));
    expect(fired).toHaveBeenCalledTimes(ms === 0 ? 1 : 0);
    vi.advanceTimersByTime(2 ** 33);
    expect(fired).toHaveBeenCalledTimes(1);
  });

  it('that is to wait for ever never fires, and one that was cancelled neither, in whatever piece', () => {
    const fired = vi.fn();
    const never = afterMs(Infinity, fired);
    const cancelled = afterMs(2 ** 34, fired);
    vi.advanceTimersByTime(2 ** 33);
    cancelled();
    vi.advanceTimersByTime(2 ** 36);
    expect(fired).not.toHaveBeenCalled();
    never();
    expect(vi.getTimerCount()).toBe(0);
  });
});
