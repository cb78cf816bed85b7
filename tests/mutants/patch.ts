/**
 * A planted defect: a patch with a header of `Name: value` lines, then hunks as `diff -u` writes them. Line numbers are for
 * people: a hunk goes where its lines are, which must be one place.
 *
 *     Defect: a page's bit is cleared after the page was read, so that what is written in between is lost
 *     Area: page channels
 *     Kind: race
 *     Checker: RAM at the destination beside what the guest wrote
 *     Test: tests/migration/pages-frames.test.ts
 *     Build: yes
 *     Simulator: its machines have one vCPU
 *
 *     --- a/migration/pages/channel-sender.ts
 *     +++ b/migration/pages/channel-sender.ts
 *     @@ ...
 */

export const AREAS = [
  'base',
  'device',
  'VT-d',
  'guest kernel',
  'migration',
  'page channels',
  'vCPU',
  'dirty log',
  'monitor',
  'fabric',
  'lab',
] as const;
/** `race`: the order of what goes on side by side matters, or an update is lost; `plain`: any run through it shows it. */
export const KINDS = ['race', 'plain'] as const;

export interface Mutant {
  readonly name: string;
  readonly defect: string;
  readonly area: (typeof AREAS)[number];
  readonly kind: (typeof KINDS)[number];
  /** What must notice it, in words. */
  readonly checker: string;
  /** Test files of which at least one must fail. */
  readonly tests: readonly string[];
  /** The tests start processes or threads from `dist/`, which is to be compiled first. */
  readonly build: boolean;
  /** Why the simulator can't meet it, although it runs the code that is changed. */
  readonly simulator: string | undefined;
  readonly hunks: readonly Hunk[];
}

export interface Hunk {
  readonly path: string;
  readonly before: string;
  readonly after: string;
}

const FIELDS = ['Defect', 'Area', 'Kind', 'Checker', 'Test', 'Build', 'Simulator'];

/** Throws an Error that says what is wrong with `text`, a patch named `name`. */
export function parseMutant(name: string, text: string): Mutant {
  const at = text.indexOf('\n--- a/');
  const wrong = (problem: string): Error => new Error(`${name}: ${problem}`);
  if (at < 0) throw wrong('there is no change in it');
  const fields = new Map<string, string>();
  for (const line of text.slice(0, at).split('\n').filter(Boolean)) {
    const [, field, value] = /^([A-Z][a-z]+): (.+)$/.exec(line) ?? [];
    if (field === undefined || !FIELDS.includes(field)) throw wrong(`'${line}' is no line of a header`);
    fields.set(field, value!);
  }
  const field = (key: string): string => {
    const value = fields.get(key);
    if (value === undefined) throw wrong(`its header lacks '${key}'`);
    return value;
  };
  const oneOf = <T extends string>(key: string, words: readonly T[]): T => {
    const value = words.find((word) => word === field(key));
    if (value === undefined) throw wrong(`${key} is '${field(key)}', not one of ${words.join(', ')}`);
    return value;
  };
  return {
    name,
    defect: field('Defect'),
    area: oneOf('Area', AREAS),
    kind: oneOf('Kind', KINDS),
    checker: field('Checker'),
    tests: field('Test').split(/,\s*/),
    build: fields.get('Build') === 'yes',
    simulator: fields.get('Simulator'),
    hunks: parseHunks(text.slice(at + 1), wrong),
  };
}

function parseHunks(diff: string, wrong: (problem: string) => Error): Hunk[] {
  const hunks: Hunk[] = [];
  for (const file of diff.split(/^--- a\//m).slice(1)) {
    const path = /^\S+/.exec(file)![0];
    for (const part of file.split(/^@@.*\n/m).slice(1)) {
      const lines = part.replace(/\n$/, '').split('\n');
      const side = (sign: '-' | '+'): string =>
        lines
          .filter((line) => !line.startsWith(sign === '-' ? '+' : '-'))
          .map((line) => line.slice(1))
          .join('\n');
      hunks.push({ path, before: side('-'), after: side('+') });
    }
  }
  if (hunks.length === 0) throw wrong('there is no hunk in it');
  return hunks;
}

/** The files that `mutant` changes, as they are with it. Throws an Error unless each hunk has one place in what `read` gives. */
export function applied(mutant: Mutant, read: (path: string) => string): Map<string, string> {
  const files = new Map<string, string>();
  for (const { path, before, after } of mutant.hunks) {
    const text = files.get(path) ?? read(path);
    const places = text.split(before).length - 1;
    if (places !== 1) {
      throw new Error(
        `${mutant.name}: ${path} has ${places} places for it; it begins with:\n${before.slice(0, 200)}`,
      );
    }
    files.set(
      path,
      text.replace(before, () => after),
    );
  }
  return files;
}
