/**
 * A capture on disk. It is written in large pieces and at once; when the disk refuses, the capture ends and says why,
 * and the network goes on.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { Scheduler } from '../../base/clock.js';
import { FRAME_BYTES_MAX } from '../../devices/ethernet/frame.js';
import { type Epoch, PcapngWriter } from '../../devices/ethernet/pcapng.js';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';

export class PcapFile {
  readonly path: string;
  readonly #file: number;
  readonly #writer: PcapngWriter;
  readonly #scheduler: Scheduler;
  #packets = 0;
  #failure: string | undefined;

  /** Creates or replaces `path`. Throws `lab/file-failed`. */
  constructor(path: string, scheduler: Scheduler) {
    this.path = path;
    this.#scheduler = scheduler;
    try {
      this.#file = openSync(path, 'w', 0o600);
    } catch (error) {
      throw labErrors.error('file-failed', { path, what: 'written', reason: reasonOf(error) }, error);
    }
    this.#writer = new PcapngWriter((bytes) => this.#write(bytes), epochOf(scheduler));
  }

  get report(): { readonly path: string; readonly packets: number; readonly failure: string | null } {
    return { path: this.path, packets: this.#packets, failure: this.#failure ?? null };
  }

  addInterface(name: string): number {
    return this.#writer.addInterface(name, FRAME_BYTES_MAX);
  }

  packet(interfaceNumber: number, bytes: Uint8Array, at: number, length: number): void {
    if (this.#failure !== undefined) return;
    this.#writer.packet(interfaceNumber, this.#scheduler.now(), bytes, at, length);
    this.#packets++;
  }

  flush(): void {
    this.#writer.flush();
  }

  close(): void {
    this.flush();
    closeSync(this.#file);
  }

  #write(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at);
    } catch (error) {
      this.#failure = reasonOf(error);
    }
  }
}

/** The wall clock's time at the scheduler's zero. */
function epochOf(scheduler: Scheduler): Epoch {
  const zeroMs = Date.now() - scheduler.now() / 1e6;
  const seconds = Math.floor(zeroMs / 1000);
  return { seconds, nanoseconds: Math.round((zeroMs - seconds * 1000) * 1e6) };
}
