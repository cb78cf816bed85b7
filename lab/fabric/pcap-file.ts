/**
 * A capture on disk, or into a pipe. It is written in large pieces and without waiting: what a slow reader leaves in the
 * pipe waits here, as far as there is room, and whole packets are left out beyond that. When the disk refuses, the capture
 * ends and says why. The network goes on in any case.
 */
import { closeSync, writeSync } from 'node:fs';
import type { Scheduler } from '../../base/clock.js';
import type { FerryError } from '../../base/errors.js';
import { FRAME_BYTES_MAX } from '../../devices/ethernet/frame.js';
import { type Epoch, PcapngWriter } from '../../devices/ethernet/pcapng.js';
import { isFull, openOutput } from '../../vmm/process/output-file.js';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';
import { formatCount } from '../report/words.js';

/** Bytes that may wait for a pipe's reader. */
const WAITING_BYTES_MAX = 8 * 2 ** 20;

export interface PcapReport {
  readonly path: string;
  /** Packets that were written, or wait to be. */
  readonly packets: number;
  /** Packets left out because the reader was too slow, or because the capture had ended. */
  readonly dropped: number;
  /** Why it is cut; null for a whole one. */
  readonly failure: string | null;
}

export class PcapFile {
  readonly path: string;
  readonly #file: number;
  readonly #writer: PcapngWriter;
  readonly #scheduler: Scheduler;
  #packets = 0;
  #dropped = 0;
  /** Packets in the writer's buffer. */
  #inHand = 0;
  /** What a pipe had no room for, oldest first. */
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  /** The writer's buffer declares an interface, without which later packets could not be read. */
  #declares = false;
  #closed = false;
  #failure: string | undefined;

  /** Creates or replaces `path`. Throws `lab/file-failed`, also for a named pipe that nobody reads. */
  constructor(path: string, scheduler: Scheduler) {
    this.path = path;
    this.#scheduler = scheduler;
    try {
      this.#file = openOutput(path, 0o600);
    } catch (error) {
      throw labErrors.error('file-failed', { path, what: 'written', reason: reasonOf(error) }, error);
    }
    this.#writer = new PcapngWriter((bytes) => this.#write(bytes), epochOf(scheduler));
  }

  get report(): PcapReport {
    const packets = this.#packets + (this.#failure === undefined ? this.#inHand : 0);
    return { path: this.path, packets, dropped: this.#dropped, failure: this.#failure ?? null };
  }

  addInterface(name: string): number {
    this.#declares = true;
    return this.#writer.addInterface(name, FRAME_BYTES_MAX);
  }

  packet(interfaceNumber: number, bytes: Uint8Array, at: number, length: number): void {
    if (this.#closed) return;
    if (this.#failure !== undefined) {
      this.#dropped++;
      return;
    }
    this.#writer.packet(interfaceNumber, this.#scheduler.now(), bytes, at, length);
    this.#inHand++;
  }

  flush(): void {
    this.#writer.flush();
    this.#drain();
  }

  /** What a pipe does not take now is lost, and the report says so. */
  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    if (this.#waiting.length > 0) this.#failure ??= 'the reader was too slow for the rest';
    this.#waiting = [];
    closeSync(this.#file);
  }

  /** A piece of whole blocks: written, kept for later, or left out. */
  #write(bytes: Uint8Array): void {
    const [packets, declares] = [this.#inHand, this.#declares];
    this.#inHand = 0;
    this.#declares = false;
    this.#drain();
    const left = this.#failure === undefined && this.#waiting.length === 0 ? this.#push(bytes) : bytes;
    const room = declares || this.#waitingBytes + left.length <= WAITING_BYTES_MAX;
    if (this.#failure !== undefined || (!room && left.length === bytes.length)) {
      this.#dropped += packets;
      return;
    }
    this.#packets += packets;
    if (left.length > 0) this.#keep(left.slice());
  }

  #keep(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  /** Writes what waits, as far as there is room. */
  #drain(): void {
    while (this.#waiting.length > 0 && this.#failure === undefined) {
      const first = this.#waiting[0]!;
      const left = this.#push(first);
      this.#waitingBytes -= first.length - left.length;
      if (left.length > 0) {
        this.#waiting[0] = left;
        return;
      }
      this.#waiting.shift();
    }
  }

  /** Writes as much as there is room for; returns the rest. */
  #push(bytes: Uint8Array): Uint8Array {
    let at = 0;
    try {
      while (at < bytes.length) at += writeSync(this.#file, bytes, at);
    } catch (error) {
      if (!isFull(error)) this.#failure = reasonOf(error);
    }
    return bytes.subarray(at);
  }
}

/** Why a capture is not whole, as an error; undefined for one that is. */
export function cutOf({ path, dropped, failure }: PcapReport): FerryError | undefined {
  if (failure === null && dropped === 0) return undefined;
  const reasons = failure === null ? [] : [failure];
  if (dropped > 0) reasons.push(`${formatCount(dropped)} packets were left out`);
  return labErrors.error('output-cut', { what: 'capture', path, reason: reasons.join('; ') });
}

/** The wall clock's time at the scheduler's zero. */
function epochOf(scheduler: Scheduler): Epoch {
  const zeroMs = Date.now() - scheduler.now() / 1e6;
  const seconds = Math.floor(zeroMs / 1000);
  return { seconds, nanoseconds: Math.round((zeroMs - seconds * 1000) * 1e6) };
}
