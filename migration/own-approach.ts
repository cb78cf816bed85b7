/**
 * Approaches that users bring: what a module exports is judged before it is offered, and what it throws at work becomes a
 * typed error that names it, so that a mistake in it ends a migration and not the VMM.
 */
import { isFerryError } from '../base/errors.js';
import { type Descriptor, DIFFERENCES, type Effort, FACETS, ordinary } from './approach.js';
import { migrationErrors } from './errors.js';
import { type ApproachRegistry, AUTO } from './registry.js';
import type { StartDescriptor } from './start/start.js';
import { LEFT_TEXT, type StopDescriptor } from './stop/stop.js';
import type { TrackingDescriptor } from './tracking/tracking.js';

/** What a module has to say of its approach; the rest is as in most approaches if it is left out. */
type Own<D extends Descriptor, Said extends keyof D> = Pick<D, 'name' | 'text' | ('make' & keyof D) | Said> &
  Partial<Omit<D, 'problem'>>;
export type OwnTracking = Own<Omit<TrackingDescriptor, 'tries'>, 'converges'>;
export type OwnStop = Own<Omit<StopDescriptor, 'tries'>, 'leaves'>;
export type OwnStart = Own<Omit<StartDescriptor, 'prepare' | 'remember' | 'readOut'>, 'takes'>;

/** A tracking or a stop that is not one way but several: it makes nothing by itself. */
export interface OwnTries extends Partial<Omit<Descriptor, 'name' | 'text' | 'problem'>> {
  readonly name: string;
  readonly text: string;
  /** Names of those that are tried, in this order. */
  readonly tries: readonly string[];
}

/** Judges a value: what it would have to be, if it is not. */
type Rule = (value: unknown) => string | undefined;

const kind =
  (type: 'string' | 'boolean' | 'function', words: string): Rule =>
  (value) =>
    typeof value === type && value !== '' ? undefined : words;
const text = kind('string', 'a text');
const listOf =
  (words: string, each: (item: unknown) => boolean, min = 0): Rule =>
  (value) =>
    Array.isArray(value) && value.length >= min && value.every(each) ? undefined : words;
const someOf = (known: readonly string[], min = 0): Rule =>
  listOf(
    `a list of ${min > 0 ? 'at least one of ' : ''}${known.join(', ')}`,
    (item) => known.includes(item as string),
    min,
  );
const oneOf =
  (known: readonly string[]): Rule =>
  (value) =>
    known.includes(value as string) ? undefined : `one of ${known.join(', ')}`;

const truth = kind('boolean', 'true or false');

const NAME = /^[a-z][a-z0-9-]{0,39}$/;
const LEFT = Object.keys(LEFT_TEXT);

const COMMON: Readonly<Record<Exclude<keyof Descriptor, 'problem'>, Rule>> = {
  name: (value) =>
    typeof value === 'string' && NAME.test(value) && value !== AUTO
      ? undefined
      : `small letters, digits and hyphens, at most 40, and not ${AUTO}`,
  text,
  steps: listOf('a list of texts', (item) => typeof item === 'string'),
  use: text,
  limits: text,
  serves: oneOf(['device', 'none']),
  needs: someOf(Object.keys(FACETS)),
  without: someOf(Object.keys(FACETS)),
  betterWithout: someOf(Object.keys(FACETS)),
  guestFeatures: listOf('a list of texts', (item) => typeof item === 'string'),
  copesWith: someOf(DIFFERENCES),
  bounded: truth,
  goals: (value) => {
    const right =
      typeof value === 'object' &&
      value !== null &&
      Object.entries(value).every(([name, ms]) => /^(blackout|gap|request)Ms$/.test(name) && ms > 0);
    return right ? undefined : 'an object of blackoutMs, gapMs and requestMs, all in milliseconds';
  },
  refuses: kind('function', 'a function'),
};

/** Those that there is nothing usual for. */
const OPTIONAL: readonly string[] = [
  'refuses',
  'goals',
  'without',
  'betterWithout',
  'tries',
  'arrived',
  'byLeaf',
];

const make = kind('function', 'a function');
const tries = listOf('a list of at least one name', (item) => typeof item === 'string', 1);
const RULES: {
  readonly [E in Effort]: Readonly<
    Record<Exclude<keyof ApproachRegistry[E][number], 'prepare' | 'remember' | 'readOut' | 'problem'>, Rule>
  >;
} = {
  tracking: { ...COMMON, converges: truth, byLeaf: truth, tries, arrived: make, make },
  stop: { ...COMMON, leaves: oneOf(LEFT), tries, make },
  start: { ...COMMON, takes: someOf(LEFT, 1), afterRun: truth, make },
};

const bytes: Rule = (value) => (value instanceof Uint8Array ? undefined : 'a Uint8Array');
/** What a step has to resolve with, of those that do. */
const RESULTS: Readonly<Record<string, Rule>> = {
  harvest: (value) => {
    const report = value as Readonly<Record<string, unknown>> | null | undefined;
    const right = ['cpuPages', 'devicePages', 'bothPages', 'cost'].every(
      (member) => typeof report?.[member] === 'number',
    );
    return right ? undefined : "a report, as the machine's own harvest resolves with";
  },
  ahead: bytes,
  stopCopy: bytes,
  records: listOf('a list of records', (item) => typeof item === 'object' && item !== null),
};

/** What an approach at work must have and what it may. */
const STEPS: Readonly<Record<Effort, { readonly must: readonly string[]; readonly may: readonly string[] }>> =
  {
    tracking: { must: ['start', 'harvest', 'stop'], may: [] },
    stop: {
      must: ['quiesce', 'resume'],
      may: ['ahead', 'request', 'stopCopy', 'records', 'resumed', 'release'],
    },
    start: { must: [], may: ['take', 'load', 'records', 'afterRun'] },
  };

/**
 * The registry with the approach that the module at `path` exports, as a named export that is called as the effort, or by
 * default; and the approach's name. Harmless if it has it already. Throws `migration/own-approach`, naming the path and
 * what is missing or wrong.
 */
export function withOwnApproach<E extends Effort>(
  registry: ApproachRegistry,
  effort: E,
  path: string,
  exported: Readonly<Record<string, unknown>>,
): { readonly registry: ApproachRegistry; readonly name: string } {
  const refuse = (problem: string): Error => migrationErrors.error('own-approach', { effort, path, problem });
  const found = exported[effort] ?? exported.default;
  if (typeof found !== 'object' || found === null) {
    throw refuse(`it exports no descriptor, neither as \`${effort}\` nor by default`);
  }
  const rules: Readonly<Record<string, Rule>> = RULES[effort];
  const stranger = Object.keys(found).find((member) => !Object.hasOwn(rules, member));
  if (stranger !== undefined) {
    throw refuse(`its descriptor has a member \`${stranger}\`; known are ${Object.keys(rules).join(', ')}`);
  }
  const tried = triedBy(found, registry[effort], rules, refuse);
  const descriptor: Record<string, unknown> = {
    // What goes for the last of them, to which it comes at the latest.
    ...tried?.at(-1),
    ...ordinary,
    ...(effort === 'start' ? { afterRun: false } : {}),
    ...found,
  };
  for (const [member, rule] of Object.entries(rules)) {
    const given = Object.hasOwn(found, member);
    if (!given && (Object.hasOwn(descriptor, member) || OPTIONAL.includes(member))) continue;
    if (!given) throw refuse(`its descriptor has no \`${member}\`: ${rule(undefined)}`);
    const problem = rule(descriptor[member]);
    if (problem !== undefined) throw refuse(`\`${member}\` of its descriptor must be ${problem}`);
  }
  const name = descriptor.name as string;
  const taken = registry[effort].find((one) => one.name === name);
  if (taken !== undefined) {
    if (MADE_OF.get(taken) === found) return { registry, name };
    throw refuse(`there is ${effort} = ${name} already; give it another \`name\``);
  }
  const { arrived } = descriptor;
  const guarded = {
    ...descriptor,
    ...(arrived === undefined ? {} : { arrived: guardedStep(effort, name, 'arrived', arrived as Make) }),
    ...(tried === undefined
      ? { make: guardedMake(effort, name, descriptor.make as Make) }
      : { tries: tried }),
  } as unknown as Descriptor;
  MADE_OF.set(guarded, found);
  return { registry: { ...registry, [effort]: [...registry[effort], guarded] }, name };
}

/** The approaches that `found` names to be tried, if it names any: each is one way. */
function triedBy(
  found: object,
  known: readonly Descriptor[],
  rules: Readonly<Record<string, Rule>>,
  refuse: (problem: string) => Error,
): readonly Descriptor[] | undefined {
  const { tries: names } = found as { readonly tries?: unknown };
  if (names === undefined) return undefined;
  const problem = rules.tries?.(names);
  if (problem !== undefined) throw refuse(`\`tries\` of its descriptor must be ${problem}`);
  if (Object.hasOwn(found, 'make')) {
    throw refuse('its descriptor has both `tries` and `make`: what is made is what it tries');
  }
  const ways = known.filter((one) => one.serves === 'device' && !Object.hasOwn(one, 'tries'));
  return (names as readonly string[]).map((wanted) => {
    const way = ways.find(({ name }) => name === wanted);
    if (way !== undefined) return way;
    throw refuse(`it tries ${wanted}; what can be tried is ${ways.map(({ name }) => name).join(', ')}`);
  });
}

/** What a module exported, of the descriptors that were made of it. */
const MADE_OF = new WeakMap<Descriptor, object>();

type Make = (...given: readonly unknown[]) => unknown;

/** What goes wrong in a step of a module, as typed errors. */
const errorsOf = (effort: Effort, approach: string) => {
  const failed = (step: string, reason: string, cause?: unknown): Error =>
    migrationErrors.error('own-approach-failed', { effort, approach, step, reason }, cause);
  const typed = (step: string, error: unknown): unknown =>
    isFerryError(error) ? error : failed(step, error instanceof Error ? error.message : String(error), error);
  return { failed, typed };
};

/** `does`, as a method of `self` if that is given; whatever it throws that is not typed becomes so. */
function guardedStep(effort: Effort, approach: string, step: string, does: Make, self?: object): Make {
  const { failed, typed } = errorsOf(effort, approach);
  return async (...args) => {
    const result = await (async () => does.apply(self, [...args]))().catch((error: unknown) => {
      throw typed(step, error);
    });
    const problem = RESULTS[step]?.(result);
    if (problem !== undefined) throw failed(step, `it must resolve with ${problem}`);
    return result;
  };
}

/** Makes what the module makes, with the steps that it has, guarded. */
function guardedMake(effort: Effort, approach: string, make: Make): Make {
  const { failed, typed } = errorsOf(effort, approach);
  return (...given) => {
    let made: unknown;
    try {
      made = make(...given);
    } catch (error) {
      throw typed('make', error);
    }
    if (typeof made !== 'object' || made === null) throw failed('make', 'it makes no object');
    const steps = made as Readonly<Record<string, unknown>>;
    const { must, may } = STEPS[effort];
    const guarded: Record<string, unknown> = {};
    for (const step of [...must, ...may]) {
      const does = steps[step];
      if (does === undefined && may.includes(step)) continue;
      if (typeof does !== 'function') throw failed('make', `what it makes has no method \`${step}\``);
      guarded[step] = guardedStep(effort, approach, step, does as Make, made);
    }
    return guarded;
  };
}
