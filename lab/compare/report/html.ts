/** Words into HTML. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text that means nothing but itself, in elements and in attributes. */
export const html = (text: string): string => text.replace(/[&<>"']/g, (sign) => ENTITIES[sign]!);

/** A table of ready-made words; the first column names its rows. */
export function htmlTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[]): string =>
    row
      .map((word, i) => (i === 0 ? `<th scope="row">${html(word)}</th>` : `<td>${html(word)}</td>`))
      .join('');
  const heads = head.map((word) => `<th scope="col">${html(word)}</th>`).join('');
  const body = rows.map((row) => `<tr>${cells(row)}</tr>`).join('\n');
  return `<div class="table"><table><thead><tr>${heads}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** A row of `cards`, with the place on the page that tells more of it. */
export interface Card {
  readonly title: string;
  readonly anchor: string;
  readonly cells: readonly string[];
}

/** A table which on a narrow page becomes a list of cards. */
export function cards(heads: readonly string[], rows: readonly Card[]): string {
  const body = rows.map(({ title, anchor, cells }) => {
    const data = cells.map((cell, i) => `<td data-head="${html(heads[i + 1]!)}">${html(cell)}</td>`).join('');
    return `<tr><th scope="row"><a href="#${html(anchor)}">${html(title)}</a></th>${data}</tr>`;
  });
  const head = heads.map((word) => `<th scope="col">${html(word)}</th>`).join('');
  return `<div class="table cards"><table><thead><tr>${head}</tr></thead>
<tbody>${body.join('\n')}</tbody></table></div>`;
}

/** A picture with its title, what it says, and the same in figures for those who do not see it. */
export function figure(title: string, picture: string, words: string, table: string): string {
  return `<figure><figcaption><strong>${html(title)}.</strong> ${html(words)}</figcaption>
${picture}
<details><summary>The same in figures</summary>${table}</details></figure>`;
}
