/** Where each side says that the guest is when a migration has ended, against where it is. */
import { describe, expect, it } from 'vitest';
import { FerryError } from '../../base/errors.js';
import type { LinkMessage, LinkRule, LinkVerdict, Side } from '../../lab/simulator/link.js';
import { DESTINATION_ENDINGS, endingOf, SOURCE_ENDINGS, VMM_ENDS } from '../../migration/endings.js';
import { migrationErrors } from '../../migration/errors.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { checkOneSurvivor, type Outcome, type Stage, simulate } from './simulate.js';
import { refused } from './test-errors.js';

const tables = { source: SOURCE_ENDINGS, destination: DESTINATION_ENDINGS } as const;

describe('the words at an end', () => {
  const cells = Object.entries(tables).flatMap(([side, table]) =>
    Object.entries(table).flatMap(([progress, endings]) =>
      Object.entries(endings).map(([ending, { guest, words }]) => ({ side, progress, ending, guest, words })),
    ),
  );

  it.each(cells)('of the $side, $progress, $ending, say where the guest is, and no more', (cell) => {
    const { side, guest, words, ending, progress } = cell;
    expect(words).toMatch(/\.$/);
    // Whoever does not know gets the exact commands; nobody else is sent to take back what may run elsewhere.
    const decides = guest === 'unknown';
    expect(/`x-ferry-reclaim`/.test(words)).toBe(
      decides || (progress === 'prepared' && ending !== 'peer-ended'),
    );
    expect(/`quit`/.test(words)).toBe(decides);
    if (guest === 'ended') expect(words).not.toMatch(/is lost|goes on|is here/);
    if (guest === 'here' && side === 'source')
      expect(words).toMatch(/^The guest (is|stood still and is) here/);
    if (guest === 'there') expect(words).toMatch(/^Nothing of the guest ran here/);
  });

  it('know an end by its error', () => {
    const lost = migrationErrors.error('peer-closed', { phase: 'active' });
    const cancelled = migrationErrors.error('cancelled', { phase: 'active' });
    const vmmEnded = migrationErrors.error('vmm-ended', { side: 'source', phase: 'active' });
    expect(
      [lost, cancelled, migrationErrors.error('integrity-mismatch', { pages: '1', count: 1 }), vmmEnded].map(
        (error) => endingOf('source', error),
      ),
    ).toEqual(['peer-lost', 'cancelled', 'failed', 'ended']);
    expect(endingOf('destination', FerryError.from(vmmEnded.toJSON()))).toBe('peer-ended');
  });
});

/** What the record of one side says at its end: one of the words of its table, and the same whereabouts. */
function saidBy(side: Side, record: MigrationRecord | DestinationRecord): string | undefined {
  const error = record.error ?? ('afterwards' in record ? record.afterwards : undefined);
  if (error !== undefined) {
    const fitting = Object.values(tables[side])
      .flatMap((endings) => Object.values(endings))
      .find(({ words, guest }) => error.advice.endsWith(words) && guest === record.guest);
    expect(fitting, `${side}: ${error.advice}`).toBeDefined();
    expect(error.advice.match(/The guest|Nothing of the guest/g), error.advice).toHaveLength(1);
  }
  return record.guest;
}

/** Compares what both sides say with where the guest is. `vmmEnded`: the side whose VMM was ended. */
function expectTrueWords(outcome: Outcome, what: string, vmmEnded?: Side): void {
  const survivor = checkOneSurvivor(outcome);
  const said = [saidBy('source', outcome.source), saidBy('destination', outcome.destination)];
  const ended = vmmEnded === 'source' && survivor === 'source';
  const fitting = {
    source: [ended ? ['ended', 'ended'] : ['here', 'there']],
    destination: [
      ['there', 'here'],
      ['unknown', 'here'],
    ],
    undecided: [['unknown', 'there']],
  }[survivor];
  expect(
    fitting,
    `${what}: ${survivor} has the guest, source and destination say ${said.join(', ')}`,
  ).toContainEqual(said);
}

async function messages(): Promise<LinkMessage[]> {
  const seen: LinkMessage[] = [];
  await simulate({
    rules: [
      {
        name: 'watch',
        judge: (message) => {
          seen.push(message);
          return message.kind === 'released' ? { do: 'delay', by: 0 as never } : undefined;
        },
      },
    ],
  });
  return seen;
}

const impatient = { keepaliveIntervalMs: 10, peerTimeoutMs: 50, answerTimeoutMs: 200 };

describe('what both sides say after a migration is true', () => {
  interface Deed {
    readonly what: string;
    readonly deed: (stage: Stage) => LinkVerdict;
    readonly vmmEnded?: Side;
  }
  const sides: readonly Side[] = ['source', 'destination'];
  const deeds: readonly Deed[] = [
    { what: 'the link is cut before', deed: () => ({ do: 'cut', when: 'before' }) },
    { what: 'the link is cut after', deed: () => ({ do: 'cut', when: 'after' }) },
    { what: 'its sender falls silent with', deed: () => ({ do: 'silence' }) },
    ...sides.flatMap((side): Deed[] => [
      { what: `a user of the ${side} cancels at`, deed: ({ cancel }) => abort(cancel[side]) },
      {
        what: `the VMM of the ${side} is ended at`,
        deed: ({ cancel }) => abort(cancel[side], VMM_ENDS),
        vmmEnded: side,
      },
    ]),
  ];
  const abort = (controller: AbortController, reason?: string): LinkVerdict => {
    controller.abort(reason);
    return { do: 'delay', by: 0 as never };
  };

  it.each(deeds)('when $what any message', async ({ what, deed, vmmEnded }) => {
    for (const { from, index, kind } of await messages()) {
      let stage: Stage | undefined;
      const rule: LinkRule = {
        name: kind,
        judge: (message) => (message.from === from && message.index === index ? deed(stage!) : undefined),
      };
      const outcome = await simulate({
        parameters: impatient,
        rules: [rule],
        prepare: (prepared) => {
          stage = prepared;
        },
      });
      expectTrueWords(outcome, `${what} ${kind} of the ${from}`, vmmEnded);
    }
  });

  it('when a machine can not be resumed, or can not run', async () => {
    const stuck = await simulate({
      prepare: ({ source, destination }) => {
        destination.failing = { load: refused('bad record') };
        source.failing = { resume: refused('no thread') };
      },
    });
    expect(stuck.source.error?.code).toBe('migration/take-back-failed');
    expect(saidBy('source', stuck.source)).toBe('here');
    expect(stuck.source.error?.advice).toMatch(/`cont` tries again/);
    const dead = await simulate({
      prepare: ({ destination }) => {
        destination.failing = { run: refused('no thread') };
      },
    });
    expect([saidBy('source', dead.source), saidBy('destination', dead.destination)]).toEqual([
      'unknown',
      'unknown',
    ]);
    expect(dead.destination.error?.advice).toMatch(
      /could not let it run.*`quit` here, then `x-ferry-reclaim`/,
    );
  });
});

describe('a guest that nobody knows the place of', () => {
  it('goes on as it was before the migration when it is reclaimed: device, vCPUs, speed, no tracking', async () => {
    let reclaim: (() => Promise<void>) | undefined;
    let stage: Stage | undefined;
    const outcome = await simulate({
      rules: [
        { name: 'cut', judge: ({ kind }) => (kind === 'commit' ? { do: 'cut', when: 'before' } : undefined) },
      ],
      prepare: (prepared) => {
        stage = prepared;
      },
      observer: {
        undecided: (given) => {
          reclaim = given;
        },
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('undecided');
    const { source } = stage!;
    await stage!.world.scheduler.run(reclaim!());
    expect(source.calls.slice(-2)).toEqual(['resume', 'stopDirtyLog']);
    expect(source.throttled).toBe(0);
    expect(source.running).toBe(true);
    source.stopForGood();
  });
});
