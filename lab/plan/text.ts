/** A plan as tables and sentences for people. */
import pc from 'picocolors';
import { blackoutTable, roundsEndLine } from '../report/migration-tables.js';
import { table } from '../report/table.js';
import { formatBytes, formatCount, formatRate, formatTime } from '../report/words.js';
import { assumed, FIGURES, figureText, flagOf, type Origin, type PlanInputs } from './inputs.js';
import type { Plan, PlannedRound } from './model.js';
import type { Remedy } from './remedies.js';

export interface PlanResult {
  readonly inputs: PlanInputs;
  /** Names of what was not given, by where its default comes from. */
  readonly assumed: Readonly<Record<'guess' | 'ours', readonly string[]>>;
  readonly plan: Plan;
  readonly remedies: readonly Remedy[];
  /** What no figure of this plan says. */
  readonly unknown: readonly string[];
}

/** What the model leaves out, whoever asks. */
export const UNKNOWN: readonly string[] = [
  'whether the hosts keep up with the link: copying, hashing and encrypting take CPU time',
  'how a guest writes that does not write all of its working set alike, or writes in bursts',
  'what a device does on its own account when it stops and starts: firmware, links that come up, resources that are set up',
  'what several devices cost each other at the destination: they are loaded one after another, each in its own time',
  'how long a network takes to hear of the new place',
];

/** The figures that a reader knows the plan by. */
export function planHeading(inputs: PlanInputs): string {
  const { memory, bandwidth, dirtyRate, workingSet, vfs } = inputs;
  const functions = vfs === 0 ? '' : `, ${vfs} ${vfs === 1 ? 'function' : 'functions'}`;
  return (
    `${formatBytes(memory)} of RAM over ${((bandwidth * 8) / 1e9).toPrecision(3)} Gbit/s, ` +
    `written at ${formatRate(dirtyRate)} in ${formatBytes(workingSet)}${functions}`
  );
}

export const ROUND_HEADS: readonly string[] = [
  'round',
  'time',
  'pages',
  'bytes',
  'by CPU',
  'by device',
  'harvest',
  'throttle',
];

/** Of many rounds; those between are much like those beside them. */
const FIRST_SHOWN = 12;
const LAST_SHOWN = 3;

export function roundRows({ rounds }: Plan): string[][] {
  const count = (pages: number): string => formatCount(Math.round(pages));
  const row = (one: PlannedRound): string[] => [
    String(one.round),
    formatTime(one.durationNs),
    count(one.pages),
    formatBytes(one.bytes),
    count(one.dirtied.cpu),
    count(one.dirtied.device),
    formatTime(one.harvestNs),
    one.throttlePercent === 0 ? '' : `${one.throttlePercent} %`,
  ];
  if (rounds.length <= FIRST_SHOWN + LAST_SHOWN) return rounds.map(row);
  return [
    ...rounds.slice(0, FIRST_SHOWN).map(row),
    ROUND_HEADS.map(() => '...'),
    ...rounds.slice(-LAST_SHOWN).map(row),
  ];
}

/** Whether it is met, in a sentence. */
export function verdictLine(
  { blackout, meetsLimit, totalNs, bytes }: Plan,
  { downtimeLimit }: PlanInputs,
): string {
  return (
    `${formatTime(totalNs)} in all, ${formatBytes(bytes)} sent; the guest stands still for ${formatTime(blackout.totalNs)}, ` +
    `${meetsLimit ? 'within' : 'beyond'} the limit of ${formatTime(downtimeLimit)}`
  );
}

/** What would make it, or that nothing would; empty where the limit is met. */
export function remedyLines({ plan, remedies }: PlanResult): string[] {
  if (plan.meetsLimit) return [];
  const floor = `${formatTime(plan.floorNs)} of it would be left without a page to send`;
  if (remedies.length === 0)
    return [floor, 'no one or two changes within reason would bring it within the limit'];
  return [
    floor,
    'each of these lines would bring it within the limit:',
    ...remedies.map(
      (changes) => `  ${changes.map(({ option, words }) => `${option} ${words}`).join('; with ')}`,
    ),
  ];
}

const ORIGIN_WORDS = {
  guess: 'not given, and taken as:',
  ours: 'not given, and taken from moves of this VMM on two cores, which is not your hardware:',
} as const satisfies Partial<Record<Origin, string>>;

/** All that was taken without being given. */
export function assumedLines({ inputs, assumed: names }: PlanResult): string[] {
  return (['guess', 'ours'] as const).flatMap((origin) =>
    names[origin].length === 0
      ? []
      : [
          ORIGIN_WORDS[origin],
          ...names[origin].map((name) => {
            const figure = name as keyof typeof FIGURES;
            return `  ${flagOf(figure)} ${figureText(figure, inputs[figure])}: ${FIGURES[figure].text}`;
          }),
        ],
  );
}

export const assumedIn = (given: Partial<PlanInputs>): PlanResult['assumed'] => ({
  guess: assumed(given, 'guess'),
  ours: assumed(given, 'ours'),
});

/** `width`: of the terminal. */
export function planText(result: PlanResult, width?: number): string {
  const { inputs, plan, unknown } = result;
  return [
    pc.bold(planHeading(inputs)),
    '',
    table(ROUND_HEADS, roundRows(plan), { width, spare: ['harvest', 'throttle', 'bytes'] }),
    roundsEndLine(plan.rounds.length, plan.roundsEnd),
    '',
    blackoutTable(plan.blackout, plan.expected, undefined, width),
    'expected: by the source as it ends the rounds, from what it has measured by then',
    '',
    pc.bold(verdictLine(plan, inputs)),
    ...remedyLines(result),
    '',
    ...assumedLines(result),
    'what this does not know:',
    ...unknown.map((words) => `  ${words}`),
    '',
  ].join('\n');
}
