/** What an approach is, in words: all of it from its descriptor, and what it cost from a comparison. */
import pc from 'picocolors';
import { type Descriptor, EFFORTS, type Effort, FACETS } from '../../migration/approach.js';
import type { ApproachRegistry } from '../../migration/registry.js';
import type { Left, StopDescriptor } from '../../migration/stop/stop.js';
import { table } from '../report/table.js';
import { formatBytes, formatCount } from '../report/words.js';
import type { CompareEntry, Comparison, Figures } from './figures.js';
import { HEADS, spreadText } from './text.js';

const EFFORT_WORDS: Readonly<Record<Effort, string>> = {
  tracking: 'tracking: which pages did the device write?',
  stop: 'stop: how does the device come to a point where it writes no more?',
  start: 'start: how does the guest get a working device at the destination?',
};

/** How a driver finds its device after a stop; completes "leaves" and "takes". */
const LEFT_WORDS: Readonly<Record<Left, string>> = {
  state: 'a device whose state travels',
  unplugged: 'an empty slot',
  asleep: 'a driver that waits for word',
  lost: 'a driver that believes its device at work',
  nothing: 'no device',
};

/** All approaches, each in a line. `width`: of the terminal. */
export function listText(registry: ApproachRegistry, width?: number): string {
  const parts = EFFORTS.map((effort) => {
    const rows = registry[effort].map(({ name, text }) => `  ${pc.bold(name)}\n${wrapped(text, width, 6)}`);
    return [EFFORT_WORDS[effort], ...rows].join('\n');
  });
  return `${parts.join('\n\n')}\n\n${wrapped('`ferry explain NAME` says more of one; `auto` takes the first that fits the machine.', width, 0)}\n`;
}

/** Where approaches of that name are: those of different efforts that belong together often share one. */
export const effortsOf = (registry: ApproachRegistry, name: string): readonly Effort[] =>
  EFFORTS.filter((effort) => registry[effort].some((one) => one.name === name));

/** All that is known of the approach of that name; `figures`: a comparison that it may be in, and where that stands. */
export function explainText(
  registry: ApproachRegistry,
  effort: Effort,
  name: string,
  figures: { readonly comparison: Comparison; readonly from: string },
  width?: number,
): string {
  const descriptor = registry[effort].find((one) => one.name === name)!;
  const line = (head: string, words: string): string => `${pc.bold(head)}\n${wrapped(words, width)}`;
  const parts = [
    `${pc.bold(`${effort} ${name}`)}\n${wrapped(descriptor.text, width)}`,
    ...(descriptor.steps.length === 0
      ? []
      : [
          `${pc.bold('What happens')}\n${descriptor.steps.map((step, i) => wrapped(`${i + 1}. ${step}`, width)).join('\n')}`,
        ]),
    ...(descriptor.use === '' ? [] : [line('When to use it', descriptor.use)]),
    ...(descriptor.limits === '' ? [] : [line("What it can't cope with, or costs", descriptor.limits)]),
    `${pc.bold('What it needs')}\n${needsOf(descriptor)
      .map((words) => wrapped(words, width))
      .join('\n')}`,
    line('What it goes with', goesWith(registry, effort, name)),
    ...(effort === 'start'
      ? [
          line(
            'Differences of the device at the destination that it copes with',
            listed(descriptor.copesWith),
          ),
        ]
      : []),
    line(
      'Time',
      descriptor.bounded
        ? 'its part ends in bounded time, whatever the guest does'
        : 'it waits for the guest, as long as the limits of the migration allow',
    ),
  ];
  if (figures !== undefined) {
    const { blackoutMs, gapMs, requestMs } = descriptor.goals ?? {};
    const goals = [
      ...(blackoutMs === undefined ? [] : [`blackout at most ${blackoutMs} ms`]),
      ...(gapMs === undefined ? [] : [`network gap at most ${gapMs} ms`]),
      ...(requestMs === undefined ? [] : [`the guest takes at least ${requestMs} ms to let the device go`]),
    ];
    if (goals.length > 0) parts.push(line('What it is meant to reach', goals.join(', ')));
    const { comparison, from } = figures;
    const entry = comparison.entries.find((one) => one.effort === effort && one.name === name);
    if (entry !== undefined)
      parts.push(`${pc.bold('What it cost')}\n${costOf(entry, comparison, from, width)}`);
  }
  return `${parts.join('\n\n')}\n`;
}

function needsOf({ serves, needs, without = [], guestFeatures }: Descriptor): readonly string[] {
  const guest = guestFeatures.length === 0 ? 'nothing' : `a driver that offers ${guestFeatures.join(', ')}`;
  if (serves === 'none') return ['of the machine: that it has no assigned device'];
  const ofDevice = [
    ...needs.map((facet) => FACETS[facet].has),
    ...without.map((facet) => `not that ${FACETS[facet].has}`),
  ];
  return [`of each device: ${ofDevice.join('; ') || 'nothing'}`, `of the guest: ${guest}`];
}

function goesWith(registry: ApproachRegistry, effort: Effort, name: string): string {
  if (effort === 'tracking') return 'every stop and every start';
  if (effort === 'start') {
    const { takes } = registry.start.find((one) => one.name === name)!;
    const stops = registry.stop.filter((stop) => waysOf(stop).some(({ leaves }) => takes.includes(leaves)));
    return `it takes ${takes.map((left) => LEFT_WORDS[left]).join(', or ')}: stop ${listed(stops.map((stop) => stop.name))}`;
  }
  const stop = registry.stop.find((one) => one.name === name)!;
  const left = [...new Set(waysOf(stop).map(({ leaves }) => leaves))];
  const starts = registry.start.filter(({ takes }) => takes.some((one) => left.includes(one)));
  const tried =
    stop.tries === undefined ? '' : `it tries ${listed(stop.tries.map((one) => one.name))}, in this order; `;
  return `${tried}it leaves ${left.map((one) => LEFT_WORDS[one]).join(', or ')}: start ${listed(starts.map((start) => start.name))}`;
}

const waysOf = (stop: StopDescriptor): readonly StopDescriptor[] => stop.tries ?? [stop];

const listed = (names: readonly string[]): string => (names.length === 0 ? 'none' : names.join(', '));

function costOf(
  entry: CompareEntry,
  { scenario, host, runs }: Comparison,
  from: string,
  width?: number,
): string {
  const conditions =
    `(${from}: ${runs} ${runs === 1 ? 'run' : 'runs'}, ${scenario.workload}, ${formatBytes(scenario.memoryBytes)}, ` +
    `${formatCount(scenario.rate)} packets/s; ${host.cpu}, ${host.cores} cores)`;
  const words =
    entry.outcome === 'impossible'
      ? `it was not possible there: ${entry.reason}`
      : entry.outcome === 'same'
        ? `it was the same choice there as ${entry.reason}`
        : undefined;
  if (words !== undefined) return wrapped(`${words} ${conditions}`, width);
  const names = Object.keys(HEADS) as (keyof Figures)[];
  const rows = names.map((name) => [HEADS[name], spreadText(name, entry.figures[name])]);
  const failed = entry.reason === undefined ? [] : [wrapped(`${entry.outcome}: ${entry.reason}`, width)];
  return [table(['', 'median (least to most)'], rows), ...failed, wrapped(conditions, width)].join('\n');
}

const WIDTH_MAX = 100;

/** Lines that no terminal of `width` cells has to break, with a margin. */
function wrapped(text: string, width = WIDTH_MAX, margin = 2): string {
  const room = Math.max(20, Math.min(width, WIDTH_MAX) - margin);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > room) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((one) => `${' '.repeat(margin)}${one}`).join('\n');
}
