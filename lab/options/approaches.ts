/** `--tracking`, `--stop` and `--start` of several commands: a name of the registry, `auto`, or a module of one's own. */
import type { Effort } from '../../migration/approach.js';
import { AUTO, builtIn, MODULE_PREFIX } from '../../migration/registry.js';
import { BadValue } from './quantities.js';

const EFFORT_TEXT: Readonly<Record<Effort, string>> = {
  tracking: "how the device's writes are tracked",
  stop: 'how the device is stopped',
  start: 'how the device goes on at the destination',
};

/** What a machine with an assigned device can be told to use for an effort. */
const choicesFor = (effort: Effort): readonly string[] => [
  AUTO,
  ...builtIn[effort].filter(({ serves }) => serves === 'device').map(({ name }) => name),
];

/** What is wrong with the words for an effort, or undefined. What a module exports is another matter. */
export function wrongApproach(effort: Effort, text: string): string | undefined {
  if (text.startsWith(MODULE_PREFIX) && text.length > MODULE_PREFIX.length) return undefined;
  if (choicesFor(effort).includes(text)) return undefined;
  return `'${text.slice(0, 40)}' is no approach; known are ${choicesFor(effort).join(', ')}, and ${MODULE_PREFIX}PATH`;
}

/** The parser of the option. Throws BadValue. */
export const parseApproach =
  (effort: Effort) =>
  (text: string): string => {
    const wrong = wrongApproach(effort, text);
    if (wrong !== undefined) throw new BadValue(wrong);
    return text;
  };

/** The option's help, with what the registry says of each choice. */
export function approachHelp(effort: Effort): string {
  const choices = builtIn[effort].filter(({ serves }) => serves === 'device');
  const words = choices.map(({ name, text }) => `${name}: ${text}`);
  const own = `${MODULE_PREFIX}PATH: one of your own, by an ES module`;
  return `${EFFORT_TEXT[effort]} (default: ${AUTO}). ${[...words, own].join('; ')}`;
}
