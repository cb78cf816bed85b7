/** What trackings cost, measured on a real VMM under traffic, and shown. Needs the built tree. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import {
  type BenchTrackingResult,
  benchTracking,
  type TrackingFigure,
} from '../../dist/lab/bench/tracking.js';
import { trackingReport } from '../../dist/lab/bench/tracking-report.js';
import { TRACKING_HEADS, trackingText } from '../../dist/lab/bench/tracking-text.js';
import { builtIn } from '../../migration/registry.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-bench-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const PERIOD_MS = 50;
/** Of a CPU. Whoever has so much to do has more, on however busy a host. */
const FOUND_MIN = 0.02;

/** A tracking that reads the vCPUs' log, and keeps the thread that asks it busy all the time. */
const wasteful = join(folder, 'wasteful.mjs');
writeFileSync(
  wasteful,
  `export const tracking = {
  name: 'wasteful',
  text: 'burns CPU time',
  converges: true,
  make: (machine) => ({
    start: () => machine.startDirtyLog(),
    async harvest(into) {
      for (let i = 0, sum = 0; i < 1e8; i++) sum += Math.sqrt(i);
      return machine.harvest(into);
    },
    stop: () => machine.stopDirtyLog(),
  }),
};
`,
);

/** All that serve a device, but for those that only choose among others. */
const NAMES = builtIn.tracking
  .filter(({ serves, tries }) => serves === 'device' && tries === undefined)
  .map(({ name }) => name);

let result: BenchTrackingResult;
beforeAll(async () => {
  result = await benchTracking({
    runs: 1,
    rates: [1000],
    memories: [64 * MIB],
    turnMs: 200,
    periodMs: PERIOD_MS,
    trackings: [...NAMES, `module:${wasteful}`, 'hybrid'],
  });
}, 120_000);

const figureOf = (name: string): TrackingFigure => result.figures.find(({ tracking }) => tracking === name)!;

describe('ferry bench tracking', () => {
  it('has a row for each tracking, once, with what was measured with it and without it', () => {
    expect(result.refused).toEqual([]);
    expect(result.figures.map(({ tracking }) => tracking)).toEqual([...NAMES, 'wasteful']);
    for (const figure of result.figures) {
      expect(figure).toMatchObject({ memoryBytes: 64 * MIB, rate: 1000 });
      const { packetsPerSecond, packetShare, guestCpu, guestCost, hostCpu, hostCost, harvestMs } = figure;
      for (const range of [packetsPerSecond, packetShare, guestCpu, hostCpu, harvestMs]) {
        expect(range.median).toBeGreaterThan(0);
      }
      for (const { min, median, max } of [guestCost, hostCost]) {
        expect([min, median, max].every(Number.isFinite)).toBe(true);
      }
    }
  });

  it('counts the pages that each names', () => {
    const pages = (name: string): number => figureOf(name).pagesPerSecond.median;
    for (const name of NAMES) expect(pages(name)).toBeGreaterThan(0);
    // With every page mapped, each harvest has all of them.
    expect(pages('pinned')).toBeGreaterThan(16_000);
  });

  it('finds a tracking that wastes CPU time of the host', () => {
    const others = NAMES.map((name) => figureOf(name).askingCost.median).sort((a, b) => a - b);
    const ordinary = others[Math.floor(others.length / 2)]!;
    expect(figureOf('wasteful').askingCost.median).toBeGreaterThan(ordinary + FOUND_MIN);
  });

  it('is read as a table, which has room on any terminal, and as a page that needs nothing else', () => {
    const text = trackingText(result);
    for (const word of [...TRACKING_HEADS, ...NAMES, 'guest RAM 64 MiB']) expect(text).toContain(word);
    const narrow = trackingText(result, 100);
    expect(Math.max(...narrow.split('\n').map((line) => line.length))).toBeLessThanOrEqual(130);
    expect(narrow).toContain('not shown for want of room: asking takes');
    const page = trackingReport(result, { cpu: 'a CPU <&>', cores: 2 });
    expect(page.match(/<svg/g)).toHaveLength(4);
    for (const name of NAMES) expect(page).toContain(`>${name}<`);
    expect(page).toContain('a CPU &lt;&amp;&gt;');
    expect(page).not.toMatch(/NaN|undefined|<script|https?:\/\/(?!www\.w3\.org)/);
  });
});
