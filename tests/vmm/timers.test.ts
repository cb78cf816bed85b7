import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { milliseconds, nanoseconds } from '../../base/units.js';
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
