/**
 * One outgoing frame: header and body in a small buffer that is used again and again, and the payload as views of
 * guest RAM (large runs, no copy) or of a staging buffer (small scattered runs, which cost more as separate pieces
 * of a gathering write than as one copy). A frame must be left alone until its bytes have been taken over.
 */

import { crc32 } from '../../base/crc32.js';
import { invariant } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';
import type { TransferCount } from '../ports.js';
import {
  CHANNEL_VERSION,
  FRAME_BODY_BYTES_MAX,
  FRAME_CLOSE,
  FRAME_END_OF_ROUND,
  FRAME_MAGIC,
  FRAME_PAGES,
  FRAME_PAGES_MAX,
  FRAME_PAYLOAD_BYTES_MAX,
  FRAME_ZERO,
  pageFrameHeader,
  roundCounts,
} from './layouts.js';
import type { RunTable } from './run-table.js';

/** Runs below this many pages are gathered by copying: measured with the scattered runs of `lab/bench/transfer.ts`. */
export const GATHER_BELOW_PAGES = 8;

const HEADER_BYTES = pageFrameHeader.size;
/** Offsets of the header's fields, for the hot path. */
const at = pageFrameHeader.offset;

/** Makes the buffers of a frame; a driver may want them of its platform's kind. */
export type Allocate = (lengthBytes: number) => Uint8Array;

const plainMemory: Allocate = (lengthBytes) => new Uint8Array(lengthBytes);

export class FrameBuffer {
  /** The frame in the order it travels: header with body, then payload; valid from 0 to `pieceCount`. */
  readonly pieces: Uint8Array[] = [];
  pieceCount = 0;
  /** Wire bytes of the whole frame. */
  bytes = 0;
  /** Pages whose bytes are in this frame, and pages that it says are zero. */
  pages = 0;
  zeroPages = 0;
  readonly #allocate: Allocate;
  readonly #head: Uint8Array;
  readonly #view: DataView;
  #staging: Uint8Array | undefined;

  constructor(allocate: Allocate = plainMemory) {
    this.#allocate = allocate;
    this.#head = allocate(HEADER_BYTES + FRAME_BODY_BYTES_MAX);
    this.#view = new DataView(this.#head.buffer, this.#head.byteOffset, this.#head.byteLength);
  }

  /** `copyBelowPages`: shorter runs are copied; Infinity copies all, so that the frame no longer changes with RAM. */
  encodePages(
    sequence: number,
    round: number,
    runs: RunTable,
    ram: Uint8Array,
    copyBelowPages = GATHER_BELOW_PAGES,
  ): void {
    invariant(runs.pages >= 1 && runs.pages <= FRAME_PAGES_MAX, `${runs.pages} pages in one frame`);
    runs.write(this.#view, HEADER_BYTES);
    this.#seal(FRAME_PAGES, sequence, round, runs.bodyBytes, runs.pages * PAGE_BYTES);
    this.pages = runs.pages;
    let staged = 0;
    let pending = 0; // staged bytes that no piece covers yet
    for (let i = 0; i < runs.length; i++) {
      const from = runs.firstPage[i]! * PAGE_BYTES;
      const lengthBytes = runs.pageCount[i]! * PAGE_BYTES;
      const view = ram.subarray(from, from + lengthBytes);
      if (runs.pageCount[i]! < copyBelowPages) {
        this.#stagingBuffer().set(view, staged);
        staged += lengthBytes;
        pending += lengthBytes;
        continue;
      }
      if (pending > 0) this.#push(this.#stagingBuffer().subarray(staged - pending, staged));
      pending = 0;
      this.#push(view);
    }
    if (pending > 0) this.#push(this.#stagingBuffer().subarray(staged - pending, staged));
  }

  encodeZero(sequence: number, round: number, runs: RunTable): void {
    invariant(runs.pages >= 1, 'zero frame without pages');
    runs.write(this.#view, HEADER_BYTES);
    this.#seal(FRAME_ZERO, sequence, round, runs.bodyBytes, 0);
    this.zeroPages = runs.pages;
  }

  encodeEndOfRound(sequence: number, round: number, sent: TransferCount): void {
    roundCounts.write(this.#view, HEADER_BYTES, { ...sent });
    this.#seal(FRAME_END_OF_ROUND, sequence, round, roundCounts.size, 0);
  }

  encodeClose(sequence: number, round: number): void {
    this.#seal(FRAME_CLOSE, sequence, round, 0, 0);
  }

  /** Writes the header for the body that is in place, and begins the list of pieces. */
  #seal(kind: number, sequence: number, round: number, bodyBytes: number, payloadBytes: number): void {
    const headBytes = HEADER_BYTES + bodyBytes;
    const view = this.#view;
    view.setUint32(at.magic, FRAME_MAGIC, true);
    view.setUint16(at.version, CHANNEL_VERSION, true);
    view.setUint8(at.kind, kind);
    view.setUint8(at.reserved, 0);
    view.setUint32(at.sequence, sequence, true);
    view.setUint32(at.round, round, true);
    view.setUint32(at.bodyBytes, bodyBytes, true);
    view.setUint32(at.payloadBytes, payloadBytes, true);
    view.setUint32(at.bodyCrc, crc32(this.#head, HEADER_BYTES, headBytes), true);
    view.setUint32(at.headerCrc, crc32(this.#head, 0, at.headerCrc), true);
    this.pieceCount = 0;
    this.bytes = headBytes + payloadBytes;
    this.pages = 0;
    this.zeroPages = 0;
    this.#push(this.#head.subarray(0, headBytes));
  }

  #push(piece: Uint8Array): void {
    this.pieces[this.pieceCount++] = piece;
  }

  #stagingBuffer(): Uint8Array {
    this.#staging ??= this.#allocate(FRAME_PAYLOAD_BYTES_MAX);
    return this.#staging;
  }
}
