/**
 * What a destination's page worker receives on one channel, without the socket. It says where the next bytes go and
 * is told when they are there, so that a driver can aim reads straight into guest RAM:
 *
 *     for (;;) {
 *       const count = await read(receiver.target());   // any number of bytes up to the target's length
 *       act on receiver.filled(count);
 *     }
 *     receiver.ended();                                // the peer closed its side
 *
 * Every length, index and range is judged before any memory is touched: a page's target exists only after header and
 * body of its frame were found good. The first error ends the channel.
 */

import { crc32 } from '../../base/crc32.js';
import { type FerryError, InvariantError, invariant } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';
import type { TransferCount } from '../ports.js';
import { pageErrors } from './errors.js';
import { type Allocate, GATHER_BELOW_PAGES } from './frame-buffer.js';
import { checkHello } from './hello.js';
import {
  CHANNEL_VERSION,
  channelHello,
  FRAME_BODY_BYTES_MAX,
  FRAME_CLOSE,
  FRAME_END_OF_ROUND,
  FRAME_MAGIC,
  FRAME_PAGES,
  FRAME_PAYLOAD_BYTES_MAX,
  FRAME_ZERO,
  frameRules,
  pageFrameHeader,
  pageRun,
  ROUNDS_MAX,
  roundCounts,
} from './layouts.js';
import type { PageSink } from './page-sink.js';
import { RunTable } from './run-table.js';

const HEADER_BYTES = pageFrameHeader.size;
/**
 * A header is read with the least that a body has, which is all of it in the frames of a first round: one read less for each. None
 * but the last frame of a channel is shorter.
 */
const HEAD_BYTES = HEADER_BYTES + pageRun.size;
invariant(
  frameRules.every(
    (rule) => rule === undefined || rule.bodyBytesMax === 0 || rule.bodyBytesMin >= pageRun.size,
  ),
  'a frame that goes on is shorter than what is read of it at once',
);
/** Offsets of the header's fields, for the hot path. */
const at = pageFrameHeader.offset;

/** What `filled` completed. */
export const NOTHING = 0;
export const HELLO = 1;
export const FRAME = 2;
export const END_OF_ROUND = 3;
export const CLOSED = 4;
export type Received = typeof NOTHING | typeof HELLO | typeof FRAME | typeof END_OF_ROUND | typeof CLOSED;

export interface ReceiverSetup {
  /** Channel expected, or -1 for whichever the hello names. */
  readonly channel: number;
  /** What the hello must have, asked for when it is there; undefined accepts any (a recorded stream). */
  readonly token: (() => Uint8Array) | undefined;
  readonly migratedPages: number;
  readonly sink: PageSink;
}

type State = 'hello' | 'header' | 'body' | 'direct' | 'staged' | 'closed' | 'failed';

export class ChannelReceiver {
  readonly #setup: ReceiverSetup;
  readonly #allocate: Allocate;
  readonly #head: Uint8Array;
  readonly #view: DataView;
  #staging: Uint8Array | undefined;
  #state: State = 'hello';
  #channel: number;
  /** The memory being filled, and how much of it is. */
  #target: Uint8Array;
  #filled = 0;
  /** Next run of the frame to receive; with `direct`, the run before it is the target. */
  #run = 0;
  #stagedRun = 0;
  #pagesArrived = 0;
  /** Frames begun so far, and the stream offset at which the current one began. */
  #sequence = 0;
  #frameAt = 0;
  #at = 0;
  #kind = 0;
  #bodyBytes = 0;
  #payloadBytes = 0;
  #round = 1;
  #counts = { pages: 0, zeroPages: 0, bytes: 0 };
  #roundReceived: TransferCount = { pages: 0, zeroPages: 0, bytes: 0 };
  readonly runs = new RunTable();

  constructor(setup: ReceiverSetup, allocate: Allocate = (lengthBytes) => new Uint8Array(lengthBytes)) {
    this.#setup = setup;
    this.#allocate = allocate;
    this.#channel = setup.channel;
    this.#head = allocate(HEADER_BYTES + FRAME_BODY_BYTES_MAX);
    this.#view = new DataView(this.#head.buffer, this.#head.byteOffset, this.#head.byteLength);
    this.#target = this.#head.subarray(0, channelHello.size);
  }

  get channel(): number {
    return this.#channel;
  }

  /** Kind of the frame that `filled` completed last. */
  get kind(): number {
    return this.#kind;
  }

  /** Round being received. */
  get round(): number {
    return this.#round;
  }

  /** Number of the frame that `filled` completed last; its first byte is at `bytesReceived - frameBytes`. */
  get frame(): number {
    return this.#sequence - 1;
  }

  /** Wire bytes of that frame. */
  get frameBytes(): number {
    return HEADER_BYTES + this.#bodyBytes + this.#payloadBytes;
  }

  get bytesReceived(): number {
    return this.#at;
  }

  /** What the round that ended last brought on this channel, its end-of-round frame included. */
  get roundReceived(): TransferCount {
    return this.#roundReceived;
  }

  /** Memory for the next bytes; never empty, also when the channel is closed, so that a driver can read to the end. */
  target(): Uint8Array {
    return this.#filled === 0 ? this.#target : this.#target.subarray(this.#filled);
  }

  /**
   * The first `lengthBytes` bytes of `target()` are in place. Returns what that completed. Throws a FerryError
   * (`pages/bad-hello`, `pages/peer-version`, `pages/bad-frame`), after which the channel is of no more use.
   */
  filled(lengthBytes: number): Received {
    invariant(lengthBytes <= this.#target.length - this.#filled, 'more bytes than were asked for');
    this.#filled += lengthBytes;
    this.#at += lengthBytes;
    if (this.#state === 'direct') this.#reportArrived();
    if (this.#state === 'header' && this.#filled >= HEADER_BYTES) return this.#takeHeader();
    if (this.#filled < this.#target.length) return NOTHING;
    switch (this.#state) {
      case 'closed':
        throw this.#bad('it begins after the close frame');
      case 'hello':
        return this.#takeHello();
      case 'body':
        return this.#takeBody();
      case 'staged':
        this.#scatter();
        return this.#nextRun();
      case 'direct':
        return this.#nextRun();
      default:
        throw new InvariantError('bytes for a channel that has failed');
    }
  }

  /** The peer closed its side. Throws `pages/truncated` unless it said so before. */
  ended(): void {
    if (this.#state === 'closed') return;
    const within =
      this.#state === 'hello'
        ? 'before the hello'
        : this.#state !== 'header'
          ? 'in the middle'
          : this.#filled > 0
            ? 'in the header'
            : 'before the header';
    this.#state = 'failed';
    throw pageErrors.error('truncated', {
      channel: this.#channel,
      frame: this.#sequence,
      at: this.#at,
      within,
    });
  }

  #aim(state: State, target: Uint8Array): void {
    this.#state = state;
    this.#target = target;
    this.#filled = 0;
  }

  #aimAtHeader(): void {
    this.#frameAt = this.#at;
    this.#aim('header', this.#head.subarray(0, HEAD_BYTES));
  }

  #takeHello(): Received {
    this.#state = 'failed'; // until found good
    this.#channel = checkHello(this.#head, this.#setup.channel, this.#setup.token?.());
    this.#aimAtHeader();
    return HELLO;
  }

  #takeHeader(): Received {
    const view = this.#view;
    if (view.getUint32(at.magic, true) !== FRAME_MAGIC)
      throw this.#bad('it does not begin with the magic of a frame');
    if (view.getUint32(at.headerCrc, true) !== crc32(this.#head, 0, at.headerCrc)) {
      throw this.#bad('the checksum of its header does not match');
    }
    const version = view.getUint16(at.version, true);
    if (version !== CHANNEL_VERSION) throw this.#bad(`it has version ${version}`);
    const kind = view.getUint8(at.kind);
    const rule = frameRules[kind];
    if (rule === undefined) throw this.#bad(`its kind ${kind} is unknown`);
    if (view.getUint8(at.reserved) !== 0) throw this.#bad('a reserved field is not zero');
    const sequence = view.getUint32(at.sequence, true);
    if (sequence !== this.#sequence) throw this.#bad(`it has number ${sequence}`);
    const round = view.getUint32(at.round, true);
    if (round !== this.#round) {
      throw this.#bad(`it belongs to round ${round}, and round ${this.#round} is being received`);
    }
    if (round > ROUNDS_MAX) throw this.#bad(`more than ${ROUNDS_MAX} rounds`);
    const bodyBytes = view.getUint32(at.bodyBytes, true);
    const payloadBytes = view.getUint32(at.payloadBytes, true);
    if (bodyBytes < rule.bodyBytesMin || bodyBytes > rule.bodyBytesMax || bodyBytes % rule.bodyStep !== 0) {
      throw this.#bad(`a body of ${bodyBytes} bytes in a frame of kind ${rule.name}`);
    }
    if (payloadBytes < rule.payloadBytesMin || payloadBytes > rule.payloadBytesMax) {
      throw this.#bad(`a payload of ${payloadBytes} bytes in a frame of kind ${rule.name}`);
    }
    this.#kind = kind;
    this.#bodyBytes = bodyBytes;
    this.#payloadBytes = payloadBytes;
    // The header stays where it is: its body checksum is judged with the body behind it, some of which is there.
    this.#state = 'body';
    this.#target = this.#head.subarray(0, HEADER_BYTES + bodyBytes);
    if (this.#filled > this.#target.length) throw this.#bad('more comes after the close frame');
    return this.#filled < this.#target.length ? NOTHING : this.#takeBody();
  }

  #takeBody(): Received {
    const bodyCrc = this.#view.getUint32(at.bodyCrc, true);
    if (bodyCrc !== crc32(this.#head, HEADER_BYTES, HEADER_BYTES + this.#bodyBytes)) {
      throw this.#bad('the checksum of its body does not match');
    }
    switch (this.#kind) {
      case FRAME_PAGES:
        this.#readRuns();
        if (this.runs.pages * PAGE_BYTES !== this.#payloadBytes) {
          throw this.#bad(`it lists ${this.runs.pages} pages and carries ${this.#payloadBytes} bytes`);
        }
        this.#run = 0;
        return this.#nextRun();
      case FRAME_ZERO: {
        this.#readRuns();
        const { runs } = this;
        for (let i = 0; i < runs.length; i++) this.#setup.sink.zeroed(runs.firstPage[i]!, runs.pageCount[i]!);
        this.#counts.zeroPages += runs.pages;
        return this.#frameDone(FRAME);
      }
      case FRAME_END_OF_ROUND:
        return this.#endRound();
      default:
        invariant(this.#kind === FRAME_CLOSE, 'a kind of frame without a case');
        this.#frameAt = this.#at;
        this.#sequence++;
        this.#aim('closed', this.#head.subarray(0, 1));
        return CLOSED;
    }
  }

  #readRuns(): void {
    const { migratedPages } = this.#setup;
    const problem = this.runs.read(this.#view, HEADER_BYTES, this.#bodyBytes, migratedPages);
    if (problem !== undefined) throw this.#bad(problem);
  }

  #endRound(): Received {
    const said = roundCounts.read(this.#view, HEADER_BYTES);
    const counts = this.#counts;
    for (const name of ['pages', 'zeroPages', 'bytes'] as const) {
      if (said[name] !== counts[name]) {
        throw this.#bad(`the round had ${said[name]} ${name}, and ${counts[name]} were received`);
      }
    }
    this.#frameDone(END_OF_ROUND);
    this.#roundReceived = counts;
    this.#counts = { pages: 0, zeroPages: 0, bytes: 0 };
    this.#round++;
    return END_OF_ROUND;
  }

  /** Aims at the next run's memory, or at staging for as many short runs as follow one another. */
  #nextRun(): Received {
    const { runs } = this;
    if (this.#run === runs.length) {
      this.#counts.pages += runs.pages;
      return this.#frameDone(FRAME);
    }
    const first = this.#run;
    if (runs.pageCount[first]! >= GATHER_BELOW_PAGES || runs.length === 1) {
      this.#run++;
      this.#pagesArrived = 0;
      this.#aim('direct', this.#setup.sink.view(runs.firstPage[first]!, runs.pageCount[first]!));
      return NOTHING;
    }
    let pages = 0;
    while (this.#run < runs.length && runs.pageCount[this.#run]! < GATHER_BELOW_PAGES) {
      pages += runs.pageCount[this.#run++]!;
    }
    this.#stagedRun = first;
    this.#staging ??= this.#allocate(FRAME_PAYLOAD_BYTES_MAX);
    this.#aim('staged', this.#staging.subarray(0, pages * PAGE_BYTES));
    return NOTHING;
  }

  /** Whole pages are reported as they come in, so that they can be hashed while the cache still has them. */
  #reportArrived(): void {
    const whole = Math.floor(this.#filled / PAGE_BYTES);
    if (whole === this.#pagesArrived) return;
    const firstPage = this.runs.firstPage[this.#run - 1]!;
    this.#setup.sink.arrived(firstPage + this.#pagesArrived, whole - this.#pagesArrived);
    this.#pagesArrived = whole;
  }

  #scatter(): void {
    const { sink } = this.#setup;
    let at = 0;
    for (let i = this.#stagedRun; i < this.#run; i++) {
      const firstPage = this.runs.firstPage[i]!;
      const pageCount = this.runs.pageCount[i]!;
      const end = at + pageCount * PAGE_BYTES;
      sink.view(firstPage, pageCount).set(this.#target.subarray(at, end));
      sink.arrived(firstPage, pageCount);
      at = end;
    }
  }

  #frameDone(received: Received): Received {
    this.#counts.bytes += this.frameBytes;
    this.#sequence++;
    this.#aimAtHeader();
    return received;
  }

  #bad(problem: string): FerryError {
    this.#state = 'failed';
    return pageErrors.error('bad-frame', {
      channel: this.#channel,
      frame: this.#sequence,
      at: this.#frameAt,
      problem,
    });
  }
}
