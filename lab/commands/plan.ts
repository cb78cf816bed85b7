/** `ferry plan`: a migration on paper, from the user's figures and what moves of this VMM were measured to take. */
import { type Command, Option } from 'commander';
import { KIB } from '../../base/units.js';
import { labErrors } from '../errors.js';
import { WholeFile } from '../move/whole-file.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';
import {
  BadValue,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
  parseWhole,
} from '../options/quantities.js';
import {
  BUFFER_PLACES,
  CHOICE_DEFAULTS,
  completed,
  contradiction,
  defaultText,
  FIGURE_NAMES,
  FIGURES,
  type FigureKind,
  type FigureName,
  flagOf,
  LEAF_SIZES,
  type PlanInputs,
  TRACKINGS,
} from '../plan/inputs.js';
import { planMigration } from '../plan/model.js';
import { remediesFor } from '../plan/remedies.js';
import { assumedIn, type PlanResult, planText, UNKNOWN } from '../plan/text.js';

const NAME = 'ferry plan';
const FUNCTIONS_MAX = 256;
const ROUNDS_MAX = 10_000;

type Flags = Partial<PlanInputs> & { readonly report?: string; readonly json?: boolean };

const PARSERS: Readonly<Record<FigureKind, (text: string) => number>> = {
  size: (text) => parseSize(text, { min: 4 * KIB }),
  rate: (text) => parseRate(text),
  time: (text) => parseDuration(text),
  count: (text) => parseWhole(text, { max: FUNCTIONS_MAX }),
  percent: (text) => parseWhole(text, { max: 100 }),
};

/** Those that are narrower than their kind. */
const NARROWER: Partial<Record<FigureName, (text: string) => number>> = {
  bandwidth: (text) => parseRate(text, { min: KIB }),
  stateRate: (text) => parseRate(text, { min: KIB }),
  zeroRate: (text) => parseRate(text, { min: KIB }),
  maxRounds: (text) => parseWhole(text, { min: 1, max: ROUNDS_MAX }),
};

function parseLeaves(text: string): PlanInputs['leaves'] {
  const bytes = parseSize(text);
  const found = LEAF_SIZES.find((size) => size === bytes);
  if (found === undefined) {
    throw new BadValue(
      `'${text.slice(0, 40)}' is no leaf of VT-d's; write ${LEAF_SIZES.map(formatSize).join(', ')}`,
    );
  }
  return found;
}

export function define(command: Command): void {
  for (const name of FIGURE_NAMES) {
    const { kind, placeholder, text } = FIGURES[name];
    command.option(
      `${flagOf(name)} <${placeholder}>`,
      `${text} (default: ${defaultText(name)})`,
      optionValue(NAME, flagOf(name), NARROWER[name] ?? PARSERS[kind]),
    );
  }
  command
    .addOption(
      new Option(
        '--tracking <name>',
        `how the functions' writes are tracked (default: ${CHOICE_DEFAULTS.tracking})`,
      ).choices(TRACKINGS.map(({ name }) => name)),
    )
    .option(
      '--leaves <size>',
      `what one dirty bit of the IOMMU stands for, where these are read, ${LEAF_SIZES.map(formatSize).join(', ')} (default: ${formatSize(CHOICE_DEFAULTS.leaves)})`,
      optionValue(NAME, '--leaves', parseLeaves),
    )
    .addOption(
      new Option(
        '--buffers <where>',
        `where the functions' rings and buffers lie: together, or scattered over guest RAM (default: ${CHOICE_DEFAULTS.buffers})`,
      ).choices([...BUFFER_PLACES]),
    )
    .option('--no-auto-converge', 'do not slow the guest down')
    .option('--report <file>', 'write it with pictures, as one HTML file that needs nothing else')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
Nothing is moved: rounds, blackout and total time are calculated, with the decisions that a source of this VMM makes between rounds.
Where the limit is not met it is looked for what would make it. What is not given is taken as said above, and named in the result;
docs/planning.md holds the model against moves that were made, and against published figures.

Examples:
  ferry plan --memory 64GiB --bandwidth 25Gbit/s --dirty-rate 500MiB/s --working-set 8GiB
  ferry plan --memory 1TiB --bandwidth 100Gbit/s --dirty-rate 4GiB/s --vfs 4 --device-state 500MiB --tracking iommu-dirty --leaves 2MiB
  ferry plan --memory 256GiB --vfs 1 --downtime-limit 100ms --report plan.html

${exitStatuses('the plan was made, whether or not it meets the limit', ['environment'])}`,
    )
    .action(async () => plan(command.optsWithGlobals<Flags>()));
}

async function plan({ report, json, ...given }: Flags): Promise<void> {
  const inputs = completed(given);
  const why = contradiction(inputs);
  if (why !== undefined) throw labErrors.error('usage', { why, command: NAME });
  const file = report === undefined ? undefined : new WholeFile(report, 'report');
  const result: PlanResult = {
    inputs,
    assumed: assumedIn(given),
    plan: planMigration(inputs),
    remedies: remediesFor(inputs),
    unknown: UNKNOWN,
  };
  process.stdout.write(
    json ? `${JSON.stringify(result, null, 2)}\n` : planText(result, process.stdout.columns),
  );
  if (file === undefined) return;
  const { planReport } = await import('../plan/report.js');
  const cut = file.write(planReport(result));
  file.close();
  if (cut !== undefined) throw cut;
}
