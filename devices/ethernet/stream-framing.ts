/**
 * Frames on a byte stream as QEMU's `-netdev stream` has them: each frame, without FCS, behind its length as a
 * big-endian 32-bit number; no handshake. The reader takes pieces cut anywhere; neither side allocates per frame.
 */
import { copyBytes } from '../../base/copy.js';
import { layout, u32be } from '../../base/layout.js';
import { FRAME_BYTES_MAX } from './frame.js';
import type { FrameSink } from './frame-sink.js';

export const streamHeader = layout('frame on a stream', { lengthBytes: u32be() });

/** The longest frame that QEMU sends (its NET_BUFSIZE); a length above this is no frame's. */
export const STREAM_FRAME_BYTES_MAX = 4096 + 65536;

const HEADER_BYTES = streamHeader.size;

export class FrameStreamParser {
  readonly #sink: FrameSink;
  /** The header or the frame that a piece ended in. */
  readonly #partial = new Uint8Array(FRAME_BYTES_MAX);
  #partialBytes = 0;
  /** Length of the frame being read, -1 while its header is. */
  #frameBytes = -1;
  /** Bytes of a giant still to be thrown away. */
  #skipBytes = 0;
  #broken = false;
  /** Frames longer than any station's buffer: skipped, never held. */
  giants = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /**
   * Takes the next piece, the first `bytes` of `piece`, and hands on every frame that it completes. False if a length is no frame's: what follows
   * can't be told apart any more, and the stream is of no further use.
   */
  push(piece: Uint8Array, bytes = piece.length): boolean {
    // Node's own views are slower to take parts of.
    const chunk = new Uint8Array(piece.buffer, piece.byteOffset, bytes);
    let at = 0;
    const end = chunk.length;
    while (at < end && !this.#broken) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, end - at);
        this.#skipBytes -= skipped;
        at += skipped;
      } else if (this.#frameBytes < 0) {
        at = this.#header(chunk, at);
      } else {
        at = this.#frame(chunk, at);
      }
    }
    return !this.#broken;
  }

  /** True if a frame has begun that has not ended: the peer went away within it. */
  get isWithinFrame(): boolean {
    return this.#partialBytes > 0 || this.#frameBytes >= 0 || this.#skipBytes > 0;
  }

  #header(chunk: Uint8Array, start: number): number {
    let at = start;
    let from = chunk;
    let header = start;
    if (this.#partialBytes > 0 || chunk.length - start < HEADER_BYTES) {
      while (this.#partialBytes < HEADER_BYTES && at < chunk.length) {
        this.#partial[this.#partialBytes++] = chunk[at++]!;
      }
      if (this.#partialBytes < HEADER_BYTES) return at;
      this.#partialBytes = 0;
      from = this.#partial;
      header = 0;
    } else {
      at += HEADER_BYTES;
    }
    const length =
      ((from[header]! << 24) | (from[header + 1]! << 16) | (from[header + 2]! << 8) | from[header + 3]!) >>>
      0;
    if (length > STREAM_FRAME_BYTES_MAX) {
      this.#broken = true;
    } else if (length > FRAME_BYTES_MAX) {
      this.giants++;
      this.#skipBytes = length;
    } else if (length === 0) {
      this.#sink(chunk, at, 0);
    } else {
      this.#frameBytes = length;
    }
    return at;
  }

  #frame(chunk: Uint8Array, at: number): number {
    const wanted = this.#frameBytes - this.#partialBytes;
    const there = chunk.length - at;
    if (this.#partialBytes === 0 && there >= wanted) {
      this.#frameBytes = -1;
      this.#sink(chunk, at, wanted);
      return at + wanted;
    }
    const taken = Math.min(wanted, there);
    copyBytes(this.#partial, this.#partialBytes, chunk, at, taken);
    this.#partialBytes += taken;
    if (taken === wanted) {
      const length = this.#frameBytes;
      this.#frameBytes = -1;
      this.#partialBytes = 0;
      this.#sink(this.#partial, 0, length);
    }
    return at + taken;
  }
}

/** Hands bytes to the stream; they must stay as they are until the stream is done with them. */
export type StreamWrite = (bytes: Uint8Array) => void;

const BLOCK_BYTES = 64 * 1024;
/** 8 MiB, made as they are needed: what a fast sender's burst takes while the reader waits for a core. */
const BLOCKS_MAX = 128;
/** Blocks that are handed over before they are full. */
const EAGER_BLOCKS = 2;

/**
 * Collects frames in blocks of a fixed pool and hands over whole blocks. When all blocks wait for a slow reader, frames
 * are refused, as a switch refuses what its port's queue has no room for.
 */
export class FrameStreamEncoder {
  readonly #write: StreamWrite;
  readonly #idle: Uint8Array[] = [];
  readonly #inFlight: Uint8Array[] = [];
  #made = 0;
  #block: Uint8Array | undefined;
  #used = 0;

  constructor(write: StreamWrite) {
    this.#write = write;
  }

  /** Adds a frame; false if there is no room for it. It goes out at the next `flush`, or when the block is full. */
  add(bytes: Uint8Array, at: number, length: number): boolean {
    if (this.#block !== undefined && this.#used + HEADER_BYTES + length > BLOCK_BYTES) this.#handOver();
    if (this.#block === undefined) {
      if (this.#idle.length === 0 && this.#made < BLOCKS_MAX) {
        this.#made++;
        this.#idle.push(new Uint8Array(BLOCK_BYTES));
      }
      this.#block = this.#idle.pop();
      this.#used = 0;
    }
    const block = this.#block;
    if (block === undefined) return false;
    let used = this.#used;
    block[used] = length >>> 24;
    block[used + 1] = length >>> 16;
    block[used + 2] = length >>> 8;
    block[used + 3] = length;
    used += HEADER_BYTES;
    copyBytes(block, used, bytes, at, length);
    this.#used = used + length;
    return true;
  }

  /**
   * Hands over what has been collected; while the stream still works on earlier blocks, goes on collecting instead, so
   * that a slow reader fills blocks and not a pool of nearly empty ones.
   */
  flush(): void {
    if (this.#inFlight.length < EAGER_BLOCKS) this.#handOver();
  }

  /** The stream is done with the oldest bytes it was given. */
  written(): void {
    const block = this.#inFlight.shift();
    if (block !== undefined) this.#idle.push(block);
    this.flush();
  }

  /** Blocks that the stream has not taken yet. */
  get blocksInFlight(): number {
    return this.#inFlight.length;
  }

  #handOver(): void {
    const block = this.#block;
    if (block === undefined || this.#used === 0) return;
    this.#block = undefined;
    this.#inFlight.push(block);
    this.#write(block.subarray(0, this.#used));
  }
}
