/** What came of a move, in words and as an exit status. */
import pc from 'picocolors';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { blackoutTable, phaseTable, summaryLines } from '../report/migration-tables.js';
import { formatTime } from '../report/words.js';
import type { Outcome } from './check.js';
import type { MigrateResult } from './move.js';
import { networkLines, networkTable } from './network-tables.js';

/** What is shown of a move, and by which it is judged: of one of ours, or of another VMM's. */
export interface ShownMove extends Pick<MigrateResult, 'verdict' | 'record' | 'network' | 'unwritten'> {
  /** The last line, of the run and not of the guest. */
  readonly foot: string;
  /** A verified move in words. */
  readonly verified?: string;
}

const VERIFIED = 'VERIFIED: the guest moved, byte for byte, and goes on';

/** Of a move of ours. */
export const shown = (result: MigrateResult): ShownMove => ({
  ...result,
  foot: `first console line ${result.bootMs.toFixed(0)} ms after the start; seed ${result.scenario.seed}`,
});

/** As the verdict is; a move that is well, but of which not all was written that was to be, is no success either. */
export function exitStatusOf({
  verdict,
  record,
  unwritten,
}: Pick<ShownMove, 'verdict' | 'record' | 'unwritten'>): number {
  switch (verdict.outcome) {
    case 'verified':
      return unwritten[0]?.exitStatus ?? 0;
    case 'unverified':
      return EXIT_STATUS['not-verified'];
    case 'failed':
      return record?.error?.exitStatus ?? EXIT_STATUS['not-verified'];
  }
}

/** Tables for a terminal of this `width`, verdict, and what could not be written. */
export function resultText(result: ShownMove, width?: number): string {
  const { record, network, foot } = result;
  const parts: string[] = [''];
  if (record !== undefined) {
    parts.push(phaseTable(record, width), ...summaryLines(record), '');
    if (record.blackout !== undefined)
      parts.push(blackoutTable(record.blackout, record.expected, record.destination, width));
    const { mode, durationNs = 0 } = record.verification ?? {};
    if (mode === 'full') {
      parts.push(`full verification took ${formatTime(durationNs)}, not counted in the blackout`);
    } else if (mode === 'after') {
      parts.push(`full verification took ${formatTime(durationNs)}, while the guest ran at the destination`);
    }
    parts.push('');
    if (network !== undefined) parts.push(networkTable(network, width), ...networkLines(network, record), '');
    if (record.error !== undefined)
      parts.push(`${pc.red(record.error.message)}\n  ${record.error.advice}`, '');
  }
  parts.push(verdictText(result));
  parts.push(pc.dim(foot), '');
  return parts.join('\n');
}

/** Told apart without colour, too. */
const SIGN: Readonly<Record<Outcome, string>> = {
  held: pc.green('✔'),
  failed: pc.red('✘'),
  'not-checked': pc.yellow('– not checked:'),
};

function verdictText({ verdict, unwritten, verified = VERIFIED }: ShownMove): string {
  const lines = verdict.checks.map(
    ({ name, outcome, seen }) => `${SIGN[outcome]} ${name} ${pc.dim(`(${seen})`)}`,
  );
  const cut = unwritten.map(({ message, advice }) => `${SIGN.failed} ${message}\n  ${advice}`);
  const words = {
    verified: pc.bold(pc.green(verified)),
    unverified: pc.bold(pc.yellow('MOVED, NOT VERIFIED: memory was not compared (--verify off)')),
    failed: pc.bold(pc.red('NOT VERIFIED')),
  }[verdict.outcome];
  const but = unwritten.length === 0 ? '' : pc.bold(pc.red(', BUT NOT ALL WAS WRITTEN'));
  return [...lines, ...cut, '', `${words}${but}`].join('\n');
}
