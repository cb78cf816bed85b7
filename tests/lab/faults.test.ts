/** Fault scenarios on real processes: the table of them, what judges them, and one of them run. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runScenario } from '../../dist/lab/faults/run.js';
import type { Happened } from '../../lab/checkers/happened.js';
import { html } from '../../lab/compare/report/html.js';
import { findingsOf } from '../../lab/faults/judge.js';
import type { FaultRun } from '../../lab/faults/outcome.js';
import { faultsHtml } from '../../lab/faults/page.js';
import { saidBy } from '../../lab/faults/report.js';
import type { FaultScenario } from '../../lab/faults/scenario.js';
import { SCENARIOS } from '../../lab/faults/scenarios.js';
import { migrationErrors } from '../../migration/errors.js';
import { frameKinds } from '../../migration/frame.js';

const doc = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
const scenarioOf = (name: string): FaultScenario => SCENARIOS.find((one) => one.name === name)!;

const broken = migrationErrors.error('peer-closed', { phase: 'active' }).toJSON();
const scenario = scenarioOf('cut-before-complete');
/** It went as it must. */
const taken: Happened = {
  runs: [{ atNs: 0, side: 'source', running: true }],
  source: { status: 'failed', error: broken, gone: false },
  destination: { status: 'failed', error: broken, gone: false },
  faults: [{ name: scenario.name, causes: scenario.causes! }],
  leftStopped: false,
  handOver: undefined,
  during: undefined,
  later: undefined,
  networkGone: true,
  packetRate: 500,
  tookNs: 1,
  mayTakeNs: 2,
  defects: [],
  guestFindings: [],
  leftovers: [],
};
const atSource = { guest: 'source', unwritten: [] } as const;

describe('the fault scenarios', () => {
  it('have each a name of its own, words, and something that strikes where a migration comes by', () => {
    expect(new Set(SCENARIOS.map(({ name }) => name)).size).toBe(SCENARIOS.length);
    for (const { name, text, strikes, host, guest, causes } of SCENARIOS) {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(text.length, name).toBeGreaterThan(10);
      expect(strikes.length + (host === undefined ? 0 : 1), name).toBeGreaterThan(0);
      for (const { at } of strikes) {
        if ('message' in at) expect(Object.keys(frameKinds), name).toContain(at.message);
      }
      // Whoever does not get the guest, or does not know who has, says why.
      if (guest !== 'destination') expect(causes, name).toBeDefined();
    }
  });

  it('stand in the docs with what came of each, in a run in which all held', () => {
    const runs = JSON.parse(doc('faults.json')) as readonly FaultRun[];
    expect(runs.map((run) => run.scenario)).toEqual(SCENARIOS.map(({ name }) => name));
    expect(runs.flatMap(({ findings }) => findings)).toEqual([]);
    const rows = SCENARIOS.map(({ name, text, guest }, i) => {
      const run = runs[i]!;
      return `| \`${name}\` | ${text} | ${guest} | ${run.guest} | ${saidBy(run.source)} | ${saidBy(run.destination)} |`;
    });
    expect(doc('faults.md')).toContain(rows.join('\n'));
  });
});

describe('the page of a run', () => {
  it('shows each scenario with what both sides said, and means nothing but words', () => {
    const runs = JSON.parse(doc('faults.json')) as readonly FaultRun[];
    const [first] = runs as readonly [FaultRun];
    const wrong = { ...first, findings: ['keeper: <script>alert(1)</script>'] };
    const text = faultsHtml(SCENARIOS, [wrong, ...runs.slice(1)]);
    expect(text).not.toMatch(/<script|https?:/);
    expect(text).toContain('<li class="failed">keeper: &lt;script&gt;');
    expect(text).toContain(`In ${runs.length - 1} of ${runs.length} runs everything held`);
    const anchors = [...text.matchAll(/href="#([^"]+)"/g)].map(([, name]) => name);
    expect(anchors).toEqual(SCENARIOS.map(({ name }) => name));
    for (const name of anchors) expect(text).toContain(`<section id="${name}">`);
    for (const { source } of runs) {
      if (source.error)
        expect(text).toContain(html(`The source: ${source.error.message}. ${source.error.advice}`));
    }
  });

  it('of one scenario has that one only', () => {
    const runs = JSON.parse(doc('faults.json')) as readonly FaultRun[];
    expect(faultsHtml(SCENARIOS, runs.slice(0, 1)).match(/<section /g)).toHaveLength(1);
  });
});

describe('the judge of a scenario', () => {
  it('finds nothing where all went as it must', () => {
    expect(findingsOf(scenario, taken, atSource, [])).toEqual([]);
  });

  const disk = scenarioOf('full-disk-capture');
  const uncommitted = { ...taken.source, error: undefined };
  const wrong = migrationErrors.error('cancelled', { phase: 'active' }).toJSON();
  it.each<[finding: RegExp, FaultScenario, Partial<Happened>, Partial<FaultRun>]>([
    [/^keeper: nobody has the guest in the end, and not source/, scenario, {}, { guest: 'nobody' }],
    [/^keeper: both has the guest/, scenario, {}, { guest: 'both' }],
    [
      /^typed-errors: the destination says migration\/cancelled .* not what was done/,
      scenario,
      { destination: { ...taken.destination, error: wrong } },
      {},
    ],
    [/^typed-errors: not written, and nothing was in the way/, scenario, {}, { unwritten: [broken] }],
    [
      /^struck: nobody said that the capture could not be written/,
      disk,
      { source: uncommitted, destination: uncommitted, faults: [] },
      { guest: 'destination' },
    ],
    [/^nothing-left: left behind: 2 sockets/, scenario, { leftovers: ['2 sockets of the source'] }, {}],
  ])('finds %s', (finding, of, happened, run) => {
    const findings = findingsOf(of, { ...taken, ...happened }, { ...atSource, ...run }, []);
    expect(findings).toContainEqual(expect.stringMatching(finding));
  });
});

describe('a scenario on real processes', () => {
  it('holds what must hold; a strike that never came is the only finding', async () => {
    const cut = scenarioOf('cut-before-commit');
    const idle = { at: { message: 'devices-started' }, does: { kind: 'kill', process: 'source' } } as const;
    const run = await runScenario({ ...cut, strikes: [...cut.strikes, idle] });
    expect(run.findings).toEqual([
      'struck: nothing came to {"message":"devices-started"}, so nothing was shown',
    ]);
    expect(run.guest).toBe('source');
    for (const { error } of [run.source, run.destination]) expect(error?.code).toMatch(cut.causes!);
  });
});
