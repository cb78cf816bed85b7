import { describe, expect, test } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import type { Machine } from '../../dist/vmm/machine/machine.js';
import { churnLines, DATA, letEnd } from './machine-guests.js';
import { booted, WORLDS, type World } from './machine-worlds.js';

const PAGE = 4096;
const ROUNDS = 8;

/** A copy of RAM that is kept up to date by nothing but harvests, as a migration's destination is. */
class Shadow {
  readonly pages: AtomicBitmap;
  readonly bytes: Uint8Array;
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.pages = new AtomicBitmap(machine.description.migratedPages);
    this.pages.fill();
    this.bytes = new Uint8Array(this.pages.length * PAGE);
  }

  /** Copies every page whose bit is set; returns how many. */
  copy(): number {
    let copied = 0;
    for (let page = this.pages.next(0); page >= 0; page = this.pages.next(page + 1)) {
      this.pages.exchangeWord(page >>> 5);
      const first = page & ~31;
      const last = Math.min(first + 32, this.pages.length);
      this.bytes.set(this.#machine.ram.subarray(first * PAGE, last * PAGE), first * PAGE);
      copied += last - first;
      page = first + 31;
    }
    return copied;
  }

  /** Pages in which RAM and the copy differ. */
  differences(): number[] {
    const differing: number[] = [];
    for (let page = 0; page < this.pages.length; page++) {
      const [from, to] = [page * PAGE, (page + 1) * PAGE];
      if (Buffer.compare(this.#machine.ram.subarray(from, to), this.bytes.subarray(from, to)) !== 0) {
        differing.push(page);
      }
    }
    return differing;
  }
}

/** Harvests while `vcpus` vCPUs churn; the harvest of round `skipped`, if any, goes nowhere. */
async function harvested(world: World, vcpus: number, skipped = -1): Promise<number[]> {
  const { machine, watch } = await booted(world, 'churners', 0, { vcpus });
  await watch.count(1);
  const shadow = new Shadow(machine);
  await machine.outgoing.startDirtyLog();
  const nowhere = new AtomicBitmap(shadow.pages.length);
  for (let round = 0; round < ROUNDS; round++) {
    await world.elapse(1);
    if (round === ROUNDS - 1) await machine.pause();
    await machine.outgoing.harvest(round === skipped ? nowhere : shadow.pages);
    shadow.copy();
  }
  return shadow.differences();
}

describe.each(WORLDS)('dirty logging in $name', ({ run }) => {
  test.each([1, 3])('a copy kept by harvests alone equals RAM, with %i vCPUs at work', (vcpus) =>
    run(async (world) => {
      expect(await harvested(world, vcpus)).toEqual([]);
    }),
  );

  test('negative control: a copy is stale when one harvest was dropped', () =>
    run(async (world) => {
      // The last round's, so that no page is dirtied again before the end.
      expect((await harvested(world, 2, ROUNDS - 1)).length).toBeGreaterThan(0);
    }));

  test('negative control: stores of the variant without logging are in no harvest', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'churners');
      await watch.count(1);
      const pages = new AtomicBitmap(machine.description.migratedPages);
      await machine.outgoing.startDirtyLog();
      await machine.outgoing.stopDirtyLog();
      await machine.outgoing.harvest(pages);
      pages.clear();
      await world.elapse(2);
      expect(await machine.outgoing.harvest(pages)).toMatchObject({ cpuPages: 0 });
      await machine.outgoing.startDirtyLog();
      await world.elapse(2);
      expect((await machine.outgoing.harvest(pages)).cpuPages).toBeGreaterThan(0);
    }));

  test('what a harvest reports as new is what it added, by who wrote it', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'churners');
      await watch.count(1);
      await machine.outgoing.startDirtyLog();
      await world.elapse(2);
      await machine.pause();
      const pages = new AtomicBitmap(machine.description.migratedPages);
      const { cpuPages, devicePages, bothPages } = await machine.outgoing.harvest(pages);
      expect(cpuPages + devicePages + bothPages).toBe(pages.count());
      expect(cpuPages).toBeGreaterThan(0);
      expect(await machine.outgoing.harvest(pages)).toMatchObject({
        cpuPages: 0,
        devicePages: 0,
        bothPages: 0,
      });
    }));

  test('a harvest leaves the pages that wait to be sent, and does not count them as new', () =>
    run(async (world) => {
      const { machine } = await booted(world, 'counter');
      const pages = new AtomicBitmap(machine.description.migratedPages);
      await machine.outgoing.startDirtyLog();
      const count = new DataView(machine.ram.buffer, machine.ram.byteOffset + DATA, 4);
      for (let round = 0; round < 3; round++) {
        pages.fill();
        const before = count.getUint32(0, true);
        while (count.getUint32(0, true) === before) await world.elapse(1);
        const report = await machine.outgoing.harvest(pages);
        expect(pages.length - pages.count(), 'pages that waited and were forgotten').toBe(0);
        expect(report).toMatchObject({ cpuPages: 0, devicePages: 0, bothPages: 0 });
      }
    }));

  test('the guest computes the same while its variant is swapped again and again', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'churn');
      await watch.count(1);
      for (let time = 0; time < 10; time++) {
        await machine.outgoing.startDirtyLog();
        await world.elapse(0.5);
        await machine.outgoing.stopDirtyLog();
      }
      letEnd(machine);
      await watch.line(/^s/);
      expect(watch.lines).toEqual(churnLines(watch.lines));
    }));

  test('a halted guest can be swapped and harvested as well, and wakes afterwards', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'ticks', 30);
      const pages = new AtomicBitmap(machine.description.migratedPages);
      await watch.count(1);
      for (let i = 0; i < 10; i++) {
        await machine.outgoing.startDirtyLog();
        await machine.outgoing.harvest(pages);
        await machine.outgoing.stopDirtyLog();
      }
      expect(await watch.line(/^t/)).toBe('t 30');
    }));
});
