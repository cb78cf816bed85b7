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

/** A picture with its title, what it says, and the same in figures for those who do not see it. */
export function figure(title: string, picture: string, words: string, table: string): string {
  return `<figure><figcaption><strong>${html(title)}.</strong> ${html(words)}</figcaption>
${picture}
<details><summary>The same in figures</summary>${table}</details></figure>`;
}
