/** The figures of benchmarks as tables for a terminal. */
import { GIB } from '../../base/units.js';
import { table } from '../report/table.js';
import { formatBytes, formatCount, formatPercent } from '../report/words.js';
import type { BenchFabricResult } from './fabric.js';
import type { BenchFunctionsResult } from './functions.js';
import type { BenchIommuResult } from './iommu.js';
import type { BenchKernelsResult } from './kernels.js';
import type { BenchMachineResult } from './machine.js';
import type { BenchPacketsResult } from './packets.js';
import type { BenchTransferResult } from './transfer.js';

const ms = (value: number): string => `${value.toFixed(2)} ms`;
/** From 10^9 bytes a second, which the figures are in, to the units of the sizes beside them. */
const gibs = (value: number): string => `${((value * 1e9) / GIB).toFixed(2)} GiB/s`;

export function functionsText({ figures, goal }: BenchFunctionsResult): string {
  const rows = figures.map(({ functions, blackoutMs, partsMs, ratio }) => [
    formatCount(functions),
    `${ms(blackoutMs.median)} (${blackoutMs.min.toFixed(1)} to ${blackoutMs.max.toFixed(1)})`,
    ...[partsMs.quiesceNs, partsMs.pauseNs, partsMs.lastPagesNs, partsMs.deviceStateNs, partsMs.stateNs].map(
      ms,
    ),
    ...[partsMs.loadNs, partsMs.startNs].map(ms),
    ratio.toFixed(2),
  ]);
  const last = figures.at(-1)!;
  return [
    table(
      [
        'functions',
        'blackout',
        'quiesce',
        'pause',
        'last pages',
        'devices',
        'state',
        'load',
        'start',
        'ratio',
      ],
      rows,
    ),
    '',
    `The goal for ${last.functions}: at most ${goal} of one. ${last.ratio <= goal ? 'Reached.' : 'Not reached.'}`,
  ].join('\n');
}

export function machineText(result: BenchMachineResult): string {
  const { bootMs, blackouts } = result;
  return [
    table(
      ['one VMM', 'median'],
      [
        [
          'spawn to first console line',
          `${bootMs.median.toFixed(0)} ms (${bootMs.min.toFixed(0)} to ${bootMs.max.toFixed(0)})`,
        ],
        ['memory besides guest RAM', formatBytes(result.overheadBytes)],
        ['stop a busy guest, over the monitor', `${result.stopUs.toFixed(0)} µs`],
        ['continue it', `${result.contUs.toFixed(0)} µs`],
      ],
    ),
    '',
    table(
      ['blackout', 'median', 'least', 'most', 'pause', 'last pages', 'state', 'load', 'start', 'pages'],
      blackouts.map(({ workload, totalMs, totalMsMin, totalMsMax, partsMs, lastPages }) => [
        workload,
        ...[totalMs, totalMsMin, totalMsMax].map(ms),
        ...[partsMs.pauseNs, partsMs.lastPagesNs, partsMs.stateNs, partsMs.loadNs, partsMs.startNs].map(ms),
        formatCount(lastPages),
      ]),
    ),
    '',
    table(
      ['dirty log', 'off', 'on', 'slowdown'],
      result.dirtyLog.map(({ workload, unit, rateOff, rateOn, slowdown }) => [
        `${workload}, ${unit}`,
        formatCount(rateOff),
        formatCount(rateOn),
        formatPercent(slowdown),
      ]),
    ),
  ].join('\n');
}

export function transferText({
  kernels,
  transfer,
}: {
  kernels: BenchKernelsResult;
  transfer: BenchTransferResult;
}): string {
  return [
    table(
      ['kernel, one core', 'rate', 'of plain read'],
      [
        ['plain SIMD read', gibs(kernels.plainRead), ''],
        ['zero scan', gibs(kernels.zeroScan), kernels.scanRatio.toFixed(2)],
        ['page hash', gibs(kernels.pageHash), (kernels.pageHash / kernels.plainRead).toFixed(2)],
      ],
    ),
    '',
    table(
      [`${formatBytes(transfer.bytes)}, ${transfer.channels} channels`, 'median', 'of bare', 'CPU s/GiB'],
      [
        ['bare Node, socket to socket', gibs(transfer.bareMedian), '', transfer.bareCpu.toFixed(2)],
        [
          `page transfer${transfer.integrity ? ', with hashes' : ''}`,
          gibs(transfer.planeMedian),
          transfer.ratio.toFixed(2),
          transfer.planeCpu.toFixed(2),
        ],
      ],
    ),
    transfer.verified === false
      ? 'the pages that arrived are NOT those that were sent'
      : 'all pages arrived as they were sent',
  ].join('\n');
}

export function iommuText(result: BenchIommuResult): string {
  const sizeGib = result.bytes / GIB;
  const short = (value: number): string => `${Number(value.toPrecision(2))} ms`;
  return [
    table(
      ['translation', 'a second'],
      [
        ['in the IOTLB', formatCount(Math.round(result.warmPerSecond))],
        ['walking the tables', formatCount(Math.round(result.coldPerSecond))],
      ],
    ),
    '',
    table(
      [
        `dirty scan of ${sizeGib} GiB`,
        ...result.scans.flatMap(({ leafBytes }) => [`${formatBytes(leafBytes)} leaves`, 'a GiB']),
      ],
      SCAN_ROWS.map(([name, pick]) => [
        name,
        ...result.scans.flatMap((scan) => [short(pick(scan)), short(pick(scan) / sizeGib)]),
      ]),
    ),
    ...result.scans.map(
      ({ leafBytes, dirtyLeaves, plainReadMs, cleanMs, clearMs, clearAndFlushMs }) =>
        `${formatBytes(leafBytes)} leaves: clean at ${(plainReadMs / cleanMs).toFixed(2)} of the rate of a plain read; ` +
        `${formatCount(dirtyLeaves)} dirty take ${(clearMs / cleanMs).toFixed(1)} times as long as none, ` +
        `${(clearAndFlushMs / cleanMs).toFixed(1)} times with the flush`,
    ),
  ].join('\n');
}

type ScanFigure = BenchIommuResult['scans'][number];

const SCAN_ROWS: readonly (readonly [string, (scan: ScanFigure) => number])[] = [
  ['plain SIMD read of the leaf tables', (scan) => scan.plainReadMs],
  ['clean', (scan) => scan.cleanMs],
  ['dirty, read only', (scan) => scan.readOnlyMs],
  ['dirty, cleared, no flush', (scan) => scan.clearMs],
  ['dirty, cleared and flushed', (scan) => scan.clearAndFlushMs],
];

export function fabricText({ figures }: BenchFabricResult): string {
  return table(
    ['frames through the switch', 'frames/s', 'rate', 'lost'],
    figures.map(({ frameBytes, framesPerSecond, bytesPerSecond, lost }) => [
      `${frameBytes} bytes without FCS`,
      formatCount(Math.round(framesPerSecond)),
      `${((bytesPerSecond * 8) / 1e9).toFixed(2)} Gbit/s`,
      formatCount(lost),
    ]),
  );
}

const gbits = (bitsPerSecond: number): string => `${(bitsPerSecond / 1e9).toFixed(2)} Gbit/s`;
const us = (value: number): string => `${value.toFixed(2)} µs`;

export function packetsText({ limits, figures }: BenchPacketsResult): string {
  const limitOf = (bytes: number): number =>
    limits.find(({ frameBytes }) => frameBytes === bytes)?.framesPerSecond ?? Number.NaN;
  return [
    table(
      ['packets', 'payload', 'a second', 'rate', 'of the bare switch', 'lost', 'corrupt'],
      figures.map((figure) => [
        figure.direction,
        `${figure.payloadBytes} bytes`,
        formatCount(Math.round(figure.packetsPerSecond)),
        gbits(figure.bitsPerSecond),
        formatPercent(figure.packetsPerSecond / limitOf(figure.frameBytes)),
        `${formatCount(figure.lost)} of ${formatCount(figure.offered)}`,
        formatCount(figure.corrupt),
      ]),
    ),
    '',
    table(
      ['CPU time a packet', 'payload', 'vCPU', 'device thread', 'fabric and peer', 'rest of the VMM'],
      figures.map(({ direction, payloadBytes, costsUs: { vcpu, device, fabric, other } }) => [
        direction,
        `${payloadBytes} bytes`,
        ...[vcpu, device, fabric, other].map(us),
      ]),
    ),
    '',
    fabricText({ figures: limits }),
  ].join('\n');
}
