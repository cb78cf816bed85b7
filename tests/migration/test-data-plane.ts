/**
 * A data plane for tests of the flows: both halves in memory, a link of a set rate in virtual time, and hooks for what
 * goes wrong on the way. It sends batches page by page while the guest runs, so a page can change after it was read.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { Scheduler } from '../../base/clock.js';
import type { FerryError } from '../../base/errors.js';
import { nanoseconds, PAGE_BYTES } from '../../base/units.js';
import { migrationErrors } from '../../migration/errors.js';
import type {
  DataEndpoint,
  DataPlaneOptions,
  DestinationDataPlane,
  PageHasher,
  SourceDataPlane,
  TransferCount,
} from '../../migration/ports.js';

import { refused } from './test-errors.js';

const ZERO_PAGE = new Uint8Array(PAGE_BYTES);
const BATCH_PAGES = 16;
const HEADER_BYTES = 16;

export interface DataLink {
  readonly source: SourceDataPlane;
  readonly destination: DestinationDataPlane;
  /** Highest number of bytes sent in any window of 10 ms, as bytes per second, before the limit was lifted. */
  readonly peakRate: () => number;
  /** Batches sent so far. */
  readonly batches: () => number;
  readonly hashers: { readonly source: PageHasher; readonly destination: PageHasher };
}

export interface DataLinkOptions {
  readonly scheduler: Scheduler;
  readonly from: { readonly ram: Uint8Array };
  readonly to: { readonly ram: Uint8Array };
  readonly bytesPerSecond: number;
  /** Changes a page on its way. */
  readonly onPage?: (page: number, round: number, bytes: Uint8Array) => void;
  /** Breaks the channels before the batch with this number, counted from 0. */
  readonly breakAtBatch?: number;
  /** From the batch with this number on nothing gets through, and nobody is told. */
  readonly stallAtBatch?: number;
}

export function hashPage(bytes: Uint8Array, seed: number): readonly [number, number] {
  let low = seed | 1;
  let high = ~seed;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / 4);
  for (let i = 0; i < words.length; i++) {
    low = Math.imul(low ^ words[i]!, 0x9e3779b1) ^ (low >>> 15);
    high = (Math.imul(high, 31) + words[i]!) | 0;
  }
  return [low >>> 0, high >>> 0];
}

export function dataLink(options: DataLinkOptions): DataLink {
  const { scheduler, from, to, bytesPerSecond } = options;
  const sent: TransferCount[] = [];
  const total = { pages: 0, zeroPages: 0, bytes: 0 };
  const waiting: (() => void)[] = [];
  let settings: DataPlaneOptions | undefined;
  let hashes = { source: new Uint32Array(0), destination: new Uint32Array(0) };
  let limit: number | undefined;
  let stopped = false;
  let broken: FerryError | undefined;
  let connected = false;
  let batches = 0;
  const windows = new Map<number, number>();

  const change = (): void => {
    for (const wake of waiting.splice(0)) wake();
  };
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) {
      if (broken !== undefined) throw broken;
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  };
  const breakWith = (reason: string): void => {
    broken ??= migrationErrors.error('link-broken', { peer: 'data channel', reason });
    change();
  };
  const close = async (): Promise<void> => breakWith('closed');

  const sendBatch = async (round: number, batch: readonly number[]): Promise<TransferCount> => {
    if (batches++ === options.breakAtBatch) breakWith('reset');
    if (batches > (options.stallAtBatch ?? Infinity)) await until(() => stopped);
    if (broken !== undefined) throw broken;
    const count = { pages: 0, zeroPages: 0, bytes: HEADER_BYTES };
    for (const page of batch) {
      const range = [page * PAGE_BYTES, (page + 1) * PAGE_BYTES] as const;
      const copy = from.ram.slice(...range);
      if (settings!.integrity) hashes.source.set(hashPage(copy, settings!.hashSeed), 2 * page);
      if (Buffer.compare(copy, ZERO_PAGE) === 0) count.zeroPages++;
      else count.pages++;
      options.onPage?.(page, round, copy);
      to.ram.set(copy, range[0]);
      if (settings!.integrity) hashes.destination.set(hashPage(copy, settings!.hashSeed), 2 * page);
    }
    count.bytes += count.pages * PAGE_BYTES;
    total.pages += count.pages;
    total.zeroPages += count.zeroPages;
    total.bytes += count.bytes;
    if (limit !== undefined) {
      const window = Math.floor(scheduler.now() / 1e7);
      windows.set(window, (windows.get(window) ?? 0) + count.bytes);
    }
    const rate = Math.min(bytesPerSecond, limit ?? Number.POSITIVE_INFINITY);
    await scheduler.sleep(nanoseconds((count.bytes / rate) * 1e9));
    return count;
  };

  const source: SourceDataPlane = {
    async open(chosen) {
      settings = chosen;
      const words = chosen.integrity ? 2 * chosen.migratedPages : 0;
      hashes = { source: new Uint32Array(words), destination: new Uint32Array(words) };
      return {
        host: 'simulated',
        ports: Array.from({ length: chosen.channels }, (_, i) => i + 1),
        token: TOKEN,
      };
    },
    connected: () => until(() => connected),
    async sendRound(round: number, pages: AtomicBitmap) {
      const count = { pages: 0, zeroPages: 0, bytes: 0 };
      for (let page = pages.next(0); page !== -1 && !stopped; ) {
        const batch: number[] = [];
        for (; page !== -1 && batch.length < BATCH_PAGES; page = pages.next(page + 1)) batch.push(page);
        for (const claimed of batch) pages.words[claimed >>> 5]! &= ~(1 << (claimed & 31));
        const part = await sendBatch(round, batch);
        count.pages += part.pages;
        count.zeroPages += part.zeroPages;
        count.bytes += part.bytes;
        if (page !== -1) page = pages.next(page);
      }
      if (broken !== undefined) throw broken;
      sent[round] = count;
      change();
      return count;
    },
    limitBandwidth: (rate) => {
      limit = rate;
    },
    progress: () => ({ ...total }),
    stop: () => {
      stopped = true;
      change();
    },
    get hashes() {
      return hashes.source;
    },
    close,
  };

  const destination: DestinationDataPlane = {
    async connect(endpoint: DataEndpoint) {
      if (endpoint.token !== TOKEN) throw refused('token');
      connected = true;
      change();
    },
    async received(round) {
      await until(() => sent[round] !== undefined);
      return sent[round]!;
    },
    progress: () => ({ ...total }),
    get hashes() {
      return hashes.destination;
    },
    close,
  };

  return {
    source,
    destination,
    peakRate: () => Math.max(0, ...windows.values()) * 100,
    batches: () => batches,
    hashers: { source: hasher(scheduler, from), destination: hasher(scheduler, to) },
  };
}

export const TOKEN = '0123456789abcdef'.repeat(2);

function hasher(scheduler: Scheduler, of: { readonly ram: Uint8Array }): PageHasher {
  return {
    async hashAll(firstPage, pageCount, seed) {
      await scheduler.sleep(instantly);
      const table = new Uint32Array(2 * pageCount);
      for (let page = 0; page < pageCount; page++) {
        const at = (firstPage + page) * PAGE_BYTES;
        table.set(hashPage(of.ram.subarray(at, at + PAGE_BYTES), seed), 2 * page);
      }
      return table;
    },
    close: async () => undefined,
  };
}

const instantly = nanoseconds(1000);
