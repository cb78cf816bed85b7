/** What is compared with what: choices of approaches, along one effort or along all, as the registry has them. */
import { EFFORTS, type Effort } from '../../migration/approach.js';
import type { Approaches } from '../../migration/approaches.js';
import { type ApproachRegistry, AUTO, builtIn } from '../../migration/registry.js';
import { loadApproaches } from '../../vmm/process/approach-modules.js';
import { labErrors } from '../errors.js';

export const AXES = [...EFFORTS, 'all'] as const;
export type Axis = (typeof AXES)[number];

/** For each effort, names or modules. Along the axis, those to be compared (all, if absent); beside it, the one to use (`auto`). */
export type CompareWords = { readonly [E in Effort]?: readonly string[] | undefined };

export interface Contestant {
  readonly effort: Effort;
  /** As its descriptor calls it. */
  readonly name: string;
  /** What `migrate` is asked for; what is left at `auto` the machine chooses. */
  readonly asked: Approaches;
}

const COMMAND = 'ferry compare';

/** Throws `lab/usage` for a name that there is not and for several where one is to be used, `migration/own-approach`. */
export async function contestants(
  axis: Axis,
  words: CompareWords,
): Promise<{ readonly contestants: readonly Contestant[]; readonly registry: ApproachRegistry }> {
  let registry = builtIn;
  const found: Contestant[] = [];
  for (const effort of EFFORTS) {
    if (axis !== 'all' && axis !== effort) continue;
    const candidates =
      words[effort] ?? registry[effort].filter(({ serves }) => serves === 'device').map(({ name }) => name);
    for (const word of candidates) {
      const loaded = await loadApproaches(registry, { [effort]: word } as {
        readonly [E in Effort]?: string;
      });
      registry = loaded.registry;
      const name = loaded.named[effort]!;
      if (!registry[effort].some((one) => one.name === name)) {
        const known = registry[effort].map((one) => one.name).join(', ');
        throw labErrors.error('usage', {
          why: `--${effort}: there is no ${name}; known are ${known}`,
          command: COMMAND,
        });
      }
      found.push({ effort, name, asked: { ...besides(axis, words), [effort]: word } });
    }
  }
  return { contestants: found, registry };
}

/** What is used for the efforts that are not compared. */
function besides(axis: Axis, words: CompareWords): Approaches {
  const used = (effort: Effort): string => {
    if (axis === 'all' || axis === effort) return AUTO;
    const [word = AUTO, ...others] = words[effort] ?? [];
    if (others.length === 0) return word;
    const why = `--${effort} takes one approach where ${axis} is compared`;
    throw labErrors.error('usage', { why, command: COMMAND });
  };
  return { tracking: used('tracking'), stop: used('stop'), start: used('start') };
}
