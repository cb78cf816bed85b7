/** Whether a move of a Linux by QEMU went well: by QEMU's word, the guest's own, its kernel's, and what the network saw. */
import type { MigrationRecord } from '../../migration/record.js';
import { type Check, heldIf } from '../move/check.js';
import type { NetworkRecord } from '../move/network-record.js';
import { networkChecks } from '../move/network-verdict.js';
import type { Flow } from '../move/scenario.js';
import type { Verdict } from '../move/verdict.js';
import type { GuestSigns } from './guest.js';

export interface LinuxEvidence {
  readonly record: MigrationRecord;
  readonly sourceStatus: string;
  readonly destinationStatus: string;
  /** The guest's own signs before the move, and after it, or why it gave none. */
  readonly before: GuestSigns;
  readonly after: GuestSigns | string;
  /** Lines of its kernel, at level *warning* and worse, that nothing explains; or why it could not be asked. */
  readonly complaints: readonly string[] | string;
  /** Why the function does not work where the guest is; undefined if it does. */
  readonly problem: string | undefined;
  readonly network: NetworkRecord | undefined;
  readonly flows: readonly Flow[];
}

/** What the kernel may say though it is a warning, wherever it comes: that its host is busy. */
const HARMLESS = [/clocksource: /, /hrtimer: interrupt took/, /TSC found unstable/];
const WARNING = 4;
const LINES_SHOWN = 3;

/** Of lines as `<level>[time] text` those that are a warning or worse, but for what `may` allows. */
export const complaintsIn = (log: readonly string[], may: readonly RegExp[]): readonly string[] =>
  log.filter(
    (line) =>
      Number(/^<(\d+)>/.exec(line)?.[1] ?? 7) % 8 <= WARNING &&
      ![...HARMLESS, ...may].some((one) => one.test(line)),
  );

export function judgeLinux(evidence: LinuxEvidence): Verdict {
  const { record, sourceStatus, destinationStatus, before, after, complaints, problem, network, flows } =
    evidence;
  const completed = record.status === 'completed';
  const running = [sourceStatus, destinationStatus].filter((status) => status === 'running').length;
  const checks: Check[] = [
    {
      name: 'the migration completed',
      outcome: heldIf(completed),
      seen: record.error?.message ?? record.status,
    },
    {
      name: 'exactly one side runs the guest',
      outcome: heldIf(running === 1),
      seen: `source ${sourceStatus}, destination ${destinationStatus}`,
    },
    ...guestChecks(before, after),
    kernelCheck(complaints),
    {
      name: 'its function works',
      outcome: heldIf(problem === undefined),
      seen: problem ?? 'its driver has reset it and was answered, and its interface is up',
    },
    ...networkChecks({ flows, network, uncounted: true }, record),
  ];
  const held = checks.every(({ outcome }) => outcome === 'held');
  return { outcome: held ? 'verified' : 'failed', checks };
}

function guestChecks(before: GuestSigns, after: GuestSigns | string): readonly Check[] {
  const names = ['the guest goes on, and its clock with it', 'a file in its memory is as it was'] as const;
  if (typeof after === 'string') return names.map((name) => ({ name, outcome: 'failed', seen: after }));
  return [
    {
      name: names[0],
      outcome: heldIf(after.uptimeSeconds > before.uptimeSeconds),
      seen: `up ${before.uptimeSeconds} s before, ${after.uptimeSeconds} s after`,
    },
    {
      name: names[1],
      outcome: heldIf(after.sum === before.sum),
      seen:
        after.sum === before.sum
          ? `SHA-256 ${after.sum.slice(0, 16)}`
          : `${before.sum}, and now ${after.sum}`,
    },
  ];
}

function kernelCheck(complaints: readonly string[] | string): Check {
  const name = 'its kernel complains of nothing that the approach does not explain';
  if (typeof complaints === 'string') return { name, outcome: 'not-checked', seen: complaints };
  const seen =
    complaints.length === 0
      ? 'no such line'
      : `${complaints.length} lines: ${complaints.slice(0, LINES_SHOWN).join(' | ')}`;
  return { name, outcome: heldIf(complaints.length === 0), seen };
}
