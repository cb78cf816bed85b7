/**
 * What every implementation of the data plane must do, whatever carries it. Each test drives a pair of planes over two
 * RAMs; `tests/migration/pages-memory-plane.test.ts` and `tests/vmm/transfer-planes.test.ts` run them.
 */
import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { type SeededRandom, seededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { sha256 } from '../../lab/simulator/run.js';
import { HashTable, PART_PAGES } from '../../migration/hash-table.js';
import { RunningRoot } from '../../migration/integrity.js';
import type {
  DataPlaneOptions,
  DestinationDataPlane,
  PageHasher,
  SourceDataPlane,
} from '../../migration/ports.js';
import { ramDifferences } from './ram-differences.js';

/** Two machines' RAM with a data plane between them, not yet opened. */
export interface PlanePair {
  readonly sourceRam: Uint8Array;
  readonly destinationRam: Uint8Array;
  readonly source: SourceDataPlane;
  readonly destination: DestinationDataPlane;
  readonly sourceHasher: PageHasher;
  readonly destinationHasher: PageHasher;
}

/**
 * Runs `body` with a fresh pair of `pages` pages each, closes both planes afterwards, and gives what body gave. On the
 * first channel to get that far, byte `flipByteAt` of what the source says is changed on the way.
 */
export type WithPair = <T>(
  options: { readonly pages: number; readonly flipByteAt?: number },
  body: (pair: PlanePair) => Promise<T>,
) => Promise<T>;

/** Changes byte `target` in the first chunk that covers it. */
export function flipper(target: number | undefined): (chunk: Uint8Array, at: number) => void {
  let done = target === undefined;
  return (chunk, at) => {
    const flip = (target ?? 0) - at;
    if (done || flip < 0 || flip >= chunk.length) return;
    chunk[flip]! ^= 0x10;
    done = true;
  };
}

export interface Conformance {
  readonly name: string;
  readonly withPair: WithPair;
  readonly bitmap: (pages: number) => AtomicBitmap;
  readonly random: SeededRandom;
}

/** More than one part of the table of hashes has. */
const PAGES = PART_PAGES + 128;
const OPTIONS: DataPlaneOptions = { channels: 2, integrity: true, hashSeed: 0xc0ffee, migratedPages: PAGES };

async function connectPair(pair: PlanePair, options: DataPlaneOptions): Promise<void> {
  const endpoint = await pair.source.open(options);
  await Promise.all([pair.destination.connect(endpoint, options), pair.source.connected()]);
}

/** Fills about half of the pages of [0, pages) with random bytes and makes the others zero. */
function scribble(ram: Uint8Array, pages: number, random: SeededRandom): void {
  for (let page = 0; page < pages; page++) {
    const view = ram.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    if (random.chance(0.5)) random.fill(view);
    else view.fill(0);
  }
}

/** Changes some pages as a guest would between rounds, and marks them. */
function mutate(ram: Uint8Array, dirty: AtomicBitmap, random: SeededRandom): void {
  for (let i = 0; i < 40; i++) {
    const page = random.below(PAGES);
    const from = page * PAGE_BYTES;
    if (random.chance(0.2)) ram.fill(0, from, from + PAGE_BYTES);
    else ram[from + random.below(PAGE_BYTES)] = random.below(256);
    dirty.set(page);
  }
}

/** Of a copy, so that nobody's marks are taken. */
function rootNow({ words, pages }: HashTable): Uint8Array {
  const copy = new HashTable(pages);
  copy.words.set(words);
  return new RunningRoot(sha256).of(copy);
}

function differingPages(a: Uint32Array, b: Uint32Array): number[] {
  const pages: number[] = [];
  for (let page = 0; page < a.length / 2; page++) {
    if (a[2 * page] !== b[2 * page] || a[2 * page + 1] !== b[2 * page + 1]) pages.push(page);
  }
  return pages;
}

export function describeDataPlane({ name, withPair, bitmap, random }: Conformance): void {
  describe(`data plane over ${name}`, () => {
    it('brings every page over, while pages change between rounds, and agrees on every hash', async () => {
      await withPair({ pages: PAGES + 64 }, async (pair) => {
        const { sourceRam, destinationRam, source, destination } = pair;
        scribble(sourceRam, PAGES + 64, random);
        destinationRam.fill(0xee); // stale bytes that zero pages must replace
        await connectPair(pair, OPTIONS);
        const dirty = bitmap(PAGES);
        dirty.fill();
        const [sentRoot, receivedRoot] = [new RunningRoot(sha256), new RunningRoot(sha256)];
        for (let round = 1; round <= 5; round++) {
          const [sent, received] = await Promise.all([
            source.sendRound(round, dirty),
            destination.received(round),
          ]);
          expect(received).toEqual(sent);
          expect(dirty.count()).toBe(0);
          // Kept since the first round, each is what it would be if it were computed now.
          expect(sentRoot.of(source.hashes)).toEqual(rootNow(source.hashes));
          expect(receivedRoot.of(destination.hashes)).toEqual(rootNow(source.hashes));
          if (round < 5) mutate(sourceRam, dirty, random);
        }
        expect(ramDifferences(destinationRam, sourceRam, PAGES)).toBe('');
        expect(differingPages(source.hashes.words, destination.hashes.words)).toEqual([]);
        const [hashesThere, hashesHere] = await Promise.all([
          pair.destinationHasher.hashAll(0, PAGES, OPTIONS.hashSeed),
          pair.sourceHasher.hashAll(0, PAGES, OPTIONS.hashSeed),
        ]);
        expect(differingPages(hashesHere, source.hashes.words)).toEqual([]);
        expect(differingPages(hashesThere, source.hashes.words)).toEqual([]);
        expect(destinationRam.subarray(PAGES * PAGE_BYTES).every((byte) => byte === 0xee)).toBe(true);
        expect(destination.progress()).toEqual(source.progress());
      });
    });

    it('marks the part of the table in which a hash changes, of a page with bytes and of one without', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        const { sourceRam, source, destination } = pair;
        scribble(sourceRam, PAGES, random);
        await connectPair(pair, OPTIONS);
        const dirty = bitmap(PAGES);
        dirty.fill();
        const [sentRoot, receivedRoot] = [new RunningRoot(sha256), new RunningRoot(sha256)];
        // One page a round, so that nobody else marks its part.
        for (const [at, fill] of [-1, 0x5a, 0, 0x5a].entries()) {
          if (fill >= 0) sourceRam.fill(fill, PART_PAGES * PAGE_BYTES, (PART_PAGES + 1) * PAGE_BYTES);
          dirty.set(PART_PAGES);
          await Promise.all([source.sendRound(at + 1, dirty), destination.received(at + 1)]);
          expect(sentRoot.of(source.hashes)).toEqual(rootNow(source.hashes));
          expect(receivedRoot.of(destination.hashes)).toEqual(rootNow(source.hashes));
        }
      });
    });

    it('brings those pages first that are to come first, and says when the last of them is there', async () => {
      const pages = 4096;
      await withPair({ pages }, async (pair) => {
        const { source, destination, sourceRam, destinationRam } = pair;
        const firstPages = { firstPage: pages - 300, pageCount: 133 };
        const end = firstPages.firstPage + firstPages.pageCount;
        for (let page = 0; page < pages; page++) if (page % 3 !== 0) sourceRam[page * PAGE_BYTES + 5] = 1;
        await connectPair(pair, { ...OPTIONS, migratedPages: pages, firstPages });
        const dirty = bitmap(pages);
        dirty.fill();
        let over = false;
        const first = destination.firstArrived().then(() => {
          const [from, to] = [firstPages.firstPage * PAGE_BYTES, end * PAGE_BYTES];
          const there = Buffer.compare(destinationRam.subarray(from, to), sourceRam.subarray(from, to)) === 0;
          return { there, over };
        });
        await Promise.all([
          source.sendRound(1, dirty),
          destination.received(1).then(() => {
            over = true;
          }),
        ]);
        expect(await first).toEqual({ there: true, over: false });
        await destination.firstArrived();
        expect(ramDifferences(destinationRam, sourceRam, pages)).toBe('');
        expect(dirty.count()).toBe(0);
        dirty.setRange(firstPages.firstPage - 40, end + 40);
        const [sent] = await Promise.all([source.sendRound(2, dirty), destination.received(2)]);
        expect(sent.pages + sent.zeroPages).toBe(firstPages.pageCount + 80);
      });
    });

    it('waits for no page that is to come first where there is none', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        await connectPair(pair, OPTIONS);
        await pair.destination.firstArrived();
      });
    });

    it('tells whoever waits for the first pages that the channels are closed', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        await connectPair(pair, { ...OPTIONS, firstPages: { firstPage: 3, pageCount: 9 } });
        const first = expect(pair.destination.firstArrived()).rejects.toMatchObject({
          code: 'transfer/closed',
        });
        await pair.destination.close();
        await first;
      });
    });

    it('brings a last round over on one channel of several', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        const { source, destination, sourceRam, destinationRam } = pair;
        await connectPair(pair, OPTIONS);
        const dirty = new AtomicBitmap(PAGES);
        dirty.fill();
        await Promise.all([source.sendRound(1, dirty), destination.received(1)]);
        mutate(sourceRam, dirty, seededRandom(5));
        const [sent, received] = await Promise.all([
          source.sendRound(2, dirty, 1),
          destination.received(2, 1),
        ]);
        expect(sent.pages).toBeGreaterThan(0);
        expect(received).toEqual(sent);
        expect(dirty.count()).toBe(0);
        expect(ramDifferences(destinationRam, sourceRam, PAGES)).toBe('');
        expect(differingPages(source.hashes.words, destination.hashes.words)).toEqual([]);
      });
    });

    it('names exactly the page in which one byte changed on the way', async () => {
      // Somewhere in the payload of a channel's first page frame: behind hello, header and at most one full body.
      await withPair({ pages: PAGES, flipByteAt: 32 + 32 + 1024 + 12_345 }, async (pair) => {
        const { sourceRam, destinationRam, source, destination } = pair;
        random.fill(sourceRam);
        await connectPair(pair, OPTIONS);
        const pages = bitmap(PAGES);
        pages.fill();
        await Promise.all([source.sendRound(1, pages), destination.received(1)]);
        const changed: number[] = [];
        for (let at = 0; at < sourceRam.length; at++) {
          if (sourceRam[at] !== destinationRam[at]) changed.push(Math.floor(at / PAGE_BYTES));
        }
        expect(changed).toHaveLength(1);
        expect(differingPages(source.hashes.words, destination.hashes.words)).toEqual(changed);
      });
    });

    it('counts zero pages apart from those that travel, and moves next to nothing for them', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        const { sourceRam, source, destination } = pair;
        sourceRam.fill(0);
        for (let page = 0; page < PAGES; page += 8) sourceRam[page * PAGE_BYTES + 4095] = 1;
        await connectPair(pair, OPTIONS);
        const pages = bitmap(PAGES);
        pages.fill();
        const [sent] = await Promise.all([source.sendRound(1, pages), destination.received(1)]);
        expect(sent.pages).toBe(PAGES / 8);
        expect(sent.zeroPages).toBe(PAGES - PAGES / 8);
        expect(sent.bytes).toBeLessThan((PAGES / 8) * PAGE_BYTES + 4096);
      });
    });

    it('sends nothing but the pages that are marked, and hashes nothing without integrity', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        const { sourceRam, destinationRam, source, destination } = pair;
        random.fill(sourceRam);
        destinationRam.fill(0x55);
        await connectPair(pair, { ...OPTIONS, integrity: false });
        const pages = bitmap(PAGES);
        for (const page of [0, 31, 32, 33, 300, PAGES - 1]) pages.set(page);
        const [sent] = await Promise.all([source.sendRound(1, pages), destination.received(1)]);
        expect(sent.pages).toBe(6);
        for (let page = 0; page < PAGES; page++) {
          const expected = [0, 31, 32, 33, 300, PAGES - 1].includes(page)
            ? sourceRam[page * PAGE_BYTES + 7]
            : 0x55;
          expect(destinationRam[page * PAGE_BYTES + 7]).toBe(expected);
        }
        expect(source.hashes.words).toHaveLength(0);
        expect(destination.hashes.words).toHaveLength(0);
      });
    });

    it('an empty round ends at both sides, and rounds received stay received', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        await connectPair(pair, OPTIONS);
        const [sent, received] = await Promise.all([
          pair.source.sendRound(1, bitmap(PAGES)),
          pair.destination.received(1),
        ]);
        expect(sent.pages + sent.zeroPages).toBe(0);
        expect(received).toEqual(sent);
        await pair.source.close();
        await expect(pair.destination.received(1)).resolves.toEqual(sent);
        await expect(pair.destination.received(2)).rejects.toMatchObject({ name: 'FerryError' });
      });
    });

    it('stopped under a bandwidth limit, returns early with every unsent page still marked', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        const { sourceRam, destinationRam, source, destination } = pair;
        random.fill(sourceRam);
        await connectPair(pair, OPTIONS);
        const pages = bitmap(PAGES);
        pages.fill();
        source.limitBandwidth(128 * 1024); // one word of pages (128 KiB) takes a second
        const sending = source.sendRound(1, pages);
        source.stop();
        const [sent, received] = await Promise.all([sending, destination.received(1)]);
        expect(received).toEqual(sent);
        expect(pages.count()).toBe(PAGES - sent.pages);
        expect(sent.pages).toBeLessThan(PAGES);
        source.limitBandwidth(undefined);
        const [rest] = await Promise.all([source.sendRound(2, pages), destination.received(2)]);
        expect(sent.pages + rest.pages).toBe(PAGES);
        expect(ramDifferences(destinationRam, sourceRam, PAGES)).toBe('');
      });
    });

    it('lifting the limit lets a waiting round finish', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        random.fill(pair.sourceRam);
        await connectPair(pair, OPTIONS);
        const pages = bitmap(PAGES);
        pages.fill();
        pair.source.limitBandwidth(64 * 1024); // 2 MiB would take half a minute
        const sending = pair.source.sendRound(1, pages);
        pair.source.limitBandwidth(undefined);
        await Promise.all([sending, pair.destination.received(1)]);
        expect(ramDifferences(pair.destinationRam, pair.sourceRam, PAGES)).toBe('');
      });
    });

    it('tells both sides, once, when the other goes away, and closes all the same', async () => {
      for (const leaver of ['source', 'destination'] as const) {
        await withPair({ pages: PAGES }, async (pair) => {
          random.fill(pair.sourceRam);
          await connectPair(pair, OPTIONS);
          pair.source.limitBandwidth(256 * 1024); // the round lasts until somebody leaves
          const pages = bitmap(PAGES);
          pages.fill();
          const both = Promise.allSettled([pair.source.sendRound(1, pages), pair.destination.received(1)]);
          await pair[leaver].close();
          for (const outcome of await both) {
            expect(outcome).toMatchObject({ status: 'rejected', reason: { name: 'FerryError' } });
          }
          const again = leaver === 'source' ? pair.destination.received(1) : pair.source.sendRound(2, pages);
          await expect(again).rejects.toMatchObject({ name: 'FerryError' });
        });
      }
    });

    it('refuses a destination with another token', async () => {
      await withPair({ pages: PAGES }, async (pair) => {
        const endpoint = await pair.source.open(OPTIONS);
        const wrong = { ...endpoint, token: 'f'.repeat(32) };
        await expect(pair.destination.connect(wrong, OPTIONS)).rejects.toMatchObject({
          code: 'transfer/connect-failed',
        });
      });
    });
  });
}
