/**
 * One direction of a cable: loss, bandwidth with a bounded queue in front of it, delay. A frame that meets none of
 * these is handed on at once, uncopied; one that has to wait is copied into the link's ring.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import type { Random } from '../../base/random.js';
import { type Duration, nanoseconds } from '../../base/units.js';
import { FCS_BYTES, FRAME_BYTES_MIN } from './frame.js';
import { FrameRing } from './frame-ring.js';
import type { FrameSink } from './frame-sink.js';

export interface LinkOptions {
  /** One-way delay. */
  readonly delay?: Duration;
  /** Share of frames that get lost, 0 to 1. */
  readonly loss?: number;
  /** Bytes per second, counted as on the wire: with preamble, FCS and gap. */
  readonly bandwidth?: number;
  /** Bytes that may wait for the wire (default: 1 MiB); more are dropped. */
  readonly queueBytes?: number;
}

export interface LinkStatistics {
  readonly lost: number;
  readonly queueDrops: number;
}

/** Preamble, start delimiter and the gap between frames, which take time on the wire. IEEE 802.3-2018, 4.4.2 */
const WIRE_OVERHEAD_BYTES = 20 + FCS_BYTES;
const QUEUE_BYTES_DEFAULT = 1024 * 1024;
/** Frames and bytes that may be under way in one direction; a long, fast link is lossy beyond this. */
const UNDER_WAY_BYTES_MAX = 32 * 1024 * 1024;
const FRAMES_MAX = 65536;

export class Link {
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #sink: FrameSink;
  readonly #delay: number;
  readonly #lossLimit: number;
  readonly #nsPerByte: number;
  readonly #queueBytes: number;
  readonly #waits: boolean;
  /** Frames under way, each with the time at which it is due. */
  readonly #underWay = new FrameRing(FRAMES_MAX, UNDER_WAY_BYTES_MAX);
  #wireFreeAt = 0;
  #cancel: Cancel | undefined;
  #lost = 0;
  #queueDrops = 0;

  constructor(scheduler: Scheduler, random: Random, options: LinkOptions, sink: FrameSink) {
    const { delay = nanoseconds(0), loss = 0, bandwidth, queueBytes = QUEUE_BYTES_DEFAULT } = options;
    invariant(delay >= 0 && loss >= 0 && loss <= 1 && (bandwidth === undefined || bandwidth > 0), 'link');
    this.#scheduler = scheduler;
    this.#random = random;
    this.#sink = sink;
    this.#delay = delay;
    this.#lossLimit = loss * 2 ** 32;
    this.#nsPerByte = bandwidth === undefined ? 0 : 1e9 / bandwidth;
    this.#queueBytes = queueBytes;
    this.#waits = delay > 0 || bandwidth !== undefined;
  }

  get statistics(): LinkStatistics {
    return { lost: this.#lost, queueDrops: this.#queueDrops };
  }

  /** Puts a frame on the cable. */
  send(bytes: Uint8Array, at: number, length: number): void {
    if (this.#lossLimit > 0 && this.#random.u32() < this.#lossLimit) {
      this.#lost++;
    } else if (this.#waits) {
      this.#enqueue(bytes, at, length);
    } else {
      this.#sink(bytes, at, length);
    }
  }

  /** The cable is pulled: what is under way is gone. */
  clear(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#lost += this.#underWay.frames;
    this.#underWay.clear();
    this.#wireFreeAt = 0;
  }

  #enqueue(bytes: Uint8Array, at: number, length: number): void {
    const now = this.#scheduler.now();
    const start = Math.max(now, this.#wireFreeAt);
    const wireBytes = Math.max(length, FRAME_BYTES_MIN) + WIRE_OVERHEAD_BYTES;
    const sentAt = start + wireBytes * this.#nsPerByte;
    const queuedBytes = this.#nsPerByte === 0 ? 0 : (start - now) / this.#nsPerByte;
    if (queuedBytes > this.#queueBytes || !this.#underWay.push(bytes, at, length, sentAt + this.#delay)) {
      this.#queueDrops++;
      return;
    }
    this.#wireFreeAt = sentAt;
    if (this.#cancel === undefined) this.#arm(now);
  }

  #arm(now: number): void {
    const wait = Math.max(0, this.#underWay.tag - now);
    this.#cancel = this.#scheduler.after(nanoseconds(wait), this.#deliver);
  }

  /** Hands on everything that is due. A timer may fire early or late by its own grain: the clock decides. */
  readonly #deliver = (): void => {
    this.#cancel = undefined;
    const ring = this.#underWay;
    const now = this.#scheduler.now();
    while (ring.frames > 0 && ring.tag <= now) {
      this.#sink(ring.bytes, ring.start, ring.length);
      ring.drop();
    }
    if (ring.frames > 0 && this.#cancel === undefined) this.#arm(now);
  };
}
