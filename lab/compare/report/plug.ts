/** Where hot-plug's time goes in the guest, step by step. */
import * as Plot from '@observablehq/plot';
import { formatTime } from '../../report/words.js';
import { titleOf } from '../compare.js';
import type { CompareEntry } from '../figures.js';
import { figure, htmlTable } from './html.js';
import { INK, picture, seriesColour } from './plot.js';

const MS = 1e6;

/** A picture for each approach whose device was unplugged and plugged in again; nothing if there is none. */
export function plugs(entries: readonly CompareEntry[]): string {
  return entries
    .filter(({ detail }) => detail !== undefined && detail.plug.length > 0)
    .map((entry) => {
      const steps = entry.detail!.plug.map((step, index) => ({
        ...step,
        index,
        title: `${index + 1} ${step.what}, ${formatTime(step.toNs - step.fromNs)}`,
      }));
      const title = `Where the time of ${titleOf(entry)} goes in the guest`;
      return figure(
        title,
        picture(title, (_, width) => ({
          height: steps.length * 34 + 70,
          marginLeft: 12,
          marginRight: 12,
          x: { label: 'milliseconds on the guest’s clock', labelOffset: 40, grid: true, ticks: width / 110 },
          y: { domain: steps.map((step) => step.title), axis: null, padding: 0.2 },
          color: { type: 'identity' as const },
          marks: [
            // A hair wide at least, so that it is seen.
            Plot.barX(steps, {
              y: 'title',
              x1: (step: { fromNs: number }) => step.fromNs / MS,
              x2: (step: { toNs: number }) => step.toNs / MS,
              fill: (step: { index: number }) => seriesColour(step.index),
              stroke: (step: { index: number }) => seriesColour(step.index),
              insetTop: 14,
            }),
            Plot.text(steps, {
              y: 'title',
              text: 'title',
              frameAnchor: 'left',
              textAnchor: 'start',
              dy: -9,
              fill: INK,
            }),
          ],
        })),
        'As its console tells, and the host saw at the device, of the run with the median blackout; the guest’s clock stands in the blackout.',
        htmlTable(
          ['step', 'began', 'lasted'],
          steps.map(({ what, fromNs, toNs }) => [what, formatTime(fromNs), formatTime(toNs - fromNs)]),
        ),
      );
    })
    .join('\n');
}
