/** Comparisons as files: what `ferry compare --json` writes. */
import { readFileSync } from 'node:fs';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';
import { COMPARISON_VERSION, type Comparison } from './figures.js';

/** Throws `lab/comparison-unreadable` for what is none, or of another version. */
export function readComparison(path: string): Comparison {
  const refuse = (reason: string, cause?: unknown): Error =>
    labErrors.error('comparison-unreadable', { path, reason }, cause);
  let found: unknown;
  try {
    found = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw refuse(error instanceof SyntaxError ? `it is no JSON (${error.message})` : reasonOf(error), error);
  }
  const { version, entries, scenario, host } = (found ?? {}) as Partial<Comparison>;
  if (version === undefined || !Array.isArray(entries) || scenario === undefined || host === undefined) {
    throw refuse('it is no comparison');
  }
  if (version !== COMPARISON_VERSION) {
    throw refuse(`it is a comparison of version ${String(version)}, and this is ${COMPARISON_VERSION}`);
  }
  return found as Comparison;
}
