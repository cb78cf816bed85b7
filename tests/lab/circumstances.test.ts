/** Tables of circumstances: how each ending is told, and what of it fails. Most moves are made up, two are real. */
import { describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { migrate } from '../../dist/lab/move/move.js';
import type { Cell, CircumstanceAxis } from '../../lab/compare/circumstances/circumstance.js';
import { destinations } from '../../lab/compare/circumstances/destinations.js';
import { guests } from '../../lab/compare/circumstances/guests.js';
import { fillTable, tableStatus } from '../../lab/compare/circumstances/run.js';
import { circumstancesText } from '../../lab/compare/circumstances/text.js';
import { machineFor } from '../../lab/compare/machine-for.js';
import { circumstancesHtml } from '../../lab/compare/report/circumstances.js';
import { labErrors } from '../../lab/errors.js';
import { GUEST_BEHAVIOURS } from '../../lab/move/guest-behaviour.js';
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
  Partial<Pick<MigrationRecord, 'rounds' | 'interruptionNs' | 'fallbacks' | 'error' | 'devices' | 'totalNs'>>;
type Checks = MigrateResult['verdict']['checks'];

/** A move that came to this; `checks` besides those that it did not pass because the guest was not moved. */
function moved(options: MigrateOptions, came: Came, checks: Checks = []): MigrateResult {
  const completed = came.status === 'completed';
  const passed = completed && checks.every(({ outcome }) => outcome === 'held');
  const unmoved: Checks = [{ name: 'the migration completed', outcome: 'failed', seen: 'it was not' }];
  return {
    verdict: { outcome: passed ? 'verified' : 'failed', checks: [...(completed ? [] : unmoved), ...checks] },
    record: { rounds: [], fallbacks: [], devices: [], totalNs: 1e9, ...came } as unknown as MigrationRecord,
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

async function cellOf(
  axis: CircumstanceAxis,
  came: Came | Error,
  checks: Checks = [],
  effort: 'stop' | 'start' = 'start',
) {
  const approaches = { [effort]: [effort === 'start' ? 'hot-plug' : 'hot-unplug'] };
  const found = await fillTable(axis, { approaches }, undefined, async (options) => {
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
    const { cell, status, text } = await cellOf(ANY, { status: 'completed', guest: 'there', fallbacks });
    expect(text).toMatch(/✔ by b 1.00 s/);
    expect(cell).toMatchObject({ ending: 'fell-back', reason: 'b, because it was silent' });
    expect(status).toBe(0);
  });
});

const onlyOf = (axis: CircumstanceAxis, ...names: readonly string[]): CircumstanceAxis => ({
  ...axis,
  circumstances: axis.circumstances.filter(({ name }) => names.includes(name)),
});

/** Moved, and the guest does not use its device there. */
const deviceless = {
  status: 'completed',
  guest: 'there',
  devices: [{ problem: 'it sleeps' }],
} as unknown as Came;

describe('a table', () => {
  it('is not filled without flows, and says so in the words of the command', async () => {
    const never = () => Promise.reject(new Error('moved'));
    await expect(fillTable(ANY, { flows: [] }, undefined, never)).rejects.toThrow(
      /^--flow none says nothing with --axis any/,
    );
  });
});

describe('guests that do not help', () => {
  it('are all that the guest kernel can be', () => {
    expect(guests.circumstances.map(({ name }) => name)).toEqual([...GUEST_BEHAVIOURS]);
  });

  it('may be moved without their device, which is told apart from one that is lost without a word', async () => {
    const silent = onlyOf(guests, 'silent');
    const noTraffic = [
      { name: 'traffic flows at the destination', outcome: 'failed', seen: 'none' },
    ] as const;
    const { cell, status, text } = await cellOf(silent, deviceless, noTraffic, 'stop');
    expect(cell).toMatchObject({ ending: 'without-device', reason: 'it sleeps' });
    expect(text).toMatch(/○ no device 1.00 s/);
    expect(status).toBe(0);
    const corrupt = [
      ...noTraffic,
      { name: 'the guest found nothing wrong', outcome: 'failed', seen: 'BUG' },
    ] as const;
    expect((await cellOf(silent, deviceless, corrupt, 'stop')).cell.ending).toBe('failed');
    expect((await cellOf(onlyOf(destinations, 'other revision'), deviceless)).cell.ending).toBe('failed');
    const dark = await fillTable(
      onlyOf(destinations, 'link down'),
      { approaches: { start: ['reset', 'hot-plug'] } },
      undefined,
      async (options) => moved(options, deviceless, noTraffic),
    );
    expect(dark.cells.map(({ approach, ending }) => [approach, ending])).toEqual([
      ['reset', 'without-device'],
      ['hot-plug', 'failed'],
    ]);
  });

  it('fail a stop that takes longer than one may that says of itself that it ends', async () => {
    const late = { status: 'completed', guest: 'there', totalNs: 50e9 } as Came;
    const { cell, status } = await cellOf(onlyOf(guests, 'silent'), late, [], 'stop');
    expect(cell.reason).toMatch(/ends whatever the guest does, and took 50.0 s, more than 43.0 s/);
    expect([cell.ending, status]).toEqual(['failed', EXIT_STATUS['not-verified']]);
  });

  it(
    'are really met: of one that hears nothing a request is not waited for, and a surprise moves it without its device',
    async () => {
      const asked = {
        approaches: { stop: ['capability', 'surprise'] },
        requestTimeoutMs: 300,
        deviceStartTimeoutMs: 300,
      };
      // Traffic would be waited for that never comes.
      const options = () => ({ guestBehaviour: 'silent', flows: [] }) as const;
      const silent = { ...onlyOf(guests, 'silent').circumstances[0]!, options };
      const { cells } = await fillTable({ ...guests, circumstances: [silent] }, asked, undefined, migrate);
      expect(cells.map(({ approach, ending, phase, reason }) => [approach, ending, phase, reason])).toEqual([
        ['capability', 'refused', 'running', expect.stringMatching(/did not answer susp within 300 ms/)],
        [
          'surprise',
          'without-device',
          undefined,
          expect.stringMatching(/has not taken vf0 into use in 300 ms/),
        ],
      ]);
      for (const { totalNs, guestCpuNs } of cells) {
        expect(totalNs).toBeGreaterThan(0.3e9);
        expect(guestCpuNs).toBeGreaterThan(0);
      }
    },
    TIMEOUT_MS,
  );
});

describe('destinations', () => {
  const only = (...names: readonly string[]): CircumstanceAxis => onlyOf(destinations, ...names);

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
      expect(other, other.reason).toMatchObject({ ending: 'refused', phase: 'unsent' });
      expect(other.reason).toMatch(/this machine 0 \(--nic virtio\)/);
      expect(down, down.reason).toMatchObject({ circumstance: 'link down', ending: 'verified' });
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
        const other = betterWithout.includes('button') ? 'quick' : 'ordinary';
        expect(slot, name).toBe(needs.includes('firmware') ? 'acpi' : other);
      }
    }
  });

  it('keeps what was said of it, and what can not be had otherwise', () => {
    expect(nicOf('stop', 'hot-unplug-quick', 'vf,slot=ordinary')).toBe('vf,slot=ordinary');
    expect(nicOf('stop', 'failover', 'vf=2')).toBe('vf=2');
  });
});
