/** Fills the table of an axis: one move for each approach in each circumstance. */
import { isFerryError } from '../../../base/errors.js';
import { EXIT_STATUS } from '../../../base/exit-status.js';
import { MIB } from '../../../base/units.js';
import type { MigrationRecord } from '../../../migration/record.js';
import { labErrors } from '../../errors.js';
import { type MigrateResult, migrate } from '../../move/move.js';
import { NETWORK_CHECKS } from '../../move/network-verdict.js';
import { judgeValues } from '../../move/option-values.js';
import { type MigrateOptions, scenarioOf } from '../../move/scenario.js';
import { MOVED_ONLY } from '../../move/verdict.js';
import type { CompareOptions } from '../compare.js';
import { contestants } from '../contestants.js';
import { hostOf } from '../figures.js';
import { machineFor } from '../machine-for.js';
import {
  type Cell,
  CIRCUMSTANCES_VERSION,
  type CircumstanceAxis,
  type CircumstanceTable,
  type Phase,
} from './circumstance.js';
import { destinations } from './destinations.js';
import { guests } from './guests.js';

/** All that there are. */
export const CIRCUMSTANCE_AXES: readonly CircumstanceAxis[] = [destinations, guests];

/** What is looked at is how a move ends: a small guest with little traffic does as well. */
const USUAL = { workload: 'ledger', memoryBytes: 64 * MIB, rate: 2000, settleMs: 500 } as const;

/** What is told as it goes. */
export interface CellProgress {
  readonly cell: Cell;
  /** Cells that are filled, this among them, and all. */
  readonly done: number;
  readonly all: number;
}

/** Resolves whatever comes of the single moves. Rejects as `compare` does. */
export async function fillTable(
  axis: CircumstanceAxis,
  options: Omit<CompareOptions, 'axis' | 'runs'> = {},
  onCell: (progress: CellProgress) => void = () => undefined,
  run: (options: MigrateOptions) => Promise<MigrateResult> = migrate,
): Promise<CircumstanceTable> {
  const { approaches = {}, ...given } = options;
  if (given.flows?.length === 0) {
    const why = `--flow none says nothing with --axis ${axis.name}: how a move ended is told by what its flows went through`;
    throw labErrors.error('usage', { why, command: 'ferry compare' });
  }
  const { contestants: found, registry } = await contestants(axis.effort, approaches);
  const asked: MigrateOptions = { ...USUAL, ...axis.usual, ...given };
  judgeValues(asked);
  const { tracking, stop, start, ...scenario } = scenarioOf(asked);
  const cells: Cell[] = [];
  const all = axis.circumstances.length * found.length;
  for (const circumstance of axis.circumstances) {
    for (const contestant of found) {
      const nic = machineFor(contestant, registry, scenario.nic);
      const cell = await cellOf(circumstance.name, contestant.name, () => {
        const { flows, ...particular } = circumstance.options(nic);
        // Without flows there is nothing to be said of them.
        const { rate, payloadBytes, ...rest } = asked;
        const base = flows?.length === 0 ? { ...rest, flows } : { ...asked, ...(flows && { flows }) };
        return run({ ...base, ...contestant.asked, nic, ...particular, seed: scenario.seed });
      });
      const approach = registry[axis.effort].find(({ name }) => name === contestant.name)!;
      const wrong = axis.wrong?.(circumstance, approach, cell, asked);
      const reason = cell.reason === undefined ? wrong : `${wrong} (${cell.reason})`;
      cells.push(wrong === undefined ? cell : { ...cell, ending: 'failed', reason });
      onCell({ cell: cells.at(-1)!, done: cells.length, all });
    }
  }
  return {
    version: CIRCUMSTANCES_VERSION,
    axis: axis.name,
    head: axis.head,
    effort: axis.effort,
    host: hostOf(),
    scenario,
    approaches: found.map(({ name }) => name),
    circumstances: axis.circumstances.map(({ name, text }) => ({ name, text })),
    cells,
  };
}

/** 0 if every approach copes in each circumstance, or refuses as it may. */
export const tableStatus = ({ cells }: CircumstanceTable): number =>
  cells.some(({ ending }) => ending === 'failed') ? EXIT_STATUS['not-verified'] : 0;

async function cellOf(
  circumstance: string,
  approach: string,
  move: () => Promise<MigrateResult>,
): Promise<Cell> {
  const common = { circumstance, approach };
  try {
    const { verdict, record, cpu } = await move();
    const { fallbacks = [], approaches, totalNs } = record ?? {};
    const fellBackTo = fallbacks.map(({ to }) => to);
    const figures = { ...common, approaches, fellBackTo, totalNs, guestCpuNs: cpu.move?.guestNs };
    const problem = record?.devices.find((device) => device.problem !== undefined)?.problem;
    const failed = verdict.checks.filter(({ outcome }) => outcome === 'failed');
    if (problem !== undefined && failed.every(({ name }) => NETWORK_CHECKS.includes(name)))
      return { ...figures, ending: 'without-device', phase: undefined, reason: problem };
    if (verdict.outcome === 'verified') {
      const reason = fallbacks.map(({ to, because }) => `${to}, because ${because}`).join('; ');
      return fallbacks.length === 0
        ? { ...figures, ending: 'verified', phase: undefined, reason: undefined }
        : { ...figures, ending: 'fell-back', phase: undefined, reason };
    }
    const phase = record === undefined ? undefined : phaseOf(record);
    const wrong = failed.find(({ name }) => phase === 'committed' || !MOVED_ONLY.includes(name));
    const reason = wrong === undefined ? record?.error?.message : `${wrong.name}: ${wrong.seen}`;
    const refused = wrong === undefined && record?.guest === 'here' && phase !== 'committed';
    return { ...figures, ending: refused ? 'refused' : 'failed', phase, reason };
  } catch (error) {
    if (!isFerryError(error) || error.exit === 'usage') throw error;
    const none = { approaches: undefined, fellBackTo: [], totalNs: undefined, guestCpuNs: undefined };
    // A choice that contradicts itself is refused before there is a guest.
    const refused = error.code === 'migration/approach';
    const ending = refused ? 'refused' : 'failed';
    return { ...common, ...none, ending, phase: refused ? 'unsent' : undefined, reason: error.message };
  }
}

/** How far a migration had come that did not end well. */
function phaseOf({ status, guest, rounds, interruptionNs }: MigrationRecord): Phase {
  if (status === 'completed' || guest !== 'here') return 'committed';
  if (interruptionNs !== undefined) return 'stood-still';
  return rounds.length === 0 ? 'unsent' : 'running';
}
