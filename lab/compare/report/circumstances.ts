/** A table of circumstances as a page: each approach in each of them, and what stands behind. */
import type { CircumstanceTable } from '../circumstances/circumstance.js';
import { cellText, findings } from '../circumstances/text.js';
import { cards, html } from './html.js';
import { conditions, page } from './page.js';

export function circumstancesHtml(found: CircumstanceTable): string {
  const { head, approaches, circumstances, cells } = found;
  const anchor = (name: string): string => name.replaceAll(' ', '-');
  const rows = circumstances.map(({ name }) => ({
    title: name,
    anchor: anchor(name),
    cells: approaches.map((approach) => {
      const cell = cells.find((one) => one.circumstance === name && one.approach === approach);
      return cell === undefined ? '' : cellText(cell);
    }),
  }));
  const sections = findings(found).map(({ name, text, lines }) => {
    const items = lines.map((line) => `<li${line.failed ? ' class="failed"' : ''}>${html(line.text)}</li>`);
    return `<section id="${html(anchor(name))}"><h2>${html(name)}</h2>
<p>${html(`${text[0]!.toUpperCase()}${text.slice(1)}.`)}</p><ul>${items.join('')}</ul></section>`;
  });
  const heading = `A guest with a virtual function, moved: each ${found.effort} by ${head}`;
  return page(`approaches by ${head}`, heading, conditions('One move each, with the same seed', found), [
    cards([head, ...approaches], rows),
    ...sections,
  ]);
}
