/**
 * One direction of one connection through the proxy. What is handed to it goes out in order, under the conditions that hold
 * by then; when much is under way, or nothing passes, its source is not read from, as on a real link that is full.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { SeededRandom } from '../../../base/random.js';
import { KIB, milliseconds } from '../../../base/units.js';
import { realTime } from '../../../vmm/threads/real-time.js';

/** Bytes that may be under way before the sender has to wait: what socket buffers hold. */
const WINDOW_BYTES = 256 * KIB;
/** A limited way sends this often, so much at a time. */
const PIECES_PER_SECOND = 100;

export class Way {
  readonly to: Socket;
  readonly #random: SeededRandom;
  readonly #over: AbortSignal;
  #turn: Promise<void> = Promise.resolve();
  #underWay = 0;
  #dueMs = 0;
  #delayMs = 0;
  #jitterMs = 0;
  #bytesPerSecond = Number.POSITIVE_INFINITY;
  #gate: Promise<void> | undefined;

  /** `over` ends all waiting. */
  constructor(to: Socket, random: SeededRandom, over: AbortSignal) {
    this.to = to;
    this.#random = random;
    this.#over = over;
  }

  /** Nothing passes. */
  get stalled(): boolean {
    return this.#gate !== undefined;
  }

  delay(ms: number, jitterMs: number): void {
    this.#delayMs = ms;
    this.#jitterMs = jitterMs;
  }

  limit(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Nothing passes until `open` resolves. */
  stall(open: Promise<void>): void {
    const gate = open.finally(() => {
      if (this.#gate === gate) this.#gate = undefined;
    });
    gate.catch(() => undefined);
    this.#gate = gate;
  }

  /** Resolves when more may be handed over. */
  async room(): Promise<void> {
    await this.#gate;
    if (this.#underWay > WINDOW_BYTES) await this.#turn;
  }

  /** Resolves when all that was handed over has left. */
  flushed(): Promise<void> {
    return this.#turn;
  }

  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const jitterMs = this.#jitterMs === 0 ? 0 : this.#random.unit() * this.#jitterMs;
    this.#dueMs = Math.max(this.#dueMs, performance.now() + this.#delayMs + jitterMs);
    const dueMs = this.#dueMs;
    this.#underWay += bytes.length;
    this.#then(async () => {
      await this.#pause(dueMs - performance.now());
      await this.#send(bytes);
      this.#underWay -= bytes.length;
    });
  }

  /** Ends it in good order, behind all that was handed over. */
  end(): void {
    this.#then(async () => {
      await this.#gate;
      this.to.end();
    });
  }

  async #send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      await this.#gate;
      const rate = this.#bytesPerSecond;
      const piece = bytes.subarray(at, at + Math.max(1, Math.floor(rate / PIECES_PER_SECOND)));
      at += piece.length;
      if (this.to.destroyed) return;
      if (!this.to.write(piece)) await once(this.to, 'drain', { signal: this.#over });
      if (rate !== Number.POSITIVE_INFINITY) await this.#pause((piece.length / rate) * 1000);
    }
  }

  async #pause(ms: number): Promise<void> {
    if (ms > 0) await realTime.sleep(milliseconds(ms), this.#over);
  }

  /** A socket that breaks, or the end of the proxy, ends what is under way; whoever reads from it notices. */
  #then(step: () => Promise<void>): void {
    this.#turn = this.#turn.then(step).catch(() => undefined);
  }
}
