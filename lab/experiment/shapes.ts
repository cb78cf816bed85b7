/** Pieces of a format that is judged by valibot, each with words for who got it wrong. */
import * as v from 'valibot';
import { nearestWord } from '../options/nearest.js';
import { BadValue } from '../options/quantities.js';

type Entries = v.ObjectEntries;

/** What an issue is about, cut to what a message can repeat. */
const shown = (input: unknown): string => {
  const text = JSON.stringify(input) ?? 'nothing';
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
};

function wrongWord(word: string, known: readonly string[]): string {
  const nearest = nearestWord(word, known);
  return nearest === undefined ? `known are ${known.join(', ')}` : `did you mean '${nearest}'?`;
}

/** These members, and no others. */
export const object = <const E extends Entries>(entries: E) => {
  const names = Object.keys(entries);
  return v.strictObject(entries, ({ expected, received, input }) => {
    if (expected === 'never') {
      const name = received.slice(1, -1);
      return `there is no '${name}' here; ${wrongWord(name, names)}`;
    }
    if (expected === 'Object') return `must be an object with ${names.join(', ')}, and not ${shown(input)}`;
    return `${expected?.replaceAll('"', "'")} is missing`;
  });
};

export const oneOf = <const T extends readonly [string, ...string[]]>(words: T) =>
  v.picklist(words, ({ input }) =>
    typeof input === 'string'
      ? `'${input.slice(0, 40)}' is none; ${wrongWord(input, words)}`
      : `must be one of ${words.join(', ')}, and not ${shown(input)}`,
  );

/** An object of one of several kinds, by its member `key`; each has the name of its kind there. */
export const oneKindOf = <const K extends string, const O extends v.VariantOptions<K>>(
  key: K,
  kinds: readonly string[],
  options: O,
) =>
  v.variant(key, options, ({ received, input, expected }) => {
    if (expected === 'Object') return `must be an object with '${key}', and not ${shown(input)}`;
    const word = received.slice(1, -1);
    return received === 'undefined' ? `'${key}' is missing` : `'${word}' is none; ${wrongWord(word, kinds)}`;
  });

export const text = () => v.string(({ input }) => `must be a text, and not ${shown(input)}`);

export const flag = () => v.boolean(({ input }) => `must be true or false, and not ${shown(input)}`);

export const whole = (min: number, max: number, unit = '') => {
  const words = ({ input }: { readonly input: unknown }): string =>
    `must be a whole number from ${min} to ${max}${unit === '' ? '' : ` ${unit}`}, and not ${shown(input)}`;
  return v.pipe(v.number(words), v.integer(words), v.minValue(min, words), v.maxValue(max, words));
};

export const list = <const S extends v.GenericSchema>(item: S) =>
  v.array(item, ({ input }) => `must be a list, and not ${shown(input)}`);

/** A quantity as on the command line: a text that `parse` takes, all of which look like `pattern`. */
export const quantity = (parse: (text: string) => number, pattern: RegExp) => {
  const wrong = (input: string): string | undefined => {
    try {
      parse(input);
      return undefined;
    } catch (error) {
      if (!(error instanceof BadValue)) throw error;
      return error.message;
    }
  };
  return v.pipe(
    text(),
    v.regex(pattern, ({ input }) => wrong(input) ?? `'${input}' is not written like ${pattern.source}`),
    v.check(
      (input) => wrong(input) === undefined,
      ({ input }) => wrong(input)!,
    ),
  );
};

/** Says in the published schema what a member is for. */
export const told = <const S extends v.GenericSchema>(schema: S, words: string) =>
  v.pipe(schema, v.description(words));
