/** Approaches of a user's own, as ES modules: `module:./mine.mjs` wherever an approach is named. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { EFFORTS, type Effort } from '../../migration/approach.js';
import { migrationErrors } from '../../migration/errors.js';
import { withOwnApproach } from '../../migration/own-approach.js';
import { type ApproachRegistry, MODULE_PREFIX } from '../../migration/registry.js';

/** Names of approaches, or modules to take them from, as users write them. */
export type ApproachWords = { readonly [E in Effort]?: string };

/**
 * Loads the modules among `words` (paths are relative to this process's directory), each once. Resolves with the registry
 * that has their approaches too, and with names in the modules' place. Throws `migration/own-approach`.
 */
export async function loadApproaches<W extends ApproachWords>(
  registry: ApproachRegistry,
  words: W,
): Promise<{ readonly registry: ApproachRegistry; readonly named: W }> {
  let all = registry;
  const named: Partial<Record<Effort, string>> = {};
  for (const effort of EFFORTS) {
    const word = words[effort];
    if (word === undefined || !word.startsWith(MODULE_PREFIX)) continue;
    const path = word.slice(MODULE_PREFIX.length);
    const { registry: more, name } = withOwnApproach(all, effort, path, await exportsOf(effort, path));
    all = more;
    named[effort] = name;
  }
  return { registry: all, named: { ...words, ...named } };
}

async function exportsOf(effort: Effort, path: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await import(pathToFileURL(resolve(path)).href);
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n', 1)[0]! : String(error);
    throw migrationErrors.error(
      'own-approach',
      { effort, path, problem: `it can't be loaded: ${reason}` },
      error,
    );
  }
}
