/** `ferry explain`: what an approach does, needs and costs. */
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { EFFORTS, type Effort } from '../../migration/approach.js';
import { type ApproachRegistry, builtIn, MODULE_PREFIX } from '../../migration/registry.js';
import { builtFile } from '../../vmm/built.js';
import { loadApproaches } from '../../vmm/process/approach-modules.js';
import { readComparison } from '../compare/comparison-file.js';
import { effortsOf, explainText, listText } from '../compare/explain.js';
import { labErrors } from '../errors.js';
import { exitStatuses } from '../options/exit-statuses.js';

const NAME = 'ferry explain';

/** Figures that come with vf-ferry. */
const FIGURES = fileURLToPath(builtFile('../docs/comparison.json'));

interface Flags {
  readonly from?: string;
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  ferry explain                                        all approaches, each in a line
  ferry explain iommu-dirty                            what happens, what it needs, when to use it, what it cost
  ferry explain module:docs/examples/scan-late.mjs     one of your own
  ferry explain pinned --from mine.json                what it cost here, by what \`ferry compare --json\` wrote

${exitStatuses('it was explained', ['refused'])}`;

export function define(command: Command): void {
  command
    .argument('[name]', 'an approach, or module:PATH (default: all, each in a line)')
    .option(
      '--from <file>',
      'take what it cost from this comparison, as `ferry compare --json` writes it (default: that which docs carry)',
    )
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .action(async (wanted: string | undefined) => {
      const { from, json } = command.optsWithGlobals<Flags>();
      const { registry, name, efforts } = await found(wanted);
      const write = (text: string): unknown => process.stdout.write(text);
      const figures = { comparison: readComparison(from ?? FIGURES), from: from ?? 'docs/comparison.json' };
      if (json) {
        const all = EFFORTS.flatMap((effort) =>
          registry[effort]
            .filter((one) => name === undefined || one.name === name)
            .map(({ make: _, refuses: __, ...told }) => ({
              effort,
              ...told,
              ...('tries' in told ? { tries: told.tries?.map((one) => one.name) } : {}),
              figures: figures.comparison.entries.find(
                (one) => one.effort === effort && one.name === told.name,
              )?.figures,
            })),
        );
        write(`${JSON.stringify(all, null, 2)}\n`);
      } else if (name === undefined) {
        write(listText(registry, process.stdout.columns));
      } else {
        const { columns } = process.stdout;
        write(efforts.map((effort) => explainText(registry, effort, name, figures, columns)).join('\n'));
      }
    });
}

/** The approach that is meant, and where it is. Throws `lab/usage`, `migration/own-approach`. */
async function found(wanted: string | undefined): Promise<{
  readonly registry: ApproachRegistry;
  readonly name: string | undefined;
  readonly efforts: readonly Effort[];
}> {
  if (wanted === undefined) return { registry: builtIn, name: undefined, efforts: [] };
  if (!wanted.startsWith(MODULE_PREFIX)) {
    const efforts = effortsOf(builtIn, wanted);
    if (efforts.length > 0) return { registry: builtIn, name: wanted, efforts };
    const known = [...new Set(EFFORTS.flatMap((effort) => builtIn[effort].map(({ name }) => name)))];
    const why = `there is no approach '${wanted.slice(0, 40)}'; known are ${known.join(', ')}`;
    throw labErrors.error('usage', { why, command: NAME });
  }
  let last: unknown;
  for (const effort of EFFORTS) {
    try {
      const words: { readonly [E in Effort]?: string } = { [effort]: wanted };
      const { registry, named } = await loadApproaches(builtIn, words);
      return { registry, name: named[effort], efforts: [effort] };
    } catch (error) {
      last = error;
    }
  }
  throw last;
}
