/**
 * Pictures as SVG, by Observable Plot without a browser. Each is drawn twice, for a wide page and for a narrow one, for letters
 * must not shrink with the page; style sheets show the one that fits. Colours are the page's own, so that they follow its scheme.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { html } from './html.js';

const WIDTHS = { wide: 900, narrow: 340 } as const;
export type Breadth = keyof typeof WIDTHS;

export const INK = 'var(--ink)';
export const QUIET = 'var(--quiet)';
export const ACCENT = 'var(--accent)';
export const ALARM = 'var(--alarm)';

/** Series that stand beside each other; numbered as well, for those who can't tell them apart. */
export const seriesColour = (index: number): string => `var(--series-${(index % 7) + 1})`;

type Options = Plot.PlotOptions & { readonly marks: Plot.Markish[] };

/** Both drawings, of what `options` says for each. `label` says in words what is to be seen. */
export function picture(label: string, options: (breadth: Breadth, width: number) => Options): string {
  return (Object.keys(WIDTHS) as Breadth[])
    .map((breadth) => {
      const width = WIDTHS[breadth];
      const { document } = parseHTML('<!doctype html><html><body></body></html>');
      const drawn = Plot.plot({
        document: document as unknown as NonNullable<Plot.PlotOptions['document']>,
        width,
        marginTop: 26,
        marginBottom: 44,
        style: { fontSize: '12px', overflow: 'visible' },
        ...options(breadth, width),
      });
      drawn.setAttribute('role', 'img');
      drawn.setAttribute('aria-label', label);
      return `<div class="${html(breadth)}">${drawn.outerHTML}</div>`;
    })
    .join('\n');
}
