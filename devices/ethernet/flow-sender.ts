/**
 * The sending end of a flow: numbered datagrams at a steady rate. What a late timer delays is made up for at once, up
 * to a bound; beyond it the flow skips time, never numbers.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { elapsed, type Instant, milliseconds, nanoseconds } from '../../base/units.js';
import { buildUdp, finishUdp, type Station } from './datagram.js';
import { SEQUENCE_MAX, writePayload } from './flow-payload.js';
import { FrameBuffer } from './frame.js';
import type { FrameSink } from './frame-sink.js';
import { UDP_PAYLOAD_AT } from './protocols.js';

/** Timers of real machines are no finer than this. */
const TICK_MIN = milliseconds(1);
const BURST_MAX = 1024;

export interface FlowPace {
  readonly flow: number;
  /** Datagrams per second. */
  readonly rate: number;
  readonly payloadBytes: number;
  /** Datagrams to send; without it the flow ends when it is stopped. */
  readonly count?: number;
}

export class FlowSender {
  readonly #scheduler: Scheduler;
  readonly #pace: FlowPace;
  readonly #send: FrameSink;
  readonly #frame = new FrameBuffer();
  readonly #view = new DataView(this.#frame.bytes.buffer);
  readonly #limit: number;
  #cancel: Cancel | undefined;
  #startedAt: Instant | undefined;
  /** Datagrams that the rate does not owe any more: sent before, or skipped. */
  #settled = 0;
  #stopped = false;
  sent = 0;

  constructor(scheduler: Scheduler, pace: FlowPace, send: FrameSink) {
    this.#scheduler = scheduler;
    this.#pace = pace;
    this.#send = send;
    this.#limit = Math.min(pace.count ?? SEQUENCE_MAX, SEQUENCE_MAX);
  }

  /** Begins to send; called again, goes on to another MAC address. */
  start(from: Station & { readonly port: number }, to: Station & { readonly port: number }): void {
    buildUdp(this.#frame, from, to, this.#pace.payloadBytes);
    if (this.#startedAt !== undefined || this.#stopped) return;
    this.#startedAt = this.#scheduler.now();
    this.#tick();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#stopped = true;
  }

  readonly #tick = (): void => {
    this.#cancel = undefined;
    const { rate } = this.#pace;
    const due = Math.floor((elapsed(this.#startedAt!, this.#scheduler.now()) * rate) / 1e9) + 1;
    const now = Math.min(due - this.#settled, BURST_MAX, this.#limit - this.sent);
    for (let i = 0; i < now; i++) this.#one();
    this.#settled = due;
    if (this.sent >= this.#limit || this.#stopped) return;
    this.#cancel = this.#scheduler.after(nanoseconds(Math.max(1e9 / rate, TICK_MIN)), this.#tick);
  };

  #one(): void {
    const { flow, payloadBytes } = this.#pace;
    writePayload(this.#view, UDP_PAYLOAD_AT, payloadBytes, flow, this.sent, this.#scheduler.now());
    finishUdp(this.#frame, payloadBytes);
    this.sent++;
    this.#send(this.#frame.bytes, 0, this.#frame.length);
  }
}
