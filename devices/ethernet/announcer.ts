/**
 * Tells the network where a station now is, after it moved: repeated, because a single frame may get lost, with growing
 * pauses. The rhythm is QEMU's default (announce-initial 50 ms, announce-step 100 ms, announce-rounds 5).
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { milliseconds } from '../../base/units.js';
import { buildGratuitousArp, buildRarpAnnouncement } from './datagram.js';
import { FrameBuffer } from './frame.js';
import type { FrameSink } from './frame-sink.js';

const ROUNDS = 5;
const INITIAL_MS = 50;
const STEP_MS = 100;

/** What it is in QEMU's terms; `pauseMsMax` bounds a rhythm that does not come so far. */
export const ANNOUNCE_RHYTHM = {
  rounds: ROUNDS,
  initialMs: INITIAL_MS,
  stepMs: STEP_MS,
  pauseMsMax: INITIAL_MS + STEP_MS * ROUNDS,
} as const;

export class Announcer {
  readonly #scheduler: Scheduler;
  readonly #send: FrameSink;
  readonly #frame = new FrameBuffer(64);
  #cancel: Cancel | undefined;

  constructor(scheduler: Scheduler, send: FrameSink) {
    this.#scheduler = scheduler;
    this.#send = send;
  }

  /** Announces at once and in four more rounds: by gratuitous ARP if the IP address is known, else by RARP. */
  announce(mac: Uint8Array, ip?: number): void {
    this.stop();
    if (ip === undefined) buildRarpAnnouncement(this.#frame, mac);
    else buildGratuitousArp(this.#frame, { mac, ip });
    this.#round(0);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #round(round: number): void {
    this.#cancel = undefined;
    this.#send(this.#frame.bytes, 0, this.#frame.length);
    if (round + 1 === ROUNDS) return;
    const pause = milliseconds(INITIAL_MS + STEP_MS * round);
    this.#cancel = this.#scheduler.after(pause, () => this.#round(round + 1));
  }
}
