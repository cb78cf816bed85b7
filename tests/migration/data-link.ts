/** The data plane between two test machines: the one of the simulator, on a link of a set rate, and with what goes wrong on the way. */
import type { Scheduler } from '../../base/clock.js';
import { PAGE_BYTES } from '../../base/units.js';
import { MemoryDataNetwork } from '../../lab/simulator/memory-data-plane.js';
import { Bandwidth, type Tamper } from '../../lab/simulator/memory-wire.js';
import { FRAME_CLOSE, FRAME_PAGES, pageFrameHeader } from '../../migration/pages/layouts.js';
import { RunTable } from '../../migration/pages/run-table.js';
import type { DestinationDataPlane, PageHasher, SourceDataPlane } from '../../migration/ports.js';

export interface DataLink {
  readonly source: SourceDataPlane;
  readonly destination: DestinationDataPlane;
  /** Highest number of bytes of the first so many rounds in any window of 100 ms, as bytes per second. */
  readonly peakRate: (rounds: number) => number;
  /** Pieces sent so far: the head of a frame, or bytes of some pages. */
  readonly pieces: () => number;
  readonly hashers: { readonly source: PageHasher; readonly destination: PageHasher };
}

export interface DataLinkOptions {
  readonly scheduler: Scheduler;
  readonly from: { readonly ram: Uint8Array };
  readonly to: { readonly ram: Uint8Array };
  readonly bytesPerSecond: number;
  /** Changes a page on its way. */
  readonly onPage?: (page: number, round: number, bytes: Uint8Array) => void;
  /** Breaks the channel that is to carry the piece with this number, counted from 0 over all channels. */
  readonly breakAtPiece?: number;
  /** From the piece with this number on nothing gets through, and nobody is told. */
  readonly stallAtPiece?: number;
}

export function dataLink(options: DataLinkOptions): DataLink {
  const { scheduler, from, to, bytesPerSecond, onPage } = options;
  const { breakAtPiece = Infinity, stallAtPiece = Infinity } = options;
  /** By round, and by tenth of a second. */
  const windows: Map<number, number>[] = [];
  const channels = new Map<number, PageFinder>();
  let pieces = 0;
  const tamper: Tamper = (piece, { channel, at }) => {
    let finder = channels.get(channel);
    if (finder === undefined) {
      finder = new PageFinder();
      channels.set(channel, finder);
    }
    // Who speaks, and that all was said, is none of a round's.
    if (at === 0 || finder.isClose(piece)) return piece;
    const number = pieces++;
    if (number === breakAtPiece) return 'cut';
    if (number >= stallAtPiece) return 'stall';
    const round = finder.find(piece, onPage);
    windows[round] ??= new Map();
    const window = Math.floor(scheduler.now() / 1e8);
    windows[round].set(window, (windows[round].get(window) ?? 0) + piece.length);
    return piece;
  };
  const network = new MemoryDataNetwork({ scheduler, tamper, bandwidth: new Bandwidth(bytesPerSecond) });
  const ram = { source: () => from.ram, destination: () => to.ram };
  return {
    source: network.source(ram.source),
    destination: network.destination(ram.destination),
    peakRate: (rounds) => {
      const sums = new Map<number, number>();
      for (const inRound of windows.slice(0, rounds + 1)) {
        for (const [window, bytes] of inRound ?? []) sums.set(window, (sums.get(window) ?? 0) + bytes);
      }
      return Math.max(0, ...sums.values()) * 10;
    },
    pieces: () => pieces,
    hashers: { source: network.hasher(ram.source), destination: network.hasher(ram.destination) },
  };
}

/** Knows the pages in the pieces of one channel: each frame begins with a piece of its own. */
class PageFinder {
  readonly #runs = new RunTable();
  #pages: number[] = [];
  #round = 0;

  isClose(piece: Uint8Array): boolean {
    return this.#pages.length === 0 && headerOf(piece).kind === FRAME_CLOSE;
  }

  /** Returns the round that the piece is of. */
  find(piece: Uint8Array, onPage: DataLinkOptions['onPage']): number {
    if (this.#pages.length === 0) return this.#begin(piece);
    for (let at = 0; at < piece.length; at += PAGE_BYTES) {
      const page = this.#pages.shift()!;
      onPage?.(page, this.#round, piece.subarray(at, at + PAGE_BYTES));
    }
    return this.#round;
  }

  #begin(piece: Uint8Array): number {
    const { kind, round, bodyBytes } = headerOf(piece);
    this.#round = round;
    if (kind !== FRAME_PAGES) return round;
    this.#runs.read(viewOf(piece), pageFrameHeader.size, bodyBytes, Infinity);
    for (let i = 0; i < this.#runs.length; i++) {
      const first = this.#runs.firstPage[i]!;
      for (let n = 0; n < this.#runs.pageCount[i]!; n++) this.#pages.push(first + n);
    }
    return round;
  }
}

const viewOf = (piece: Uint8Array) => new DataView(piece.buffer, piece.byteOffset, piece.length);
const headerOf = (piece: Uint8Array) => pageFrameHeader.read(viewOf(piece), 0);
