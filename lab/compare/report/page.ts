/** A page of a report: it opens from disk, without network and without scripts. */
import { VERSION } from '../../../vmm/version.js';
import { formatBytes, formatCount } from '../../report/words.js';
import type { Comparison } from '../figures.js';
import { html } from './html.js';
import { STYLE } from './style.js';

/** `under`, `parts`: ready-made. */
export const page = (title: string, heading: string, under: string, parts: readonly string[]): string =>
  `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vf-ferry: ${html(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${html(heading)}</h1>
${under}
</header>
<main>
${parts.join('\n')}
</main>
</body>
</html>
`;

/** What was run where, in a paragraph; `runs` is its beginning. */
export function conditions(runs: string, { scenario, host }: Pick<Comparison, 'scenario' | 'host'>): string {
  const flows =
    scenario.flows.length === 0
      ? 'no traffic'
      : `${formatCount(scenario.rate)} packets/s of ${scenario.flows.join(', ')}`;
  return `<p class="soft">${html(
    `${runs} (${scenario.seed}). Guest: ${formatBytes(scenario.memoryBytes)}, ` +
      `${scenario.vcpus} ${scenario.vcpus === 1 ? 'vCPU' : 'vCPUs'}, workload ${scenario.workload}, ${flows}. Host: ${host.cpu}, ${host.cores} cores, ` +
      `${formatBytes(host.memoryBytes)}, Node ${host.node}, vf-ferry ${VERSION}.`,
  )}</p>`;
}
