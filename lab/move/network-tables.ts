/** What the network saw, as a table for people beside the phases, and in sentences. */
import type { MigrationRecord } from '../../migration/record.js';
import { FLOW_COLUMNS, FLOW_COLUMNS_SPARE } from '../fabric/report.js';
import { table } from '../report/table.js';
import { formatCount, formatTime } from '../report/words.js';
import { type FlowRecord, flowTitle, type NetworkRecord } from './network-record.js';
import type { Flow } from './scenario.js';

const HEAD = ['network', 'time', ...FLOW_COLUMNS];

const WORDS: Readonly<Record<Flow, string>> = {
  echo: 'echo',
  'from-guest': 'from guest',
  'to-guest': 'to guest',
};

const PHASES = [
  ['before', 'before'],
  ['move', 'during the move'],
  ['after', 'after'],
] as const;

/** A row for each flow and phase; what the guest measures is one row, for it counts from its boot on. `width`: of the terminal. */
export function networkTable(network: NetworkRecord, width?: number): string {
  const rows: string[][] = [];
  for (const { device, flow } of network.total) {
    for (const [phase, words] of PHASES) {
      const { durationNs, flows } = network[phase];
      const record = flows.find((of) => of.device === device && of.flow === flow);
      if (record?.arrived)
        rows.push(row(`${flowTitle(record, network, WORDS)}, ${words}`, durationNs, record));
    }
  }
  for (const { name, guest } of network.devices) {
    const to = network.total.find(({ device, flow }) => device === name && flow === 'to-guest');
    const { incoming } = guest;
    if (to === undefined || incoming === undefined) continue;
    const { received, lost, duplicated, reordered, corrupt, longestGapNs } = incoming;
    const counts = [to.sent, received, lost, duplicated, reordered, corrupt].map(formatCount);
    const title = `${flowTitle(to, network, WORDS)}, by its own count`;
    rows.push([title, '', ...counts, '', formatTime(longestGapNs), '', '']);
  }
  return table(HEAD, rows, { width, spare: FLOW_COLUMNS_SPARE });
}

function row(name: string, durationNs: number, { flow, sent, arrived, pending }: FlowRecord): string[] {
  const { received, lost, duplicated, reordered, corrupt, longestGapNs, latency } = arrived!;
  return [
    name,
    formatTime(durationNs),
    flow === 'from-guest' ? '' : formatCount(sent),
    ...[received, lost, duplicated, reordered, corrupt].map(formatCount),
    flow === 'echo' ? formatCount(pending) : '',
    formatTime(longestGapNs),
    latency === null ? '' : formatTime(latency.medianNs),
    latency === null ? '' : formatTime(latency.p99Ns),
  ];
}

/** What the longest gap was made of, and how far this measurement can be trusted. */
export function networkLines(network: NetworkRecord, record: MigrationRecord | undefined): string[] {
  const { before, move, after, rate, payloadBytes } = network;
  const measured = move.flows.filter(({ arrived }) => arrived !== null);
  if (measured.length === 0) return [];
  const longest = measured.reduce((a, b) => (b.arrived!.longestGapNs > a.arrived!.longestGapNs ? b : a));
  const blackoutNs = record?.blackout?.totalNs;
  const { mode, durationNs = 0 } = record?.verification ?? {};
  const lines = [`${formatCount(rate)} datagrams/s of ${formatCount(payloadBytes)} bytes in each flow`];
  const flows = [before, move, after].flatMap((phase) => phase.flows);
  if (flows.some(({ pending }) => pending > 0)) {
    lines.push('pending: sent, and neither back nor known to be lost when the phase ended');
  }
  if (flows.some(({ flow, sent, arrived }) => flow === 'echo' && (arrived?.received ?? 0) > sent)) {
    lines.push('more received than sent: echoes that were under way when the phase began');
  }
  if (blackoutNs !== undefined) {
    // Verification lies within the gap as a whole: nothing runs meanwhile.
    const verifyingNs = mode === 'full' ? durationNs : 0;
    lines.push(
      `longest network gap ${formatTime(longest.arrived!.longestGapNs - verifyingNs)}` +
        `${network.devices.length > 1 ? ` (${longest.device})` : ''}; the VM stood for ` +
        formatTime(blackoutNs) +
        (verifyingNs > 0
          ? `; full verification, while all stands still, made it ${formatTime(verifyingNs)} longer`
          : ''),
    );
  }
  const { longestGapAtNs, longestGapNs } = longest.arrived!;
  const heardNs = (network.fabric.stationMovedAtNs ?? Number.NaN) - longestGapAtNs;
  if (heardNs >= 0 && heardNs <= longestGapNs) {
    lines.push(
      `the network heard of the guest's new place ${formatTime(heardNs)} into the gap, and the first packet came ` +
        `${formatTime(longestGapNs - heardNs)} later`,
    );
  } else {
    lines.push('that gap is not the one in which the guest changed places');
  }
  if (longest.gapStalledNs > 0) {
    lines.push(
      `in ${formatTime(longest.gapStalledNs)} of that gap the fabric itself did not run: they may not be the network's`,
    );
  }
  lines.push(
    `the fabric itself was kept waiting for up to ${formatTime(before.longestStallNs)} before the move, ` +
      `${formatTime(move.longestStallNs)} during it`,
  );
  return lines;
}
