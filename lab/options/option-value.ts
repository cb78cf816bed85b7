/**
 * Ties the parsers of option values to the command line: what a parser refuses becomes a usage error that names the
 * option.
 */
import { FerryError } from '../../base/errors.js';
import { labErrors } from '../errors.js';
import { BadValue } from './quantities.js';

/**
 * A value parser for the option `flag` of `command`: `.option('--memory <size>', '...', optionValue(...))`. Throws
 * `lab/usage` for what `parse` refuses with BadValue or an error of the world.
 */
export function optionValue<T>(
  command: string,
  flag: string,
  parse: (text: string) => T,
): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof BadValue || error instanceof FerryError) {
        throw labErrors.error('usage', { why: `${flag}: ${error.message}`, command }, error);
      }
      throw error;
    }
  };
}

/** The same for an option that may be given several times: collects the values in order. */
export function optionValues<T>(
  command: string,
  flag: string,
  parse: (text: string) => T,
): (text: string, before: readonly T[] | undefined) => readonly T[] {
  const one = optionValue(command, flag, parse);
  return (text, before = []) => [...before, one(text)];
}
