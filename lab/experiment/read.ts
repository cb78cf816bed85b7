/** Experiments from files, from texts, and from programs: what is wrong is told all at once, each with its place. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { COMMANDS } from '../../vmm/monitor/commands.js';
import { QmpError } from '../../vmm/monitor/protocol.js';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';
import { type Experiment, experimentShape, type Harness } from './format.js';
import { problemsInProcesses } from './in-processes.js';
import { problemsInSimulator } from './in-simulator.js';
import { JsonMistake, type JsonText, lineAndColumn, type Path, readJson } from './json-text.js';
import type { Problem } from './problem.js';

/** More of them help nobody. */
const PROBLEMS_MAX = 10;
const SUFFIX = '.json';

const PROBLEMS: Readonly<Record<Harness, (experiment: Experiment) => readonly Problem[]>> = {
  simulator: problemsInSimulator,
  processes: problemsInProcesses,
};

/** The files that `paths` mean: those themselves, and of a folder all that end in `.json`, by name. Throws `lab/file-failed`. */
export function experimentFiles(paths: readonly string[]): readonly string[] {
  return paths.flatMap((path) =>
    fromFile(path, () =>
      statSync(path).isDirectory()
        ? readdirSync(path)
            .filter((name) => name.endsWith(SUFFIX))
            .sort()
            .map((name) => join(path, name))
        : [path],
    ),
  );
}

/** Throws `lab/file-failed`, or `lab/experiment` with all that is wrong with it. */
export function readExperiment(path: string): Experiment {
  return parseExperiment(
    fromFile(path, () => readFileSync(path, 'utf8')),
    path,
  );
}

/** An experiment of a text that goes by `name`. Throws `lab/experiment`. */
export function parseExperiment(text: string, name: string): Experiment {
  const placed = (at: number): string => {
    const { line, column } = lineAndColumn(text, at);
    return `${name}:${line}:${column}: `;
  };
  let json: JsonText;
  try {
    json = readJson(text);
  } catch (error) {
    if (!(error instanceof JsonMistake)) throw error;
    throw refused([`${placed(error.at)}${error.message}`], error);
  }
  return judged(json.value, (path) => `${placed(json.placeOf(path))}${pointer(path)}`);
}

/** An experiment that a program has made. Throws `lab/experiment`. */
export const experimentOf = (value: unknown): Experiment => judged(value, pointer);

/** `placed` names the place of a member in front of what is wrong there. */
function judged(value: unknown, placed: (path: Path) => string): Experiment {
  const shaped = v.safeParse(experimentShape, value, { abortPipeEarly: true });
  const problems = shaped.success
    ? [...overlooked(value, shaped.output), ...beyondShape(shaped.output)]
    : shaped.issues.map(problemOf);
  if (!shaped.success || problems.length > 0) {
    throw refused(problems.map(({ path, why }) => `${placed(path)}${why}`));
  }
  return shaped.output;
}

const problemOf = (issue: v.InferIssue<typeof experimentShape>): Problem => ({
  path: (issue.path ?? []).map(({ key }) => key as string | number),
  why: issue.message,
});

/** What valibot leaves out without a word: an empty list is an object to it, and some names are no names. */
function overlooked(value: unknown, taken: unknown, path: Path = []): readonly Problem[] {
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value) !== Array.isArray(taken))
    return [{ path, why: 'must be an object, and not a list' }];
  return Object.entries(value).flatMap(([name, member]) => {
    const within = [...path, Array.isArray(value) ? Number(name) : name];
    return Object.hasOwn(taken as object, name)
      ? overlooked(member, Reflect.get(taken as object, name), within)
      : [{ path: within, why: `'${name}' can't be a name here` }];
  });
}

/** What a schema can't say. */
const beyondShape = (experiment: Experiment): readonly Problem[] => [
  ...contradictions(experiment),
  ...[...new Set(experiment.harness)].flatMap((harness) => PROBLEMS[harness](experiment)),
];

/** What no member is to blame for alone. */
function contradictions({ operator = [], faults = [] }: Experiment): readonly Problem[] {
  const problems: Problem[] = [];
  for (const [i, { execute, arguments: args = {} }] of operator.entries()) {
    try {
      COMMANDS.find(({ name }) => name === execute)!.arguments.check(args, 'arguments');
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      problems.push({ path: ['operator', i, 'arguments'], why: `${execute}: ${error.message}` });
    }
  }
  for (const [list, members] of Object.entries({ faults, operator })) {
    for (const [i, { at }] of members.entries()) {
      if (!('pages' in at) || at.pages.from <= at.pages.to) continue;
      problems.push({ path: [list, i, 'at', 'pages'], why: "'to' is before 'from'" });
    }
  }
  return problems;
}

/** RFC 6901, with a colon; nothing for the whole. */
const pointer = (path: Path): string =>
  path.length === 0
    ? ''
    : `${path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')}: `;

/** On one line, and with nothing that a terminal would obey. */
const shown = (line: string): string =>
  line.replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);

function refused(lines: readonly string[], cause?: unknown): Error {
  // Two harnesses may find the same.
  const each = [...new Set(lines.map(shown))];
  const more = each.length - PROBLEMS_MAX;
  const told = each.slice(0, PROBLEMS_MAX);
  if (more > 0) told.push(`and ${more} more`);
  return labErrors.error('experiment', { problems: told.join('\n') }, cause);
}

function fromFile<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const reason = reasonOf(error as NodeJS.ErrnoException);
    throw labErrors.error('file-failed', { path, what: 'read', reason }, error);
  }
}
