/** The page's style sheet: light and dark as the reader's system has it, wide and narrow. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --accent: #0550ae; --alarm: #b3261e; --quiet: #6e7781; --on-series: #ffffff;
  --series-1: #0550ae; --series-2: #8a5a00; --series-3: #1a7f37; --series-4: #8250df;
  --series-5: #57606a; --series-6: #b3261e; --series-7: #006d75;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0d1117; --ink: #e6edf3; --soft: #9aa4af; --line: #30363d; --panel: #161b22;
    --accent: #79c0ff; --alarm: #ff8f87; --quiet: #8b949e; --on-series: #0d1117;
    --series-1: #79c0ff; --series-2: #e3b341; --series-3: #7ee787; --series-4: #d2a8ff;
    --series-5: #b1bac4; --series-6: #ff8f87; --series-7: #76e3ea;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 16px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
p, li, figcaption { overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); } figcaption strong { color: var(--ink); }
figure { margin: 1.5rem 0; } svg { --plot-background: var(--paper); color: var(--ink); max-width: 100%; height: auto; }
.narrow { display: none; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 8px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; } .cards thead th:last-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; }
.cards td:last-child { white-space: normal; text-align: left; min-width: 9.5rem; }
details { margin-top: 0.5rem; } summary { cursor: pointer; color: var(--accent); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; margin: 0.75rem 0; font-size: 0.875rem; }
.legend span { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.4em; border-radius: 2px; }
nav ul { columns: 2; padding-left: 1.2rem; } a { color: var(--accent); }
.failed { border-left: 4px solid var(--alarm); padding-left: 12px; }
@media (max-width: 700px) {
  .wide { display: none; } .narrow { display: block; } nav ul { columns: 1; }
  .cards thead { display: none; }
  .cards table, .cards tbody, .cards tr, .cards th, .cards td { display: block; width: 100%; text-align: left; border: 0; padding: 2px 0; }
  .cards tr { border-bottom: 1px solid var(--line); padding: 10px 0; }
  .cards td { display: flex; justify-content: space-between; gap: 12px; white-space: normal; text-align: right; }
  .cards td::before { content: attr(data-head); color: var(--soft); text-align: left; }
}
`;
