/** What a fabric reports, and how people read it. */

import type { FlowReport } from '../../devices/ethernet/flow.js';
import type { PeerStatistics } from '../../devices/ethernet/peer.js';
import type { PortStatistics } from '../../devices/ethernet/switch.js';
import { table } from '../report/table.js';
import { formatBytes, formatCount, formatTime } from '../report/words.js';
import type { PcapReport } from './pcap-file.js';

export interface PortReport extends PortStatistics {
  readonly name: string;
  /** Why the port is gone; null while something is plugged in. */
  readonly end: string | null;
  /** Frames too long for any station. */
  readonly giants: number;
}

export interface MeasuredFlow extends FlowReport {
  /** How much of the longest gap the fabric itself did not run: that much may be its own, not the network's. */
  readonly gapStalledNs: number;
}

export interface PeerReport extends PeerStatistics {
  readonly ip: string;
  readonly mac: string;
  readonly flows: readonly MeasuredFlow[];
}

/** What happened between two moments; see `Fabric.nextPhase`. */
export interface PhaseReport {
  /** When it began, on the fabric's clock. */
  readonly startNs: number;
  readonly durationNs: number;
  /** Longest time for which the fabric itself did not run. */
  readonly longestStallNs: number;
  /** Counts and times of the phase alone, but for `outstanding`: that is as of its end. */
  readonly flows: readonly (MeasuredFlow & { readonly peer: string })[];
}

export interface FabricReport {
  readonly listening: readonly string[];
  readonly ports: readonly PortReport[];
  /** Connections that found no free port. */
  readonly connectionsRefused: number;
  /** Longest time for which the fabric itself did not run, measured while it has peers; 0 without. */
  readonly longestStallNs: number;
  readonly stations: { readonly known: number; readonly moves: number; readonly evictions: number };
  /** When a station was last heard at another port than before, on the clock of `longestGapAtNs`; absent if none was. */
  readonly stationMovedAtNs?: number;
  /** When a station that was not known was last heard, on the same clock; absent if none was. */
  readonly stationNewAtNs?: number;
  readonly peers: readonly PeerReport[];
  readonly capture: PcapReport | null;
}

/** Those of a flow that are left out where there is no room, the first of them first. */
export const FLOW_COLUMNS_SPARE: readonly string[] = [
  'time',
  'pending',
  '99 %',
  'median',
  'reord.',
  'dupl.',
  'corrupt',
  'sent',
];

/** What is told of a flow, here and of each phase of a move. */
export const FLOW_COLUMNS = [
  'sent',
  'received',
  'lost',
  'dupl.',
  'reord.',
  'corrupt',
  'pending',
  'longest gap',
  'median',
  '99 %',
] as const;

/** The report as tables, for a terminal of this width. */
export function reportText(report: FabricReport, width?: number): string {
  const parts: string[] = [];
  if (report.ports.length > 0) {
    parts.push(
      table(
        ['port', 'frames in', 'bytes', 'frames out', 'bytes', 'flooded', 'lost', 'dropped', 'invalid'],
        report.ports.map((port) => [
          port.end === null ? port.name : `${port.name} (${port.end})`,
          formatCount(port.framesIn),
          formatBytes(port.bytesIn),
          formatCount(port.framesOut),
          formatBytes(port.bytesOut),
          formatCount(port.flooded),
          formatCount(port.lost),
          formatCount(port.queueDrops + port.refused + port.downDrops),
          formatCount(port.invalid + port.giants),
        ]),
        { width, spare: ['invalid', 'flooded', 'dropped'] },
      ),
    );
  }
  const flows = report.peers.flatMap((peer) => peer.flows.map((flow) => flowRow(peer, flow)));
  if (flows.length > 0) {
    parts.push(
      table(['flow', ...FLOW_COLUMNS], flows, { width, spare: FLOW_COLUMNS_SPARE }),
      `the fabric itself was kept waiting for up to ${formatTime(report.longestStallNs)}`,
    );
  }
  const { known, moves } = report.stations;
  parts.push(`${formatCount(known)} stations known, ${formatCount(moves)} moves from one port to another`);
  if (report.capture !== null) {
    const { path, packets, dropped, failure } = report.capture;
    const leftOut = dropped > 0 ? `, ${formatCount(dropped)} left out` : '';
    const cut = failure === null ? '' : `; the capture ended early: ${failure}`;
    parts.push(`${formatCount(packets)} packets in ${path}${leftOut}${cut}`);
  }
  return parts.join('\n');
}

function flowRow({ ip }: PeerReport, { kind, remote, sent, arrived, outstanding }: FlowReport): string[] {
  const arrow = kind === 'echo' ? '<->' : kind === 'out' ? '->' : '<-';
  const name = `${ip} ${arrow} ${remote}`;
  const sentText = kind === 'in' ? '' : formatCount(sent);
  if (arrived === null) return [name, sentText, ...Array<string>(9).fill('')];
  const { received, lost, duplicated, reordered, corrupt, longestGapNs, latency } = arrived;
  return [
    name,
    sentText,
    ...[received, lost, duplicated, reordered, corrupt, outstanding].map(formatCount),
    formatTime(longestGapNs),
    latency === null ? '' : formatTime(latency.medianNs),
    latency === null ? '' : formatTime(latency.p99Ns),
  ];
}
