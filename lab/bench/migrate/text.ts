/** Whole moves as tables for a terminal. */
import type { Spread } from '../../report/median.js';
import { table } from '../../report/table.js';
import { formatBytes } from '../../report/words.js';
import type { BenchMigrateResult, MovesCell } from './bench.js';

const spread = (one: Spread | undefined, digits: number): string =>
  one === undefined
    ? ''
    : `${one.median.toFixed(digits)} (${one.min.toFixed(digits)} to ${one.max.toFixed(digits)})`;

const middle = (one: Spread | undefined, digits: number): string => one?.median.toFixed(digits) ?? '';

function cellText({ contents, destination, channels, figures, ratios }: MovesCell): string {
  const others = [...new Set(ratios.map(({ other }) => other))];
  const rows = figures.map(({ who, totalMs, setupMs, downtimeMs, wallMs, rate }) => [
    who,
    spread(totalMs, 0),
    middle(setupMs, 0),
    middle(downtimeMs, 0),
    middle(wallMs, 0),
    middle(rate, 2),
    ...others.map((other) => {
      const found = ratios.find((one) => one.ours === who && one.other === other);
      return spread(found?.ratio, 2);
    }),
  ]);
  const columns = ['', 'total, ms', 'set-up', 'downtime', 'to the client', 'GB/s'];
  return [
    `${contents} RAM, ${destination} destination, channels: ${channels}`,
    table([...columns, ...others.map((other) => `of ${other}`)], rows),
    '',
  ].join('\n');
}

export function migrateText(result: BenchMigrateResult): string {
  const { memoryBytes, runs, qemu, iperf3, cells } = result;
  const beside = [
    qemu === 'none'
      ? 'QEMU: qemu-system-x86_64 is not installed here, so nothing stands beside it'
      : undefined,
    qemu !== undefined && qemu !== 'none'
      ? `QEMU ${qemu.version} (${qemu.accelerator}), multifd; warm: prealloc=on`
      : undefined,
    iperf3 === 'none' ? 'iperf3 is not installed here, so nothing stands beside it' : undefined,
    iperf3 !== undefined && iperf3 !== 'none' ? `iperf3 ${iperf3}` : undefined,
  ].filter((line) => line !== undefined);
  return [
    `Moves of ${formatBytes(memoryBytes)} of RAM of a guest that stands still, ${runs} turns of each: medians, least and most.`,
    'Total, set-up and downtime as the monitor tells them. The bare pump has connections that stand, and sends all bytes.',
    ...beside,
    '',
    ...cells.map(cellText),
  ].join('\n');
}
