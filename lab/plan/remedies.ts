/** What would make a migration meet its downtime limit: single changes, or two together where one is not enough. */
import { KIB } from '../../base/units.js';
import { CHOICE_DEFAULTS, figureText, flagOf, type PlanInputs, trackingOf } from './inputs.js';
import { planMigration } from './model.js';

export interface Change {
  /** Option of the command. */
  readonly option: string;
  /** What it has to be. */
  readonly words: string;
}

/** Changes that do it together. */
export type Remedy = readonly Change[];

/** A link a thousand times as fast is no advice. */
const FACTOR_MAX = 1000;
/** Steps of looking for a border, which end when it is known to a thousandth. */
const STEPS_MAX = 40;

const meets = (inputs: PlanInputs): boolean => planMigration(inputs).meetsLimit;

/** What can only be one way or the other, as far as it is not so already. */
function choices(inputs: PlanInputs): readonly (Change & { readonly changed: Partial<PlanInputs> })[] {
  const { maxBandwidth, autoConverge, vfs, leaves, stateAhead, pinRate } = inputs;
  const usual = CHOICE_DEFAULTS.tracking;
  const { converges, byLeaf } = trackingOf(inputs);
  const all = [
    [maxBandwidth > 0, '--max-bandwidth', 'none', { maxBandwidth: 0 }],
    [!autoConverge, '--auto-converge', 'on', { autoConverge: true }],
    [
      vfs > 0 && !converges,
      '--tracking',
      `${usual} with leaves of 4 KiB`,
      { tracking: usual, leaves: 4 * KIB },
    ],
    [vfs > 0 && byLeaf && leaves > 4 * KIB, '--leaves', '4KiB', { leaves: 4 * KIB }],
    [vfs > 0 && stateAhead < 90, '--state-ahead', '90, by a device with PRE_COPY', { stateAhead: 90 }],
    [vfs > 0 && pinRate > 0, '--pin-rate', 'none: RAM mapped before the stop', { pinRate: 0 }],
  ] as const;
  return all
    .filter(([possible]) => possible)
    .map(([, option, words, changed]) => ({ option, words, changed: changed as Partial<PlanInputs> }));
}

const FIGURES_TO_CHANGE = ['bandwidth', 'dirtyRate', 'downtimeLimit'] as const;

/** How far the figure has to be changed, if that is enough. */
function figureChange(inputs: PlanInputs, name: (typeof FIGURES_TO_CHANGE)[number]): Change | undefined {
  const to = name === 'dirtyRate' ? 0 : Math.max(inputs[name], 1) * FACTOR_MAX;
  const does = (value: number): boolean => meets({ ...inputs, [name]: value });
  if (!does(to)) return undefined;
  let [no, yes] = [inputs[name], to];
  for (let step = 0; step < STEPS_MAX && Math.abs(yes - no) > yes * 1e-3; step++) {
    const middle = (no + yes) / 2;
    if (does(middle)) yes = middle;
    else no = middle;
  }
  // In whole milliseconds, and never on the wrong side.
  const value = name === 'downtimeLimit' ? Math.ceil(yes / 1e6) * 1e6 : yes;
  return {
    option: flagOf(name),
    words: `${name === 'dirtyRate' ? 'at most' : 'at least'} ${figureText(name, value)}`,
  };
}

/** Nothing where the limit is met already. A higher limit always comes last. */
export function remediesFor(inputs: PlanInputs): readonly Remedy[] {
  if (meets(inputs)) return [];
  const figures = (of: PlanInputs): Change[] =>
    FIGURES_TO_CHANGE.flatMap((name) => figureChange(of, name) ?? []);
  const possible = choices(inputs);
  const higherLimit = flagOf('downtimeLimit');
  const alone = figures(inputs);
  const single: Remedy[] = [
    ...possible.filter(({ changed }) => meets({ ...inputs, ...changed })).map(bare),
    ...alone.filter(({ option }) => option !== higherLimit),
  ].map((change) => [change]);
  const limit: Remedy[] = alone.filter(({ option }) => option === higherLimit).map((change) => [change]);
  if (single.length > 0) return [...single, ...limit];
  const pairs = possible.flatMap((one, i): Remedy[] => {
    const with_ = { ...inputs, ...one.changed };
    return [
      ...possible
        .slice(i + 1)
        .filter(({ changed }) => meets({ ...with_, ...changed }))
        .map(bare),
      ...figures(with_).filter(({ option }) => option !== higherLimit),
    ].map((other) => [bare(one), other]);
  });
  return [...pairs, ...limit];
}

const bare = ({ option, words }: Change): Change => ({ option, words });
