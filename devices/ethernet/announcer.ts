/**
 * Tells the network where a station now is, after it moved: repeated, because a single frame may get lost, with growing
 * pauses. The rhythm is QEMU's default (announce-initial 50 ms, announce-step 100 ms, announce-rounds 5), unless somebody
 * asks for another.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { milliseconds } from '../../base/units.js';
import { buildGratuitousArp, buildRarpAnnouncement } from './datagram.js';
import { FrameBuffer } from './frame.js';
import type { FrameSink } from './frame-sink.js';

/** In QEMU's terms: `rounds` frames, with 0 of them only an end to what was begun; after the first a pause of `initialMs`, each further one `stepMs` longer, up to `pauseMsMax`. */
export interface AnnounceRhythm {
  readonly rounds: number;
  readonly initialMs: number;
  readonly stepMs: number;
  readonly pauseMsMax: number;
  /** Takes the place of an earlier one of the same name, and goes on beside those of others; the nameless are one. */
  readonly id?: string;
}

/** Announcements of different names that go on beside one another: the oldest ends for one more. */
const AT_A_TIME_MAX = 16;

const ROUNDS = 5;
const INITIAL_MS = 50;
const STEP_MS = 100;

/** `pauseMsMax` bounds a rhythm that does not come so far. */
export const ANNOUNCE_RHYTHM = {
  rounds: ROUNDS,
  initialMs: INITIAL_MS,
  stepMs: STEP_MS,
  pauseMsMax: INITIAL_MS + STEP_MS * ROUNDS,
} as const satisfies AnnounceRhythm;

export class Announcer {
  readonly #scheduler: Scheduler;
  readonly #send: FrameSink;
  readonly #frame = new FrameBuffer(64);
  /** By their names, oldest first. */
  readonly #waiting = new Map<string, Cancel>();

  constructor(scheduler: Scheduler, send: FrameSink) {
    this.#scheduler = scheduler;
    this.#send = send;
  }

  /** Announces at once and in further rounds: by gratuitous ARP if the IP address is known, else by RARP. */
  announce(mac: Uint8Array, rhythm: AnnounceRhythm = ANNOUNCE_RHYTHM, ip?: number): void {
    const { id = '' } = rhythm;
    this.#end(id);
    if (rhythm.rounds === 0) return;
    const [oldest] = this.#waiting.keys();
    if (oldest !== undefined && this.#waiting.size >= AT_A_TIME_MAX) this.#end(oldest);
    if (ip === undefined) buildRarpAnnouncement(this.#frame, mac);
    else buildGratuitousArp(this.#frame, { mac, ip });
    this.#round(rhythm, 0);
  }

  /** Ends them all. */
  stop(): void {
    for (const id of [...this.#waiting.keys()]) this.#end(id);
  }

  #end(id: string): void {
    this.#waiting.get(id)?.();
    this.#waiting.delete(id);
  }

  #round(rhythm: AnnounceRhythm, round: number): void {
    const { rounds, initialMs, stepMs, pauseMsMax, id = '' } = rhythm;
    this.#send(this.#frame.bytes, 0, this.#frame.length);
    if (round + 1 >= rounds) {
      this.#waiting.delete(id);
      return;
    }
    const pause = milliseconds(Math.min(initialMs + stepMs * round, pauseMsMax));
    this.#waiting.set(
      id,
      this.#scheduler.after(pause, () => this.#round(rhythm, round + 1)),
    );
  }
}
