/** What is wrong with an experiment, at which of its members. */
import { isFerryError } from '../../base/errors.js';
import { MigrationParameters, type ParameterValues, parameterByQmpName } from '../../migration/parameters.js';
import type { Path } from './json-text.js';

export interface Problem {
  readonly path: Path;
  readonly why: string;
}

type Named = Readonly<Record<string, string | number | boolean>>;

/** The values of parameters that go by their names at the monitor. */
export const valuesOf = (parameters: Named): Partial<ParameterValues> =>
  Object.fromEntries(Object.entries(parameters).map(([name, value]) => [parameterByQmpName(name)!, value]));

/** What parameters that a harness has in force have against one another. */
export function parameterProblems(inForce: Partial<ParameterValues>): readonly Problem[] {
  try {
    new MigrationParameters(inForce);
    return [];
  } catch (error) {
    if (!isFerryError(error)) throw error;
    const { parameter, problem } = error.facts;
    return [{ path: ['parameters'], why: `${parameter} is ${problem}` }];
  }
}
