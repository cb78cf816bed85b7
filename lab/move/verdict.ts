/**
 * Whether a move may be called verified. Each check says what it saw, so that a failed one reads as a finding; one that
 * could not be made says so, and a move with such a check is not verified.
 */
import type { MigrationRecord } from '../../migration/record.js';
import type { DeviceKind } from '../../vmm/passthrough/records.js';
import { type Check, type ConsoleLine, heldIf } from './check.js';
import { type NetworkEvidence, networkChecks } from './network-verdict.js';
import type { Workload } from './scenario.js';

export interface Verdict {
  /** `unverified`: the guest is well, but memory was not compared, as asked for with `verify: 'off'`. */
  readonly outcome: 'verified' | 'unverified' | 'failed';
  readonly checks: readonly Check[];
}

export interface Evidence {
  readonly record: MigrationRecord | undefined;
  /** `query-status` of both sides after the move, `ended` of a process that is gone; undefined if one did not answer. */
  readonly sourceStatus: string | undefined;
  readonly destinationStatus: string | undefined;
  readonly console: readonly ConsoleLine[];
  /** Status lines that the guest was expected to print at the destination, at least. */
  readonly statusLinesMin: number;
  readonly statusLine: RegExp;
  /** Whether the guest is the project's own kernel: it is known to tell the time, and what it says when it finds a fault. */
  readonly ownKernel: boolean;
  /** Another device that the guest is known to work with. */
  readonly device?: DeviceKind | undefined;
  /** The cable is not plugged in at the destination; it is if absent. */
  readonly linkDown?: boolean;
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
  /\bCORRUPT\b|[1-9]\d* corrupt|[Pp]anic|stale|BUG:|crashed|DMA-API: \S+ \S+: |Adapter removed|Reset adapter|PF still resetting|Could not \w+ queue|Link is Down|Failed to set MTU/;
/** What a driver says that finds its device gone: right, where it was taken away without a word. */
const GONE = /Adapter removed|Reset adapter|PF still resetting|Could not \w+ queue|Link is Down/;
/** What it says of a cable that is not plugged in: right, where none is. */
const LINK_DOWN = /Link is Down/;

/** What it is right to say of. */
export interface Circumstances {
  /** The device was taken away without a word. */
  readonly wentUnasked?: boolean;
  /** There is no cable, or nothing at its end. */
  readonly linkDown?: boolean;
}

/** The first line in which a guest says that something is wrong which nobody has done to it. */
export const complaintIn = (
  lines: readonly string[],
  { wentUnasked = false, linkDown = false }: Circumstances,
): string | undefined =>
  lines.find(
    (line) =>
      COMPLAINT.test(line) && !(wentUnasked && GONE.test(line)) && !(linkDown && LINK_DOWN.test(line)),
  );

/** Checks that only a guest that was moved can pass. */
const COMPLETED = 'the migration completed';
const GOES_ON = 'the guest goes on at the destination';
export const MOVED_ONLY: readonly string[] = [COMPLETED, GOES_ON];

export function judge(evidence: Evidence): Verdict {
  const { record, linkDown = false } = evidence;
  const after = evidence.console.filter((line) => line.side === 'destination').map((line) => line.text);
  const all = evidence.console.map((line) => line.text);
  const statusLines = after.filter((line) => evidence.statusLine.test(line));
  const complaint = complaintIn(all, { wentUnasked: record?.left === 'lost', linkDown });
  const checks: Check[] = [
    {
      name: COMPLETED,
      outcome: record === undefined ? 'not-checked' : heldIf(record.status === 'completed'),
      seen: record === undefined ? 'no record' : (record.error?.message ?? record.status),
    },
    oneRuns(evidence),
    {
      name: GOES_ON,
      outcome:
        record?.status === 'completed'
          ? heldIf(statusLines.length >= evidence.statusLinesMin)
          : 'not-checked',
      seen:
        record?.status === 'completed'
          ? `${statusLines.length} status lines, ${evidence.statusLinesMin} expected`
          : 'it was not moved',
    },
    {
      name: 'the guest found nothing wrong',
      outcome: all.length === 0 ? 'not-checked' : heldIf(complaint === undefined),
      seen: complaint ?? (all.length > 0 ? (statusLines.at(-1) ?? 'no complaint') : 'no console'),
    },
  ];
  const stamps = all.filter((line) => guestSeconds(line) !== undefined).length;
  // A guest of somebody else's may print no time: then nothing is said about its clock.
  if (stamps > 0 || evidence.ownKernel) {
    checks.push({
      name: "the guest's clock never jumped back",
      outcome: stamps === 0 ? 'not-checked' : heldIf(isAscending(all)),
      seen: `${stamps} time stamps`,
    });
  }
  if (linkDown && evidence.ownKernel && record?.status === 'completed')
    checks.push(knowsOfNoLink(after, record));
  if (record !== undefined && record.verify !== 'off') checks.push(compared(record));
  if (evidence.device !== undefined) checks.push(works(evidence.device, after));
  checks.push(...networkChecks(evidence.traffic, record));
  const held = checks.every((check) => check.outcome === 'held');
  const outcome = !held ? 'failed' : record?.verify === 'off' ? 'unverified' : 'verified';
  return { outcome, checks };
}

/** What the guest says of its work with a device, where it is now. */
function works(device: DeviceKind, console: readonly string[]): Check {
  const made = console.flatMap((line) => {
    const count = new RegExp(`\\b${device}: \\d+ copies/s, (\\d+) made, .*clean$`).exec(line)?.[1];
    return count === undefined ? [] : [Number(count)];
  });
  const copies = made.length === 0 ? 0 : made.at(-1)! - made[0]!;
  return {
    name: 'the guest works with its other device at the destination',
    outcome: heldIf(copies > 0),
    seen: `${copies} pages copied by ${device}`,
  };
}

/** A driver that goes on with its device hears that the link went down; one that begins anew finds none. */
function knowsOfNoLink(after: readonly string[], { left }: MigrationRecord): Check {
  const up = after.find((line) => /Link is Up/.test(line));
  const down = after.find((line) => LINK_DOWN.test(line));
  return {
    name: 'the guest knows that it has no link',
    outcome: heldIf(up === undefined && (down !== undefined || left !== 'state')),
    seen: up ?? down ?? 'nothing was said of a link',
  };
}

/** Both sides must be known: of one that does not answer nobody can say what it runs. */
function oneRuns({ sourceStatus, destinationStatus }: Evidence): Check {
  const statuses = [sourceStatus, destinationStatus];
  const running = statuses.filter((status) => status === 'running').length;
  const unknown = statuses.some((status) => status === undefined);
  return {
    name: 'exactly one side runs the guest',
    outcome: unknown && running < 2 ? 'not-checked' : heldIf(running === 1),
    seen: `source ${sourceStatus ?? 'does not answer'}, destination ${destinationStatus ?? 'does not answer'}`,
  };
}

/** What the record says of the bytes, as far as the comparison was made. */
function compared({ verify, verification, error }: MigrationRecord): Check {
  const name =
    verify === 'root'
      ? 'the integrity roots are equal'
      : 'all of RAM, every register and every device record are equal';
  if (error !== undefined && DIFFERENT.includes(error.code))
    return { name, outcome: 'failed', seen: error.message };
  if (verification === undefined || !verification.established)
    return { name, outcome: 'not-checked', seen: 'not compared' };
  const { pages, root, differences } = verification;
  return {
    name,
    outcome: heldIf(differences.length === 0),
    seen: [`${pages.toLocaleString('en-GB')} pages, root ${root.slice(0, 16)}`, ...differences].join('; '),
  };
}

/** Ends of a migration that are themselves the finding. */
const DIFFERENT: readonly string[] = ['migration/verification-failed', 'migration/integrity-mismatch'];

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
