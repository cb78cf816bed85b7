/**
 * What a plan is made from: the user's figures, and for all that they leave out a default, said to be one. Declared once as a
 * table: the command's options, their help and the list of what was assumed derive from it.
 */
import { invariant } from '../../base/errors.js';
import { GIB, KIB, MIB } from '../../base/units.js';
import { defaultParameters } from '../../migration/parameters.js';
import { builtIn } from '../../migration/registry.js';
import type { TrackingDescriptor } from '../../migration/tracking/tracking.js';
import { formatDuration } from '../options/quantities.js';
import { formatBytes, formatCount, formatRate } from '../report/words.js';

export type FigureKind = 'size' | 'rate' | 'time' | 'count' | 'percent';

/**
 * Where a default comes from: `same`: of another figure; `parameter`: as the product is set; `ours`: measured on this VMM's own
 * moves; `guess`: a common case, which says nothing of the user's.
 */
export type Origin = 'same' | 'parameter' | 'ours' | 'guess';

interface Figure {
  readonly kind: FigureKind;
  /** Of the option, as commander writes it. */
  readonly placeholder: string;
  readonly text: string;
  readonly default: number;
  readonly origin: Origin;
  /** Whose value it has if it is not given; goes before `default`. */
  readonly sameAs?: 'memory' | 'used';
  /** What 0 means. */
  readonly zero?: string;
}

const figure = (
  kind: FigureKind,
  value: number,
  origin: Origin,
  text: string,
  more: Pick<Figure, 'sameAs' | 'zero'> = {},
): Figure => ({
  kind,
  placeholder: { size: 'size', rate: 'rate', time: 'time', count: 'n', percent: 'percent' }[kind],
  text,
  default: value,
  origin,
  ...more,
});

const { downtimeLimitMs, maxRounds } = defaultParameters;

/** Sizes in bytes, rates in bytes a second, times in nanoseconds. */
export const FIGURES = {
  memory: figure('size', 16 * GIB, 'guess', 'guest RAM'),
  used: figure('size', 0, 'same', 'of it, pages that are not zero', { sameAs: 'memory' }),
  bandwidth: figure('rate', 1.25e9, 'guess', 'what the link carries, over all channels'),
  maxBandwidth: figure('rate', 0, 'parameter', 'limit while the guest runs', { zero: 'none' }),
  dirtyRate: figure(
    'rate',
    50 * MIB,
    'guess',
    'how fast the vCPUs write pages, one that is written again counted again',
  ),
  workingSet: figure('size', 0, 'same', 'memory that they write to, all of it alike', { sameAs: 'used' }),
  cpuLoad: figure(
    'percent',
    100,
    'guess',
    'of its CPU time that the guest needs to write so fast: a throttle slows it down when it leaves less',
  ),
  vfs: figure('count', 0, 'guess', 'assigned functions'),
  deviceDirtyRate: figure('rate', 100 * MIB, 'guess', 'how fast each function writes'),
  deviceMemory: figure('size', 16 * MIB, 'guess', 'rings and buffers that each function writes to'),
  deviceState: figure('size', 4 * KIB, 'ours', "each function's state"),
  stateAhead: figure('percent', 0, 'guess', 'of the state that goes while the guest runs, as PRE_COPY does'),
  stateRate: figure('rate', 700e6, 'guess', 'at which a function gives its state, or takes it in'),
  deviceLoad: figure(
    'time',
    2.5e6,
    'ours',
    'what each function takes at the destination beside its state, one after another',
  ),
  pinRate: figure('rate', 0, 'ours', 'at which the destination pins and maps RAM after the stop', {
    zero: 'all is mapped before',
  }),
  downtimeLimit: figure('time', downtimeLimitMs * 1e6, 'parameter', 'blackout to aim for'),
  maxRounds: figure('count', maxRounds, 'parameter', 'rounds before the switchover is forced'),
  zeroRate: figure('rate', 1.1 * GIB, 'ours', 'at which pages that are zero are found and told of'),
  setUp: figure('time', 0.3e9, 'ours', 'from the command to the first round'),
  roundTrip: figure('time', 1.2e6, 'ours', 'question and answer between two busy hosts'),
  harvest: figure(
    'time',
    0.6e6,
    'ours',
    "reading the vCPUs' dirty log, and asking devices, without the scan",
  ),
  quiesce: figure('time', 0.5e6, 'ours', 'until the functions write no more'),
  pause: figure('time', 1e6, 'ours', 'until the vCPUs stand'),
  load: figure('time', 2.2e6, 'ours', 'check and load of a machine without functions'),
  start: figure('time', 4e6, 'ours', 'from the commit to the first instruction'),
} as const satisfies Readonly<Record<string, Figure>>;

export type FigureName = keyof typeof FIGURES;
export const FIGURE_NAMES = Object.keys(FIGURES) as FigureName[];

/** What one dirty bit of VT-d's tables can stand for. */
export const LEAF_SIZES = [4 * KIB, 2 * MIB, GIB] as const;

/** Where a device's buffers are: as a driver gets them that allocates them at boot, or one whose guest has run for long. */
export const BUFFER_PLACES = ['together', 'scattered'] as const;

export interface PlanChoices {
  /** A name of `TRACKINGS`. */
  readonly tracking: string;
  readonly leaves: (typeof LEAF_SIZES)[number];
  readonly buffers: (typeof BUFFER_PLACES)[number];
  readonly autoConverge: boolean;
}

export type PlanInputs = Readonly<Record<FigureName, number>> & PlanChoices;

/** What a plan can be told to track functions with, as a machine with devices prefers them. */
export const TRACKINGS: readonly TrackingDescriptor[] = builtIn.tracking.filter(
  ({ serves }) => serves === 'device',
);

export const CHOICE_DEFAULTS: PlanChoices = {
  tracking: TRACKINGS[0]!.name,
  leaves: 4 * KIB,
  buffers: 'scattered',
  autoConverge: defaultParameters.autoConverge,
};

/** `given` with all that it leaves out. */
export function completed(given: Partial<PlanInputs>): PlanInputs {
  const figures = {} as Record<FigureName, number>;
  // One that another is the same as stands before it.
  for (const name of FIGURE_NAMES) {
    const { sameAs, default: value } = FIGURES[name] as Figure;
    figures[name] = given[name] ?? (sameAs === undefined ? value : figures[sameAs]);
  }
  return { ...CHOICE_DEFAULTS, ...given, ...figures };
}

/** Which figures contradict each other, as a sentence; undefined if none do. */
export function contradiction(inputs: PlanInputs): string | undefined {
  const { memory, used, workingSet, vfs, deviceMemory } = inputs;
  if (used > memory) return `--used ${formatBytes(used)} is more than --memory ${formatBytes(memory)}`;
  if (workingSet > memory)
    return `--working-set ${formatBytes(workingSet)} is more than --memory ${formatBytes(memory)}`;
  if (vfs * deviceMemory > memory)
    return `--device-memory ${formatBytes(deviceMemory)} of ${vfs} functions is more than --memory ${formatBytes(memory)}`;
  return undefined;
}

/** `--device-memory`. */
export const flagOf = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

export function figureText(name: FigureName, value: number): string {
  const { kind, zero } = FIGURES[name] as Figure;
  if (value === 0 && zero !== undefined) return zero;
  switch (kind) {
    case 'size':
      return formatBytes(value);
    case 'rate':
      return formatRate(value);
    case 'time':
      return formatDuration(value);
    case 'count':
      return formatCount(value);
    case 'percent':
      return `${value} %`;
  }
}

/** The default as the help says it. */
export function defaultText(name: FigureName): string {
  const { sameAs, default: value } = FIGURES[name] as Figure;
  return sameAs === undefined ? figureText(name, value) : `as ${flagOf(sameAs)}`;
}

/** Figures of a machine without functions that say nothing. */
const OF_FUNCTIONS: readonly FigureName[] = [
  'deviceDirtyRate',
  'deviceMemory',
  'deviceState',
  'stateAhead',
  'stateRate',
  'deviceLoad',
  'pinRate',
  'quiesce',
];

/** Names of the figures that were taken from defaults of that origin, and matter here. */
export const assumed = (given: Partial<PlanInputs>, origin: Origin): readonly FigureName[] =>
  FIGURE_NAMES.filter(
    (name) =>
      FIGURES[name].origin === origin &&
      given[name] === undefined &&
      (name !== 'zeroRate' || given.used !== undefined) &&
      (Boolean(given.vfs) || !OF_FUNCTIONS.includes(name)),
  );

/** How the functions' writes are tracked. */
export const trackingOf = ({ tracking }: PlanInputs): TrackingDescriptor => {
  const found = TRACKINGS.find(({ name }) => name === tracking);
  invariant(found !== undefined, `no tracking ${tracking}`);
  return found;
};
