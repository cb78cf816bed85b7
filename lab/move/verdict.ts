/**
 * Whether a move may be called verified. Each check says what it saw, so that a failed one reads as a finding; a check
 * that could not be made counts as failed, never as passed.
 */
import type { MigrationRecord } from '../../migration/record.js';
import type { Check, ConsoleLine } from './check.js';
import { type NetworkEvidence, networkChecks } from './network-verdict.js';
import type { Workload } from './scenario.js';

export interface Verdict {
  /** `unverified`: the guest is well, but memory was not compared, as asked for with `verify: 'off'`. */
  readonly outcome: 'verified' | 'unverified' | 'failed';
  readonly checks: readonly Check[];
}

export interface Evidence {
  readonly record: MigrationRecord | undefined;
  /** `query-status` of both sides after the move; undefined if a side did not answer. */
  readonly sourceStatus: string | undefined;
  readonly destinationStatus: string | undefined;
  readonly console: readonly ConsoleLine[];
  /** Status lines that the guest was expected to print at the destination, at least. */
  readonly statusLinesMin: number;
  readonly statusLine: RegExp;
  /** Whether the guest is the project's own kernel: it is known to tell the time, and what it says when it finds a fault. */
  readonly ownKernel: boolean;
  readonly traffic: NetworkEvidence;
}

/** The guest's clock in front of a console line, in seconds; undefined for a line without one. */
export function guestSeconds(line: string): number | undefined {
  const match = /^\[\s*(\d+\.\d+)\]/.exec(line);
  return match === null ? undefined : Number(match[1]);
}

/** Status lines of the workloads: `[   12.345678] ledger: ... clean`. */
const STATUS_LINES: Readonly<Record<Workload, RegExp>> = {
  idle: /^\[\s*\d+\.\d+\] idle: up /,
  ledger: /^\[\s*\d+\.\d+\] ledger: .*, clean$/,
  stress: /^\[\s*\d+\.\d+\] stress: .*, clean$/,
  mixed: /^\[\s*\d+\.\d+\] ledger: .*, clean$/,
  'udp-echo': /^\[\s*\d+\.\d+\] udp-echo: \d+ packets/,
  'udp-stream': /^\[\s*\d+\.\d+\] udp-stream: sent \d+ packets/,
};

/** Of a guest that is not ours any line counts as a sign of life. */
export const statusPattern = (ownKernel: boolean, workload: Workload): RegExp =>
  ownKernel ? STATUS_LINES[workload] : /./;

/** What the kernel, its workloads and its driver say when something is wrong. */
const COMPLAINT =
  /\bCORRUPT\b|[1-9]\d* corrupt|[Pp]anic|stale|BUG:|crashed|DMA-API: \S+ \S+: |Adapter removed|Reset adapter|PF still resetting|Could not \w+ queue|Link is Down/;

export function judge(evidence: Evidence): Verdict {
  const { record } = evidence;
  const after = evidence.console.filter((line) => line.side === 'destination').map((line) => line.text);
  const all = evidence.console.map((line) => line.text);
  const statusLines = after.filter((line) => evidence.statusLine.test(line));
  const complaint = all.find((line) => COMPLAINT.test(line));
  const checks: Check[] = [
    {
      name: 'the migration completed',
      passed: record?.status === 'completed',
      seen: record === undefined ? 'no record' : (record.error?.message ?? record.status),
    },
    {
      name: 'exactly one side runs the guest',
      passed: evidence.sourceStatus === 'postmigrate' && evidence.destinationStatus === 'running',
      seen: `source ${evidence.sourceStatus ?? 'gone'}, destination ${evidence.destinationStatus ?? 'gone'}`,
    },
    {
      name: 'the guest goes on at the destination',
      passed: statusLines.length >= evidence.statusLinesMin,
      seen: `${statusLines.length} status lines, ${evidence.statusLinesMin} expected`,
    },
    {
      name: 'the guest found nothing wrong',
      passed: complaint === undefined && all.length > 0,
      seen: complaint ?? (all.length > 0 ? (statusLines.at(-1) ?? 'no complaint') : 'no console'),
    },
  ];
  const stamps = all.filter((line) => guestSeconds(line) !== undefined).length;
  // A guest of somebody else's may print no time: then nothing is said about its clock.
  if (stamps > 0 || evidence.ownKernel) {
    checks.push({
      name: "the guest's clock never jumped back",
      passed: stamps > 0 && isAscending(all),
      seen: `${stamps} time stamps`,
    });
  }
  const verification = record?.verification;
  if (record !== undefined && record.verify !== 'off') {
    checks.push({
      name:
        record.verify === 'root'
          ? 'the integrity roots are equal'
          : 'all of RAM, every register and every device record are equal',
      passed: verification !== undefined && verification.differences.length === 0,
      seen:
        verification === undefined
          ? 'not compared'
          : [
              `${verification.pages.toLocaleString('en-GB')} pages, root ${verification.root.slice(0, 16)}`,
              ...verification.differences,
            ].join('; '),
    });
  }
  checks.push(...networkChecks(evidence.traffic, record));
  const passed = checks.every((check) => check.passed);
  const outcome = !passed ? 'failed' : record?.verify === 'off' ? 'unverified' : 'verified';
  return { outcome, checks };
}

function isAscending(lines: readonly string[]): boolean {
  let last = -1;
  for (const line of lines) {
    const seconds = guestSeconds(line);
    if (seconds === undefined) continue;
    if (seconds < last) return false;
    last = seconds;
  }
  return true;
}
