/** Arrivals over time: every datagram in its millisecond, in bounded memory. */
import { describe, expect, it } from 'vitest';
import { instant } from '../../base/units.js';
import { ArrivalSeries } from '../../devices/ethernet/arrival-series.js';

const ms = (value: number) => instant(value * 1e6);

describe('arrivals', () => {
  it('are counted in the millisecond in which they came, and silence is zero', () => {
    const series = new ArrivalSeries();
    for (const at of [10, 10.2, 10.999, 11, 14.5]) series.add(ms(at));
    expect(series.between(ms(9.5), ms(16))).toEqual({
      startNs: 9e6,
      bucketNs: 1e6,
      counts: [0, 3, 1, 0, 0, 1, 0, 0],
    });
  });

  it('of long ago are forgotten, and never told as new ones', () => {
    const series = new ArrivalSeries();
    for (let at = 0; at < 100; at++) series.add(ms(at));
    series.add(ms(65_536 + 50));
    const { startNs, counts } = series.between(ms(0), ms(65_536 + 50));
    expect(startNs).toBe(51e6);
    expect(counts).toHaveLength(65_536);
    expect(counts.slice(0, 49)).toEqual(Array(49).fill(1));
    expect(counts.slice(49, -1).every((count) => count === 0)).toBe(true);
    expect(counts.at(-1)).toBe(1);
    series.add(ms(1e7));
    expect(series.between(ms(65_536), ms(1e7)).counts.reduce((sum, count) => sum + count)).toBe(1);
  });

  it('in numbers that no network brings are still one bucket', () => {
    const series = new ArrivalSeries();
    for (let i = 0; i < 70_000; i++) series.add(ms(5));
    expect(series.between(ms(5), ms(5)).counts).toEqual([65_535]);
  });
});
