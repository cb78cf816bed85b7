/** What came of a campaign, in words. */
import { formatCount } from '../report/words.js';
import type { SeedFailure, Tally } from './campaign.js';

export interface Pace {
  readonly seconds: number;
  readonly jobs: number;
  /** What `jobs` counts; threads if absent. */
  readonly of?: 'workers';
  /** Seeds that were done before. */
  readonly before?: number;
}

/** `1,200 seeds, 41 a second, nothing found`. */
export function progressLine({ seeds, failures }: Tally, { seconds, before = 0 }: Pace): string {
  const found = failures.length === 0 ? 'nothing found' : `${formatCount(failures.length)} FAILED`;
  const rate = seconds > 0 ? ((seeds - before) / seconds).toFixed(0) : '0';
  return `${formatCount(seeds)} seeds, ${rate} a second, ${found}`;
}

/** Several lines. `again` gives the command that replays one seed under so many faults. */
export function campaignText(
  tally: Tally,
  pace: Pace,
  again: (seed: number, plan: readonly string[]) => string,
): string {
  const { seeds, virtualNs, ends, struck, idle, failures } = tally;
  const lines = [
    `${progressLine(tally, pace)}; ${pace.seconds.toFixed(1)} s on ${pace.jobs} ${pace.of ?? 'threads'}, ${(virtualNs / 1e9).toFixed(1)} s of virtual time`,
    `ends (source, destination): ${counted(ends)}`,
    `faults that struck: ${counted(struck)}`,
    `faults that had no occasion: ${counted(idle)}`,
  ];
  if (seeds > 0 && failures.length === 0) lines.push('all checks held for every seed');
  for (const failure of failures.slice(0, SHOWN_MAX)) lines.push(...failureLines(failure, again));
  if (failures.length > SHOWN_MAX) lines.push(`and ${formatCount(failures.length - SHOWN_MAX)} more seeds`);
  return `${lines.join('\n')}\n`;
}

const SHOWN_MAX = 20;

function failureLines(
  { seed, violations, plan, shortest }: SeedFailure,
  again: (seed: number, plan: readonly string[]) => string,
): readonly string[] {
  return [
    `seed ${seed} FAILED under ${plan.join(' ') || 'no fault'}`,
    ...violations.map(({ checker, finding }) => `  ${checker}: ${finding}`),
    `  shortest plan: ${shortest.join(' ') || 'none'}`,
    `  again: ${again(seed, shortest)}`,
  ];
}

const counted = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .map(([name, count]) => `${name} ${formatCount(count)}`)
    .join('; ') || 'none';

/** What the lines of an event log mean. */
export const TRACE_LEGEND = `time in ns, then one of:
  SIDE sends KIND (BYTES)   a control message leaves
  fault NAME                a fault of the plan strikes
  rule plan: VERDICT        what becomes of that message
  SIDE: -> STATE            run state of that VMM, with QEMU's names
  SIDE: EVENT {...}         event at that VMM's monitor
  SIDE: guest: LINE         the guest there writes to its console
  SIDE: did COMMAND         its monitor carried out a command, or did not
  SIDE: gone                its process was ended
  link broken               the control connection is gone for both sides
The last line before the hash is the account of the traffic.
`;
