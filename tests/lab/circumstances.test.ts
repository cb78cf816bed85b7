/** Tables of circumstances: how each ending is told, and what of it fails. Most moves are made up, two are real. */
import { describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { migrate } from '../../dist/lab/move/move.js';
import type { Cell, CircumstanceAxis } from '../../lab/compare/circumstances/circumstance.js';
import { destinations } from '../../lab/compare/circumstances/destinations.js';
import { fillTable, tableStatus } from '../../lab/compare/circumstances/run.js';
import { circumstancesText } from '../../lab/compare/circumstances/text.js';
import { machineFor } from '../../lab/compare/machine-for.js';
import { circumstancesHtml } from '../../lab/compare/report/circumstances.js';
import { labErrors } from '../../lab/errors.js';
import type { MigrateResult } from '../../lab/move/move.js';
import { type MigrateOptions, scenarioOf } from '../../lab/move/scenario.js';
import { DIFFERENCES, EFFORTS } from '../../migration/approach.js';
import type { MigrationRecord } from '../../migration/record.js';
import { builtIn } from '../../migration/registry.js';
import { nicChoiceOf } from '../../vmm/process/nic-options.js';

const TIMEOUT_MS = 60_000;

/** One circumstance, without an axis's own judgement. */
const ANY: CircumstanceAxis = {
  name: 'any',
  head: 'any',
  effort: 'start',
  circumstances: [{ name: 'rain', text: 'it rains', options: () => ({}) }],
};

type Came = Pick<MigrationRecord, 'status' | 'guest'> &
  Partial<Pick<MigrationRecord, 'rounds' | 'interruptionNs' | 'fallbacks' | 'error'>>;
type Checks = MigrateResult['verdict']['checks'];

/** A move that came to this; `checks` besides those that it did not pass because the guest was not moved. */
function moved(options: MigrateOptions, came: Came, checks: Checks = []): MigrateResult {
  const completed = came.status === 'completed';
  const passed = completed && checks.every(({ outcome }) => outcome === 'held');
  const unmoved: Checks = [{ name: 'the migration completed', outcome: 'failed', seen: 'it was not' }];
  return {
    verdict: { outcome: passed ? 'verified' : 'failed', checks: [...(completed ? [] : unmoved), ...checks] },
    record: { rounds: [], fallbacks: [], totalNs: 1e9, ...came } as unknown as MigrationRecord,
    network: undefined,
    cpu: { before: undefined, move: undefined },
    console: [],
    scenario: scenarioOf(options),
    bootMs: 1,
    unwritten: [],
  };
}

const error = { message: 'no' } as unknown as NonNullable<MigrationRecord['error']>;
const round = {} as MigrationRecord['rounds'][number];

async function cellOf(axis: CircumstanceAxis, came: Came | Error, checks: Checks = []) {
  const found = await fillTable(axis, { approaches: { start: ['hot-plug'] } }, undefined, async (options) => {
    if (came instanceof Error) throw came;
    return moved(options, came, checks);
  });
  const [cell] = found.cells as [Cell];
  return { cell, status: tableStatus(found), text: circumstancesText(found) };
}

describe('a cell', () => {
  it.each([
    ['before anything is sent', 'unsent', { status: 'failed', guest: 'here', error }],
    ['while the guest runs', 'running', { status: 'failed', guest: 'here', error, rounds: [round] }],
    [
      'while the guest stands still',
      'stood-still',
      { status: 'failed', guest: 'here', error, rounds: [round], interruptionNs: 5 },
    ],
  ] as const)('tells a refusal %s', async (words, phase, came) => {
    const { cell, status, text } = await cellOf(ANY, came as unknown as Came);
    expect(cell).toMatchObject({ ending: 'refused', phase, reason: 'no' });
    expect(text).toContain(`hot-plug: refuses ${words}: no`);
    expect(status).toBe(0);
  });

  it.each([
    [
      'after the commit',
      { status: 'completed', guest: 'there' },
      [{ name: 'traffic', outcome: 'failed', seen: 'none' }],
    ],
    ['of which nobody knows where the guest is', { status: 'failed', guest: 'unknown', error }, []],
    [
      'that leaves the guest without its network',
      { status: 'failed', guest: 'here', error },
      [{ name: 'traffic', outcome: 'failed', seen: 'none' }],
    ],
  ] as const)('with an end %s fails, and the table with it', async (_, came, checks) => {
    const { cell, status, text } = await cellOf(ANY, came as unknown as Came, checks);
    expect(cell.ending).toBe('failed');
    expect(text).toMatch(/hot-plug: FAILS/);
    expect(status).toBe(EXIT_STATUS['not-verified']);
  });

  it('with a process that dies fails; a choice that contradicts itself is refused', async () => {
    const died = labErrors.error('process-silent', { what: 'VMM', pid: 7, waitedMs: 1 });
    expect((await cellOf(ANY, died)).cell).toMatchObject({ ending: 'failed', phase: undefined });
  });

  it('tells of a fallback, and to what', async () => {
    const fallbacks = [{ effort: 'stop', from: 'a', to: 'b', because: 'it was silent' }] as const;
    const { cell, status } = await cellOf(ANY, { status: 'completed', guest: 'there', fallbacks });
    expect(cell).toMatchObject({ ending: 'fell-back', reason: 'b, because it was silent' });
    expect(status).toBe(0);
  });
});

describe('destinations', () => {
  const only = (...names: readonly string[]): CircumstanceAxis => ({
    ...destinations,
    circumstances: destinations.circumstances.filter(({ name }) => names.includes(name)),
  });

  it('differ in each way that a descriptor can speak of', () => {
    expect(destinations.circumstances).toHaveLength(DIFFERENCES.length);
  });

  it('fail a start that does not do as it says of itself', async () => {
    const refused = { status: 'failed', guest: 'here', error } as const;
    const copes = await cellOf(only('other revision'), refused as Came);
    expect(copes.cell.ending).toBe('failed');
    expect(copes.text).toMatch(/it says of itself that it copes, and refuses \(no\)/);
    const not = await cellOf(only('no device'), { status: 'completed', guest: 'there' });
    expect(not.text).toMatch(/it copes, and says of itself that it does not/);
  });

  it(
    'are really others: a guest finds its link down and goes on, and is refused before anything is sent where there is no NIC',
    async () => {
      const asked = { approaches: { start: ['device-state'] } };
      const consoles: string[] = [];
      const found = await fillTable(only('link down', 'other NIC'), asked, undefined, async (options) => {
        const result = await migrate(options);
        consoles.push(...result.console.filter(({ side }) => side === 'destination').map(({ text }) => text));
        return result;
      });
      const [other, down] = found.cells as [Cell, Cell];
      expect(other).toMatchObject({ ending: 'refused', phase: 'unsent' });
      expect(other.reason).toMatch(/this machine 0 \(--nic virtio\)/);
      expect(down).toMatchObject({ circumstance: 'link down', ending: 'verified' });
      expect(consoles.join('\n')).toMatch(/Link is Down/);
      const page = circumstancesHtml(found);
      expect(page).toMatch(
        /<th scope="row"><a href="#link-down">link down<\/a><\/th><td data-head="device-state">✔/,
      );
      expect(page).toMatch(/– refuses/);
    },
    TIMEOUT_MS,
  );
});

describe('the machine for an approach', () => {
  const nicOf = (effort: (typeof EFFORTS)[number], name: string, nic: 'vf' | 'vf,slot=ordinary' | 'vf=2') => {
    const auto = { tracking: 'auto', stop: 'auto', start: 'auto' };
    return machineFor({ effort, name, asked: { ...auto, [effort]: name } }, builtIn, nic);
  };

  it('has what the approach needs of its device, and is spared what it does better without', () => {
    for (const effort of EFFORTS) {
      for (const { name, needs, betterWithout = [], serves } of builtIn[effort]) {
        if (serves === 'none') continue;
        const { failover, slot } = nicChoiceOf(nicOf(effort, name, 'vf'))!;
        expect(failover, name).toBe(needs.includes('standby') ? 'on' : 'off');
        expect(slot, name).toBe(betterWithout.includes('button') ? 'quick' : 'ordinary');
      }
    }
  });

  it('keeps what was said of it, and what can not be had otherwise', () => {
    expect(nicOf('stop', 'hot-unplug-quick', 'vf,slot=ordinary')).toBe('vf,slot=ordinary');
    expect(nicOf('stop', 'failover', 'vf=2')).toBe('vf=2');
  });
});
