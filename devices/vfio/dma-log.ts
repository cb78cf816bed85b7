/**
 * DMA logging of one device (VFIO_DEVICE_FEATURE_DMA_LOGGING_*): which pages it has written, as the device itself
 * knows. The log stands in the way of the device's requests; only writes of its requester are logged, among them
 * messages, because one that does not lead to the interrupt range is a write as any other.
 *
 * Order, and why nothing is lost:
 *
 * 1. The log belongs to the thread that runs the device. A report is a call between two requests, so each request,
 *    with all its pages, lies wholly before it or wholly after it. No report can see half of one, and no lock is needed.
 * 2. A write goes on to the IOMMU first and is marked when that returns. The other way round, a reader on another
 *    thread could take the mark, copy the page, and the bytes would arrive behind its back, on a page that counts as
 *    clean. Marked afterwards, the worst that a wrong use from another thread can do is to report a page one report
 *    late. A guest sees a completion before its mark is made; that does no harm, because what it does then cannot reach
 *    a report before this thread is done with the request.
 * 3. A bus may have taken a write without having made it visible. Therefore a report begins with a read of no bytes,
 *    which, as on PCI Express, pushes all posted writes before it (Base Specification 2.2.5): whoever copies a page
 *    after the report sees everything that the report speaks of.
 * 4. A write after the report marks the page again. So a page is clean only if it has not changed since it was reported.
 *
 * A write that the IOMMU blocked is marked as well, for a posted write does not return: one page too many, never one
 * too few. The log is independent of the device's state; a reset of the device leaves it on.
 */
import { type AtomicBitmap, countTrailingZeros } from '../../base/bitmap.js';
import type { DmaPort, MsiPort, RequesterId } from '../../base/dma.js';
import type { FerryError } from '../../base/errors.js';
import { type Iova, PAGE_BYTES } from '../../base/units.js';
import { deviceErrors, type Errno } from '../errors.js';

export interface IovaRange {
  readonly iova: number;
  readonly length: number;
}

export interface DmaLogOptions {
  readonly name: string;
  /** The device's function; it is asked at each write, because a bus can be renumbered. */
  readonly source: { readonly routingId: RequesterId };
  /** Where requests go on to. */
  readonly next: DmaPort & MsiPort;
}

/** As many as Linux lets a user give: those that fit a page. */
export const LOG_RANGES_MAX = 256;
/** What one log may remember: 512 GiB in pages of 4 KiB, in 16 MiB. More is logged in larger pages. */
export const LOG_PAGES_MAX = 2 ** 27;
const DESCRIPTOR_BYTES = 16;
const MESSAGE_BYTES = 4;

/** One logged range: bit i is the i-th page from that of its first byte on. */
interface Span {
  readonly start: number;
  readonly end: number;
  /** Number of the first page. */
  readonly page: number;
  readonly dirty: Uint32Array;
}

export class DmaLog implements DmaPort, MsiPort {
  private readonly options: DmaLogOptions;
  private readonly next: DmaPort & MsiPort;
  private active = false;
  /** In ascending order. */
  private spans: readonly Span[] = [];
  private pageBytes = PAGE_BYTES;
  private readonly nothing = new Uint8Array(0);

  constructor(options: DmaLogOptions) {
    this.options = options;
    this.next = options.next;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The device's requests

  read(requester: RequesterId, address: Iova, target: Uint8Array, at: number, length: number): boolean {
    return this.next.read(requester, address, target, at, length);
  }

  write(requester: RequesterId, address: Iova, source: Uint8Array, at: number, length: number): void {
    this.next.write(requester, address, source, at, length);
    if (this.active) this.mark(requester, address, length);
  }

  writeDescriptor(
    requester: RequesterId,
    address: Iova,
    d0: number,
    d1: number,
    d2: number,
    d3: number,
  ): void {
    this.next.writeDescriptor(requester, address, d0, d1, d2, d3);
    if (this.active) this.mark(requester, address, DESCRIPTOR_BYTES);
  }

  send(requester: RequesterId, address: Iova, data: number): void {
    this.next.send(requester, address, data);
    if (this.active) this.mark(requester, address, MESSAGE_BYTES);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The host's interface

  get started(): boolean {
    return this.active;
  }

  /**
   * Starts logging of `ranges`; nothing in them is dirty yet. `pageSizeHint` is a power of two of at least 4 KiB.
   * Returns the page size that the log keeps: the smallest that its memory allows, whatever the hint. Throws
   * `vfioRefused`: EBUSY while started, E2BIG for more than `LOG_RANGES_MAX`, EINVAL for none at all (as Linux; whoever
   * wants everything names it), for one that is empty, not exact below 2^53, or overlaps another.
   */
  start(ranges: readonly IovaRange[], pageSizeHint: number = PAGE_BYTES): number {
    if (this.active) throw this.refused('START', 'EBUSY', 'it has been started');
    if (ranges.length > LOG_RANGES_MAX) {
      throw this.refused('START', 'E2BIG', `${ranges.length} ranges, at most ${LOG_RANGES_MAX}`);
    }
    if (ranges.length === 0) throw this.refused('START', 'EINVAL', 'no range');
    if (!isPowerOfTwo(pageSizeHint) || pageSizeHint < PAGE_BYTES) {
      throw this.refused('START', 'EINVAL', `page size ${pageSizeHint}`);
    }
    const sorted = [...ranges].sort((a, b) => a.iova - b.iova);
    sorted.forEach((range, i) => {
      this.judgeRange('START', range);
      const before = sorted[i - 1];
      if (before !== undefined && before.iova + before.length > range.iova) {
        throw this.refused('START', 'EINVAL', `${rangeText(range)} overlaps ${rangeText(before)}`);
      }
    });
    this.pageBytes = PAGE_BYTES;
    while (pagesOf(sorted, this.pageBytes) > LOG_PAGES_MAX) this.pageBytes *= 2;
    this.spans = sorted.map(({ iova, length }) => {
      const page = Math.floor(iova / this.pageBytes);
      const pages = Math.ceil((iova + length) / this.pageBytes) - page;
      return { start: iova, end: iova + length, page, dirty: new Uint32Array(Math.ceil(pages / 32)) };
    });
    this.active = true;
    return this.pageBytes;
  }

  /** Stops logging and forgets. Without effect while it is stopped. */
  stop(): void {
    this.active = false;
    this.spans = [];
  }

  /**
   * Takes the log of `length` bytes from `iova` on: or-s a bit into `bitmap` for each page of `pageSize` bytes, counted
   * from `iova`, that was written, and forgets them. `pageSize` is any power of two. Throws `vfioRefused` (EINVAL) with
   * nothing changed if logging is off, if a part of the range is not logged, so that nobody takes it for clean, or if
   * the bitmap is too short.
   */
  report(iova: number, length: number, pageSize: number, bitmap: AtomicBitmap): void {
    if (!this.active) throw this.refused('REPORT', 'EINVAL', 'it has not been started');
    if (!isPowerOfTwo(pageSize)) throw this.refused('REPORT', 'EINVAL', `page size ${pageSize}`);
    this.judgeRange('REPORT', { iova, length });
    if (Math.ceil(length / pageSize) > bitmap.length) {
      throw this.refused('REPORT', 'EINVAL', `a bitmap of ${bitmap.length} pages`);
    }
    const end = iova + length;
    let covered = 0;
    for (const span of this.spans)
      covered += Math.max(0, Math.min(end, span.end) - Math.max(iova, span.start));
    if (covered < length) {
      throw this.refused('REPORT', 'EINVAL', `not all of ${rangeText({ iova, length })} is logged`);
    }
    this.next.read(this.options.source.routingId, iova as Iova, this.nothing, 0, 0);
    for (const span of this.spans) {
      if (span.start < end && span.end > iova) this.take(span, iova, end, pageSize, bitmap);
    }
  }

  /** Reports what lies in `[iova, end)` of one span. A page that reaches beyond stays marked for the rest of it. */
  private take(span: Span, iova: number, end: number, pageSize: number, bitmap: AtomicBitmap): void {
    const { pageBytes } = this;
    const from = Math.max(iova, span.start);
    const to = Math.min(end, span.end);
    const stop = Math.ceil(to / pageBytes) - span.page;
    let page = nextDirty(span.dirty, Math.floor(from / pageBytes) - span.page, stop);
    while (page < stop) {
      let after = page + 1;
      while (after < stop && isDirty(span.dirty, after)) after++;
      const start = Math.max((span.page + page) * pageBytes, span.start);
      const stopAt = Math.min((span.page + after) * pageBytes, span.end);
      const first = Math.floor((Math.max(start, from) - iova) / pageSize);
      bitmap.setRange(first, Math.ceil((Math.min(stopAt, to) - iova) / pageSize));
      clean(span.dirty, start < from ? page + 1 : page, stopAt > to ? after - 1 : after);
      page = nextDirty(span.dirty, after, stop);
    }
  }

  private mark(requester: RequesterId, address: number, length: number): void {
    if (requester !== this.options.source.routingId) return;
    const { spans, pageBytes } = this;
    const end = address + length;
    for (let i = this.firstSpan(address); i < spans.length; i++) {
      const span = spans[i]!;
      if (span.start >= end) return;
      const last = Math.floor((Math.min(end, span.end) - 1) / pageBytes) - span.page;
      let page = Math.floor(Math.max(address, span.start) / pageBytes) - span.page;
      for (; page <= last; page++) span.dirty[page >>> 5]! |= 1 << (page & 31);
    }
  }

  /** Index of the first span that ends behind `address`. */
  private firstSpan(address: number): number {
    const { spans } = this;
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (spans[middle]!.end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  private judgeRange(request: string, range: IovaRange): void {
    const { iova, length } = range;
    const exact =
      Number.isSafeInteger(iova) && Number.isSafeInteger(length) && Number.isSafeInteger(iova + length);
    if (exact && iova >= 0 && length > 0) return;
    throw this.refused(request, 'EINVAL', `range ${rangeText(range)}`);
  }

  private refused(request: string, errno: Errno, problem: string): FerryError {
    return deviceErrors.error('vfioRefused', {
      device: this.options.name,
      request: `DMA_LOGGING_${request}`,
      problem,
      errno,
    });
  }
}

const isPowerOfTwo = (value: number): boolean => value >= 1 && value === 2 ** Math.floor(Math.log2(value));

const isDirty = (words: Uint32Array, page: number): boolean =>
  (words[page >>> 5]! & (1 << (page & 31))) !== 0;

/** The first dirty page from `page` on, or `stop` if there is none before. */
function nextDirty(words: Uint32Array, page: number, stop: number): number {
  if (page >= stop) return stop;
  let word = page >>> 5;
  let bits = words[word]! & (-1 << (page & 31));
  while (bits === 0) {
    word++;
    if (word * 32 >= stop) return stop;
    bits = words[word]!;
  }
  return Math.min(stop, word * 32 + countTrailingZeros(bits));
}

function clean(words: Uint32Array, from: number, to: number): void {
  for (let page = from; page < to; page++) words[page >>> 5]! &= ~(1 << (page & 31));
}

const pagesOf = (ranges: readonly IovaRange[], pageBytes: number): number =>
  ranges.reduce(
    (sum, { iova, length }) => sum + Math.ceil((iova + length) / pageBytes) - Math.floor(iova / pageBytes),
    0,
  );

const rangeText = ({ iova, length }: IovaRange): string => `0x${iova.toString(16)}+0x${length.toString(16)}`;
