/** `ferry bench migrate` as it is: beside bare Node, and beside QEMU and iperf3 where these are installed. */
import { describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { benchMigrate } from '../../lab/bench/migrate/bench.js';
import { findIperf } from '../../lab/bench/migrate/iperf.js';
import { findQemu } from '../../lab/bench/migrate/qemu.js';

const BYTES = 128 * MIB;
const qemu = await findQemu();
const iperf3 = await findIperf();

it('whole moves and the bare pump each carry all of the data that RAM has', async () => {
  const memoryBytes = BYTES;
  const { cells } = await benchMigrate({
    memoryBytes,
    contents: ['random'],
    destinations: ['warm'],
    runs: 1,
  });
  expect(cells).toHaveLength(1);
  const carried = cells[0]!.figures.map(({ who, totalMs, rate }) => [
    who,
    rate!.median * totalMs.median * 1e6,
  ]);
  for (const [who, bytes] of carried) {
    expect(bytes, String(who)).toBeGreaterThan(memoryBytes - 32 * MIB);
    expect(bytes, String(who)).toBeLessThan(memoryBytes + MIB);
  }
  expect(carried.map(([who]) => who)).toEqual(['with integrity', 'without integrity', 'bare Node']);
});

describe('beside whole moves', () => {
  it.skipIf(qemu === undefined)(
    'QEMU, if one is installed, carries the same RAM',
    async () => {
      const { cells } = await benchMigrate({ memoryBytes: BYTES, besideQemu: true, runs: 2 });
      expect(cells.map(({ contents, destination }) => `${contents} ${destination}`)).toEqual([
        'random cold',
        'random warm',
        'zero cold',
        'zero warm',
      ]);
      for (const { figures, ratios } of cells.slice(0, 2)) {
        const { rate, totalMs } = figures.find(({ who }) => who === 'QEMU')!;
        // Totals are told in whole milliseconds.
        expect(rate!.max * totalMs.min * 1e6).toBeGreaterThan(BYTES * 0.8);
        expect(ratios.filter(({ other }) => other === 'QEMU')).toHaveLength(2);
      }
    },
    120_000,
  );

  it.skipIf(iperf3 === undefined)(
    'iperf3, if it is installed, tells its rate',
    async () => {
      const { cells } = await benchMigrate({
        memoryBytes: BYTES,
        contents: ['random'],
        destinations: ['cold'],
        besideIperf3: true,
        runs: 1,
      });
      expect(cells[0]!.figures.find(({ who }) => who === 'iperf3')!.rate!.median).toBeGreaterThan(0);
    },
    60_000,
  );
});
