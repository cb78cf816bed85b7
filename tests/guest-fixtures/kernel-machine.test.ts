import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../base/random.js';
import type { Machine } from '../../dist/vmm/machine/machine.js';
import { Watch } from '../vmm/machine-watch.js';
import { moved, WORLDS, type World } from '../vmm/machine-worlds.js';

const PAGE = 4096;
/** The built image: threads start from built files, too. */
const image = readFileSync(new URL('../../dist/guests/kernel.img', import.meta.url));
const deterministic = WORLDS.find(({ name }) => name === 'deterministic')!;

async function booted(
  world: World,
  commandLine: string,
  vcpus = 1,
  seed = 1,
): Promise<{ machine: Machine; watch: Watch }> {
  const machine = world.create({ vcpus, seed });
  const watch = new Watch(machine);
  await machine.boot(image, commandLine);
  return { machine, watch };
}

/** Epochs that the ledger's status lines tell of. */
const epochs = (watch: Watch): number[] =>
  watch.lines.flatMap((line) => /epoch (\d+), clean$/.exec(line)?.[1] ?? []).map(Number);

/** The ledger's pages: first byte and number. */
async function ledgerOf(watch: Watch): Promise<{ base: number; pages: number }> {
  const line = await watch.line(/ledger: \d+ accounts in /);
  const [, pages, base] = /in (\d+) pages at (0x[0-9a-f]{8})$/.exec(line)!;
  return { base: Number(base), pages: Number(pages) };
}

const LEDGER = 'workload=ledger working_set=1M sweep_ms=20 status_ms=20';

describe.each(WORLDS)('the kernel on a machine of $name', ({ run }) => {
  test.each([1, 2, 4])('brings up %i vCPUs', (vcpus) =>
    run(async (world) => {
      const { watch } = await booted(world, 'workload=idle', vcpus);
      await watch.line(new RegExp(`smp: Brought up 1 node, ${vcpus} CPUs?$`));
      await watch.line(/Run idle as workload/);
      expect(watch.lines[0]).toMatch(/^\[ {4}\d\.\d{6}\] Ferry version/);
    }),
  );

  test.each([1, 2])('keeps a clean ledger on its way through five machines with %i vCPUs', (vcpus) =>
    run(async (world) => {
      let { machine, watch } = await booted(world, `${LEDGER} transactions=20000`, vcpus);
      await watch.line(/clean$/);
      for (let hop = 0; hop < 4; hop++) {
        await world.elapse(15);
        await machine.pause();
        const next = await moved(world, machine);
        machine.outgoing.relinquish();
        machine = next;
        watch.follow(next);
        await next.incoming.run();
        const seen = watch.lines.length;
        await watch.line(/clean$/, seen);
      }
      const last = epochs(watch).at(-1)!;
      while (epochs(watch).at(-1)! < last + 2) await watch.line(/clean$/, watch.lines.length);
      expect(watch.lines.filter((line) => /CORRUPT|panic/.test(line))).toEqual([]);
    }),
  );

  test('goes on as before while dirty pages are logged', () =>
    run(async (world) => {
      const { machine, watch } = await booted(
        world,
        'workload=mixed ledger_working_set=1M working_set=2M status_ms=20',
      );
      await watch.line(/ledger: .* clean$/);
      await machine.outgoing.startDirtyLog();
      const seen = watch.lines.length;
      await watch.line(/ledger: .* clean$/, seen);
      await watch.line(/stress: .* clean$/, seen);
      await machine.outgoing.stopDirtyLog();
      expect(watch.lines.filter((line) => /CORRUPT|panic/.test(line))).toEqual([]);
    }));

  test('reports a panic once, whatever the other vCPUs do', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, `${LEDGER} transactions=0`, 2);
      const { base, pages } = await ledgerOf(watch);
      await machine.pause();
      machine.ram.fill(0, base, base + pages * PAGE);
      await machine.resume();
      await watch.event('panic');
      await watch.line(/end Kernel panic/);
      expect(watch.lines.filter((line) => /\] Kernel panic/.test(line))).toHaveLength(1);
      expect(machine.state).toBe('crashed');
    }));

  test('has been heard to its last word when its panic is', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, `${LEDGER} transactions=0`, 2);
      const { base, pages } = await ledgerOf(watch);
      let heard: readonly string[] = [];
      machine.on((event) => {
        // Lines wait in the device thread while whoever takes them is busy.
        if (event.kind === 'console') for (const until = Date.now() + 20; Date.now() < until; );
        if (event.kind === 'panic') heard = [...watch.lines];
      });
      await machine.pause();
      machine.ram.fill(0, base, base + pages * PAGE);
      await machine.resume();
      await watch.event('panic');
      expect(heard.at(-1)).toMatch(/end Kernel panic/);
    }));
});

describe('a ledger stopped anywhere, with one page of an older state', () => {
  /** Pages put back for each number of vCPUs at least, among them some of each kind. */
  const TRIALS = 15;
  const KINDS = ['account', 'root'];
  const SEEDS_MAX = 60;

  /** Takes the pages as they are, lets the guest go on for a while, puts one that has changed back. Null if none has. */
  async function tampered(
    world: World,
    machine: Machine,
    watch: Watch,
    seed: number,
  ): Promise<number | null> {
    const random = seededRandom(seed);
    const { base, pages } = await ledgerOf(watch);
    await world.elapse(1 + random.unit() * 20);
    await machine.pause();
    const old = machine.ram.slice(base, base + pages * PAGE);
    await machine.resume();
    await world.elapse(random.chance(0.5) ? random.unit() * 0.05 : random.unit() * 3);
    await machine.pause();
    const changed: number[] = [];
    for (let page = 0; page < pages; page++) {
      const now = machine.ram.subarray(base + page * PAGE, base + (page + 1) * PAGE);
      if (Buffer.compare(now, old.subarray(page * PAGE, (page + 1) * PAGE)) !== 0) changed.push(page);
    }
    if (changed.length === 0) return null;
    // Tables and roots are few, and at the end; they get their turn.
    const page = random.chance(0.4)
      ? changed.at(-1 - random.below(Math.min(4, changed.length)))!
      : random.pick(changed);
    machine.ram.set(old.subarray(page * PAGE, (page + 1) * PAGE), base + page * PAGE);
    return base + page * PAGE;
  }

  test.each([1, 2, 3])(
    'names that page, with %i vCPUs in mid-transaction',
    { timeout: 240_000 },
    async (vcpus) => {
      let trials = 0;
      const kinds = new Set<string>();
      for (let seed = 1; trials < TRIALS || !KINDS.every((kind) => kinds.has(kind)); seed++) {
        expect(seed, `trials so far: ${trials}, with ${[...kinds]}`).toBeLessThanOrEqual(SEEDS_MAX);
        await deterministic.run(async (world) => {
          const { machine, watch } = await booted(world, `${LEDGER} transactions=0`, vcpus, seed);
          const page = await tampered(world, machine, watch, seed * 10 + vcpus);
          if (page === null) return;
          trials++;
          await machine.resume();
          await watch.event('panic');
          const [line] = watch.lines.filter((one) => one.includes('CORRUPT'));
          expect(line, `seed ${seed}`).toContain(`page 0x${page.toString(16).padStart(8, '0')} `);
          kinds.add(/ledger: (.*) page \d+: its content is stale/.exec(watch.lines.join('\n'))![1]!);
        }, seed);
      }
    },
  );

  test('says nothing when the page is put back as it was', () =>
    deterministic.run(async (world) => {
      const { machine, watch } = await booted(world, `${LEDGER} transactions=0`, 2);
      const { base, pages } = await ledgerOf(watch);
      await world.elapse(5);
      await machine.pause();
      machine.ram.set(machine.ram.slice(base, base + pages * PAGE), base);
      await machine.resume();
      await watch.line(/epoch [3-9], clean$/);
      expect(watch.lines.filter((line) => /CORRUPT|panic/.test(line))).toEqual([]);
    }));
});
