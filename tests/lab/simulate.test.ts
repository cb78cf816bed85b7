/** Whole machines that migrate in virtual time under random faults. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { runCrew } from '../../dist/lab/simulator/crew.js';
import { violationsOf } from '../../lab/checkers/checkers.js';
import { addTally, Campaign, newTally } from '../../lab/simulator/campaign.js';
import { type Fault, faultOfName, nameOfFault } from '../../lab/simulator/fault.js';
import { DRAWN, randomPlan } from '../../lab/simulator/random-plan.js';
import { campaignText } from '../../lab/simulator/report.js';
import { CampaignFile } from '../../lab/simulator/resume.js';
import { shapeOfName } from '../../lab/simulator/shape.js';
import { shrinkPlan } from '../../lab/simulator/shrink.js';
import { WAYS } from '../../lab/simulator/ways.js';

const KERNEL = new URL('../../dist/guests/kernel.img', import.meta.url);
const image = readFileSync(KERNEL);
const SEEDS = 40;

const faults = (...names: readonly string[]): readonly Fault[] => names.map((name) => faultOfName(name)!);

describe('simulated migrations of whole machines', () => {
  let campaign: Campaign;
  /** One channel, slow enough that the guest has time, and the cheapest check. */
  let plain: Campaign;
  beforeAll(async () => {
    campaign = await Campaign.open({ image });
    const parameters = {
      tracking: 'iommu-dirty',
      stop: 'device-state',
      start: 'device-state',
      multifdChannels: 1,
      maxBandwidth: 100e6,
      maxRounds: 2,
      verify: 'root',
    } as const;
    plain = await Campaign.open({ image, parameters });
  });

  it(`hold what must hold for ${SEEDS} seeds, some of which complete and some of which do not`, async () => {
    const tally = newTally();
    for (let seed = 0; seed < SEEDS; seed++) await campaign.run(seed, tally);
    const pace = { seconds: 1, jobs: 1 };
    const text = campaignText(tally, pace, (seed) => `ferry simulate --seed ${seed}`);
    expect(tally.failures, text).toEqual([]);
    expect(tally.seeds).toBe(SEEDS);
    expect(tally.ends['completed, completed']).toBeGreaterThan(SEEDS / 4);
    expect(Object.keys(tally.ends).length).toBeGreaterThan(2);
    expect(Object.keys(tally.struck).length).toBeGreaterThan(6);
  });

  it('are the same, event for event, for the same seed, and others for another', async () => {
    const [first, again, other] = [await campaign.move(3), await campaign.move(3), await campaign.move(4)];
    expect(again.lines).toEqual(first.lines);
    expect(again.hash).toBe(first.hash);
    expect(other.hash).not.toBe(first.hash);
  });

  // Each of these was a defect that a random plan has shown.
  it.each([
    [
      'a page of the guest’s image that is damaged on its way is named: nothing is rehearsed without code',
      690_548,
    ],
    ['the reason is told before who waits for it takes this side for silent', 208_610],
  ])('%s', async (_, byte) => {
    const { happened } = await plain.move(2, faults(`data-flip@0/${byte}=5`));
    expect(happened.source.error?.code).toBe('migration/integrity-mismatch');
    expect(violationsOf(happened)).toEqual([]);
  });

  it('a guest that is moved on soon after it came is not announced any more where it was', async () => {
    const { happened } = await plain.move(193, faults('delay@source/hello#0=13015'));
    expect(happened.destination.status).toBe('completed');
    expect(violationsOf(happened)).toEqual([]);
  });

  it('a guest that is stopped and goes on while its pages are sent is moved all the same', async () => {
    const { happened } = await plain.move(2, faults('stop@3917us', 'cont@4435us'));
    expect(happened.destination.status).toBe('completed');
    expect(violationsOf(happened)).toEqual([]);
  });

  it.each([
    ['cut@source/commit#0', 'failed'],
    ['cut-after@source/commit#0', 'completed'],
    ['silence@destination/running#0', 'completed'],
  ])(
    'whose network is back in a moment leave nobody in doubt about where the guest is: %s',
    async (fault, ends) => {
      const { happened } = await plain.move(2, faults(fault));
      expect(happened.source.status).toBe(ends);
      expect(violationsOf(happened)).toEqual([]);
    },
  );

  it.each(['garbage@source/inquiry#0=7', 'truncate@source/inquiry#0=40', 'flip@source/inquiry#0=200'])(
    'a question that arrives damaged is refused at the door, which is no verdict, and asked again: %s',
    async (damage) => {
      const { happened } = await plain.move(2, faults('cut@destination/running#0', damage));
      expect(happened.source.status).toBe('completed');
      expect(violationsOf(happened)).toEqual([]);
    },
  );

  it.each<[what: string, fault: string, source: string | undefined, destination: string | undefined]>([
    ['an operator ends the source', 'quit-source@source/complete#0', undefined, 'failed'],
    ['an operator ends the destination', 'quit-destination@destination/prepared#0', 'failed', undefined],
    ['the guest shall stand still where it comes', 'stop-destination@start', 'completed', 'completed'],
    ['the guest is asked for its device just before', 'unplug@start', 'completed', 'completed'],
    ['the guest’s link flaps', 'link-flap@source/round-end#0=2000', 'completed', 'completed'],
    ['the device has a fatal error', 'inject-error@start=0', 'completed', 'completed'],
    [
      'the source stands still when it is answered',
      'suspend-source@destination/prepared#0=150000',
      'failed',
      'failed',
    ],
    [
      'the destination stands still before the commit',
      'suspend-destination@source/commit#0=150000',
      'completed',
      'completed',
    ],
    ['the clock of the source is slow', 'drift-source@start=400', 'completed', 'completed'],
    ['the clock of the destination is fast', 'drift-destination@start=2500', 'completed', 'completed'],
    ['a data channel goes on later than the rest', 'data-delay@0/90000=20000', 'completed', 'completed'],
    ['a data channel goes on too late', 'data-delay@0/90000=250000', 'failed', 'failed'],
    ['no function is free at the destination', 'other-device@start=0', 'failed', 'failed'],
    ['the other device speaks no VFIO migration', 'other-device@start=4', 'failed', 'failed'],
    ['the destination gives the function another address', 'other-device@start=6', 'failed', 'failed'],
    ['a peer of a later version answers', 'other-version@destination/welcome#0=0', 'failed', 'failed'],
    ['a peer of an earlier version comes', 'other-version@source/hello#0=1', 'failed', undefined],
    [
      'the thread of a channel dies at the source',
      'lose-worker-source@source/round-end#0=0',
      'failed',
      'failed',
    ],
    [
      'the thread of a channel dies at the destination',
      'lose-worker-destination@destination/round-received#0=0',
      'failed',
      'failed',
    ],
    [
      'the clock of the source jumps a little',
      'jump-source@source/round-end#0=20000',
      'completed',
      'completed',
    ],
    [
      'the clock of the source jumps by seconds',
      'jump-source@source/round-end#0=3000000',
      'completed',
      'completed',
    ],
    ['a wall clock is set back', 'set-back-destination@source/round-end#0=900000', 'completed', 'completed'],
    [
      'the guest takes its device down and up',
      'guest-toggles@source/round-end#0=3000',
      'completed',
      'completed',
    ],
    ['the guest gives its device up and takes it back', 'guest-unloads@start=9000', 'completed', 'completed'],
    ['the guest lies to nobody who asks', 'guest-lies@start=9000', 'completed', 'completed'],
    ['the guest crashes', 'guest-crashes@start', 'failed', 'failed'],
    ['a crowd comes to the door', 'stranger@source/round-end#0=3', 'completed', 'completed'],
    ['a source comes that repeats another', 'stranger@source/complete#0=6', 'completed', 'completed'],
    ['a crowd comes to a data channel', 'data-stranger@source/data#0=12', 'completed', 'completed'],
  ])('go as they should when %s', async (_, fault, source, destination) => {
    const move = await plain.move(2, faults(fault));
    expect(move.idle).toEqual([]);
    expect(violationsOf(move.happened)).toEqual([]);
    expect([move.happened.source.status, move.happened.destination.status]).toEqual([source, destination]);
  });

  it.each([
    ['kill-source@start'],
    ['inject-error@source/round-end#0=0', 'kill-source@source/round-end#0'],
    ['quit-source@source/round-end#0', 'kill-source@source/round-end#0'],
    ['suspend-source@source/round-end#0=1000', 'stop@source/round-end#0', 'kill-source@source/round-end#0'],
  ])(
    'of which a process is killed while an operator waits for its answer come to an end: %s',
    async (...names) => {
      const move = await plain.move(2, faults(...names));
      expect(move.idle).toEqual([]);
      expect(move.happened.source.gone).toBe(true);
      expect(violationsOf(move.happened)).toEqual([]);
    },
  );

  it('are not begun while the dirty rate is measured', async () => {
    const { happened } = await plain.move(2, faults('dirty-rate@start'));
    expect(violationsOf(happened)).toEqual([]);
    expect(happened.source.status).toBeUndefined();
    expect(happened.second?.destination.status).toBe('completed');
  });

  it('that failed are no obstacle to others: a destination that has told its verdict waits for no more questions', async () => {
    const { happened } = await plain.move(2, faults('cut@source/commit#0'), { inquiryTimeoutMs: 5000 });
    expect(happened.source.status).toBe('failed');
    expect(happened.second?.destination.status).toBe('completed');
    expect(violationsOf(happened)).toEqual([]);
  });

  it('a piece of a device’s stream that comes twice is named by the device', async () => {
    const stop = 'device-state';
    const { happened } = await campaign.move(100_340, faults('repeat@source/device-data#0'), { stop });
    expect(happened.source.error?.code).toBe('devices/migrationDamaged');
    expect(violationsOf(happened)).toEqual([]);
  });

  it('go on where they ended, from a file that is of the same campaign', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ferry-campaign-'));
    const path = join(folder, 'campaign.json');
    try {
      const range = { from: 0, to: 9 };
      const first = new CampaignFile(path, 'one');
      expect(first.left(range)).toEqual([range]);
      const tally = newTally();
      for (const seed of [3, 4, 8]) await plain.run(seed, tally);
      first.add({ from: 8, to: 8 });
      first.add({ from: 3, to: 3 });
      first.add({ from: 4, to: 4 });
      first.save(tally);
      const again = new CampaignFile(path, 'one');
      expect(again.tally).toEqual(tally);
      expect(again.left(range)).toEqual([
        { from: 0, to: 2 },
        { from: 5, to: 7 },
        { from: 9, to: 9 },
      ]);
      expect(again.left({ from: 3, to: 4 })).toEqual([]);
      expect(() => new CampaignFile(path, 'another')).toThrow(/it is of another campaign/);
      writeFileSync(path, readFileSync(path, 'utf8').replace('"seeds":3', '"seeds":-3'));
      expect(() => new CampaignFile(path, 'one')).toThrow(/can't be gone on with/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each<[string, string, number, string, string]>([
    // What the driver is told of a link was put down in the record of a function that stood still.
    [
      'a link that flaps while its function is compared',
      'plain',
      2,
      'link-flap-destination@destination/prepared#0=0',
      'device-state',
    ],
    [
      'a link that flaps when its function has been sent',
      'plain',
      2,
      'link-flap@destination/prepared#0=0',
      'device-state',
    ],
    // A reset by the guest, as it went on, took back the request that came after it.
    [
      'a guest that is taken back finds its device in ACPI’s slot',
      'acpi',
      100_083,
      'cut@source/commit#0',
      'acpi-eject',
    ],
    ['so does one whose commit was refused', 'acpi', 110, 'flip@source/commit#0=0', 'acpi-eject'],
    // It loses packets a second time when it changes back to its device.
    [
      'a guest with a standby, that is let go on by a person',
      'standby',
      18,
      'stop-destination@source/verify#0',
      'failover',
    ],
  ])('hold what once they did not: %s', async (_, machine, seed, fault, stop) => {
    const one = await Campaign.open({
      image,
      machine: shapeOfName(machine)!,
      parameters: { verify: 'full', stop },
    });
    const { move, violations } = await one.judge(seed, faults(fault));
    expect(move?.idle).toEqual([]);
    expect(violations).toEqual([]);
  });

  it('with any stop and start that this machine can do complete, and the guest works with its device in the end', async () => {
    const names = WAYS.map(({ stop, start }) => ({ stop: stop.name, start: start.name }));
    const soon = names.filter(({ stop, start }) => stop !== 'hot-unplug' && start !== 'reset');
    for (const way of soon) {
      const { happened } = await campaign.move(3, [], way);
      expect([happened.source.status, ...violationsOf(happened)], JSON.stringify(way)).toEqual(['completed']);
    }
    expect(soon.length).toBeGreaterThan(10);
  });

  it('are found by a guest that was moved while it stood still, and answers only', async () => {
    const parameters = { stop: 'graceful', start: 'error-recovery-nonfatal' };
    const { happened } = await campaign.move(168, faults('stop@destination/round-received#0'), parameters);
    expect(happened.destination.status).toBe('completed');
    expect(violationsOf(happened)).toEqual([]);
  });

  it('a source that ends while it closes its data channels closes them once', async () => {
    const { violations } = await plain.judge(2, faults('kill-source@source/released#0'));
    expect(violations).toEqual([]);
  });

  it('leave a guest that was about to take its device down with its device, whenever that is cancelled', async () => {
    const parameters = { tracking: 'unmap-touch', stop: 'capability', start: 'capability' } as const;
    const asking = await Campaign.open({ image, parameters });
    const ends = new Set<string | undefined>();
    for (let us = 11_000; us <= 18_000; us += 1000) {
      const { move, violations } = await asking.judge(9, faults(`cancel@${us}us`));
      expect(violations, `cancel@${us}us`).toEqual([]);
      ends.add(move?.happened.source.status);
    }
    expect(ends).toContain('cancelled');
  });

  it('under a plan that lets something throw for which nobody waits are a failure', async () => {
    const judged = plain.judge(2, []);
    void Promise.resolve().then(() => Promise.reject(new Error('nobody waits for this')));
    expect((await judged).violations).toEqual([{ checker: 'simulation', finding: 'nobody waits for this' }]);
  });

  it('come to the same on another thread', async () => {
    const here = newTally();
    for (const seed of [5, 6]) {
      const one = newTally();
      await campaign.run(seed, one);
      addTally(here, one);
    }
    let toldOf = 0;
    const there = await runCrew({
      imagePath: fileURLToPath(KERNEL),
      plan: undefined,
      parameters: undefined,
      jobs: 1,
      portions: [{ from: 5, to: 6 }],
      enough: () => false,
      progress: ({ seeds }) => {
        toldOf = seeds;
      },
    });
    expect(there).toEqual(here);
    expect(toldOf).toBe(2);
  });

  it('under a plan that was given, of which something never strikes, are a failure', async () => {
    const given = await Campaign.open({ image, plan: faults('cancel@99999999us') });
    const tally = newTally();
    await given.run(1, tally);
    expect(tally.failures).toEqual([
      expect.objectContaining({
        violations: [{ checker: 'plan', finding: 'cancel@99999999us never struck' }],
      }),
    ]);
  });
});

describe('a plan of faults', () => {
  it('is made of faults whose names say all of them', () => {
    const kinds = new Set<string>();
    for (let seed = 0; seed < 1000; seed++) {
      for (const fault of randomPlan(seededRandom(seed), 2)) {
        kinds.add(fault.kind);
        const name = nameOfFault(fault);
        expect(nameOfFault(faultOfName(name)!)).toBe(name);
      }
    }
    expect([...kinds].sort()).toEqual([...DRAWN].sort());
    for (const no of [
      '',
      'cut',
      'cut@5us',
      'hit@source/commit#0',
      'cut@source/commits#0',
      'data-cut@5us',
      'cut@0/5',
      'toString@5us',
    ]) {
      expect(faultOfName(no), no).toBeUndefined();
    }
  });

  it('that fails is shrunk to what it takes, each of it as simple as can be', async () => {
    const plan = faults(
      'cancel@5us',
      'delay@source/commit#0=70000',
      'flip@source/state#0=77',
      'kill-source@9us',
    );
    let attempts = 0;
    const shortest = await shrinkPlan(plan, async (candidate) => {
      attempts++;
      const has = (kind: string): Fault | undefined => candidate.find((fault) => fault.kind === kind);
      return has('kill-source') !== undefined && (has('delay')?.amount ?? 0) >= 1000;
    });
    expect(shortest.map(nameOfFault)).toEqual(['delay@source/commit#0=1093', 'kill-source@9us']);
    expect(attempts).toBeLessThan(40);
  });
});
