import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../vmm/monitor/commands.js';
import { QMP_EVENT_NAMES } from '../../vmm/monitor/protocol.js';
import { RUN_STATES } from '../../vmm/monitor/run-state.js';

const page = readFileSync(new URL('../../docs/monitor.md', import.meta.url), 'utf8');

/** What stands as code in the first column of a table under a heading. */
function firstColumn(heading: string): Set<string> {
  const section = page.split(/^## /m).find((part) => part.startsWith(heading)) ?? '';
  const cells = [...section.matchAll(/^\| (`[^|]*) \|/gm)].map(([, cell]) => cell.replace(/\{[^}]*\}/g, ''));
  return new Set(cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, word]) => word)));
}

describe('the page about the monitor', () => {
  it('has every command, run state and event, and no other', () => {
    expect(firstColumn('Commands')).toEqual(
      new Set(['qmp_capabilities', ...COMMANDS.map(({ name }) => name)]),
    );
    expect(firstColumn('Run states')).toEqual(new Set(RUN_STATES));
    expect(firstColumn('Events')).toEqual(new Set(QMP_EVENT_NAMES));
  });

  it('is read as it is meant to be', () => {
    expect(firstColumn('Commands').size).toBeGreaterThan(10);
    expect(firstColumn('No such heading').size).toBe(0);
  });
});
