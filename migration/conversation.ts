/**
 * One side's talk with its peer over a control link: typed messages out and in, a heartbeat, and one place where
 * everything that can end the talk meets: a broken link, a malformed or forbidden message, the peer's own error,
 * silence, a deadline, the local user's cancel. Whatever comes first is *the* failure; everything that waits on the
 * peer rejects with it at once, so that no step of a flow outlives the reason it was taken for.
 */
import type { Cancel, Scheduler } from '../base/clock.js';
import { type FerryError, invariant } from '../base/errors.js';
import {
  type Duration,
  elapsed,
  type Instant,
  MIB,
  milliseconds,
  nanoseconds,
  toMilliseconds,
} from '../base/units.js';
import { migrationErrors } from './errors.js';
import type { FrameKind } from './frame.js';
import { type ControlMessage, decodeMessage, encodeMessage, type MessageOf } from './messages.js';
import type { MigrationParameters } from './parameters.js';
import { errorFromPeer, errorMessage } from './peer-error.js';
import type { ControlLink } from './ports.js';

/** Sees every control frame as it was sent or received, for recordings. */
export type FrameRecorder = (direction: 'sent' | 'received', at: Instant, frame: Uint8Array) => void;

export interface ConversationOptions {
  readonly link: ControlLink;
  readonly scheduler: Scheduler;
  readonly parameters: MigrationParameters;
  /** Where the flow stands, for the words of an error. */
  readonly phase: () => string;
  readonly record?: FrameRecorder | undefined;
}

/** How much a peer may say that nobody waited for yet. */
const INBOX_BYTES_MAX = 48 * MIB;
const INBOX_MESSAGES_MAX = 512;
/** Round trips that say what one takes at present. */
const ROUND_TRIPS = 7;
/** How long a farewell may take before the link is closed over it. */
const FAREWELL_TIMEOUT = milliseconds(1000);
/** How long the peer's own reason is waited for when a data channel broke. */
const EXPLANATION_TIMEOUT = milliseconds(250);

interface Waiter {
  readonly kinds: readonly FrameKind[];
  readonly resolve: (message: ControlMessage) => void;
  readonly reject: (error: Error) => void;
}

export class Conversation {
  readonly #link: ControlLink;
  readonly #scheduler: Scheduler;
  readonly #parameters: MigrationParameters;
  readonly #phase: () => string;
  readonly #record: FrameRecorder | undefined;
  readonly #inbox: { readonly message: ControlMessage; readonly bytes: number }[] = [];
  #inboxBytes = 0;
  #waiter: Waiter | undefined;
  #failure: Error | undefined;
  readonly #failed: Promise<never>;
  #reject!: (error: Error) => void;
  #peerError: FerryError | undefined;
  #peerDiscarded = false;
  #closed = false;
  /** Either side has said something. A source opens with its *hello*: nothing may come before that. */
  #begun = false;
  /** Resolves when it is closed. */
  readonly #over: Promise<void>;
  #end!: () => void;
  /** Heartbeats since the peer was last heard. Counted, not timed: a process that stood still blames nobody. */
  #silentBeats = 0;
  /** Until when nothing is read. */
  #unheard: Promise<unknown> | undefined;
  #stopHeartbeat: Cancel = () => undefined;
  #pingSerial = 0;
  #pingAt: Instant;
  /** The latest times from a ping to its pong, newest last. */
  readonly #roundTrips: Duration[] = [];

  constructor(options: ConversationOptions) {
    this.#link = options.link;
    this.#scheduler = options.scheduler;
    this.#parameters = options.parameters;
    this.#phase = options.phase;
    this.#record = options.record;
    this.#pingAt = options.scheduler.now();
    this.#over = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#failed = new Promise((_, reject) => {
      this.#reject = reject;
    });
    // The failure is looked at by whoever waits; if nobody does, it is no unhandled rejection.
    this.#failed.catch(() => undefined);
    this.#beat();
    void this.#pump();
  }

  /** Median of the latest times from a ping to its pong; 0 before the first. */
  get roundTrip(): Duration {
    return this.#roundTrips.toSorted((a, b) => a - b)[this.#roundTrips.length >> 1] ?? nanoseconds(0);
  }

  /** The last error the peer reported. */
  get peerError(): FerryError | undefined {
    return this.#peerError;
  }

  /** The peer is a destination, and has said that it never will run the guest. */
  get peerDiscarded(): boolean {
    return this.#peerDiscarded;
  }

  /** Ends the talk with `error`; later failures change nothing. */
  fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#stopHeartbeat();
    this.#reject(error);
    this.#refuseWaiter(error);
  }

  /** Throws the failure if there is one: the last look before a step that can't be taken back. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * Waits for `work`, and reads nothing of the peer meanwhile but a message or two: what it sends waits in the link, and
   * at last the peer itself. Nobody who is not listened to is called silent.
   */
  async unheard<T>(work: Promise<T>): Promise<T> {
    this.#unheard = work.catch(() => undefined);
    try {
      return await this.during(work);
    } finally {
      this.#unheard = undefined;
    }
  }

  /** Waits for `work`, but not beyond the end of the talk. */
  async during<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    return Promise.race([this.#failed, work]);
  }

  /** As `during`, for work of which the peer does its part; ends the talk if that takes longer than `deadline`. */
  async within<T>(deadline: Duration, expected: string, work: Promise<T>): Promise<T> {
    const cancel = this.#patience(deadline, expected);
    try {
      return await this.during(work);
    } finally {
      cancel();
    }
  }

  /** Ends the talk because the peer, though it may live, did not do what was expected of it. */
  failSilent(waited: Duration, expected: string): void {
    const facts = { phase: this.#phase(), waitedMs: Math.round(toMilliseconds(waited)), expected };
    this.fail(migrationErrors.error('peer-silent', facts));
  }

  /** Ends the talk if `work`, which nobody waits for, rejects. */
  watch(work: Promise<unknown>): void {
    work.catch(async (error: unknown) => {
      const reason = await this.explain(error);
      this.fail(reason instanceof Error ? reason : new Error(String(reason)));
    });
  }

  /**
   * The error of a data channel is often only the echo of what the peer is about to say: waits a moment for its words,
   * and returns them if they come, else `error`.
   */
  async explain(error: unknown): Promise<unknown> {
    if (error === this.#failure) return error;
    if (this.#failure === undefined && !this.#closed) {
      await this.#atMost(this.#explanationTimeout, Promise.race([this.#failed, this.#over]));
    }
    return this.#peerError ?? error;
  }

  /** Much less than a peer waits for an answer: it shall hear the reason, and not take this side for silent. */
  get #explanationTimeout(): Duration {
    const answer = this.#parameters.duration('answerTimeoutMs');
    return nanoseconds(Math.min(EXPLANATION_TIMEOUT, answer / 4));
  }

  /** Hands the message to the link; resolves when the link has taken it. */
  async send(message: ControlMessage): Promise<void> {
    this.check();
    await this.during(this.#transmit(message));
  }

  /** As `send`, for a message whose loss is noticed by what follows: nothing waits, nothing throws. */
  post(message: ControlMessage): void {
    if (!this.#closed) this.watch(this.#transmit(message));
  }

  /**
   * The next message of the peer, which must be of one of `kinds`. What arrived before the talk ended still counts:
   * a *commit* that was followed by a broken link was received. With `deadline`, a peer that lives but doesn't answer
   * for so long ends the talk.
   */
  async expect<K extends FrameKind>(kinds: readonly K[], deadline?: Duration): Promise<MessageOf<K>> {
    invariant(this.#waiter === undefined, 'two waits for one message');
    const waiting = new Promise<ControlMessage>((resolve, reject) => {
      this.#waiter = { kinds, resolve, reject };
    });
    this.#deliver();
    if (this.#failure !== undefined) this.#refuseWaiter(this.#failure);
    const cancelDeadline =
      deadline === undefined ? undefined : this.#patience(deadline, kinds.join(' or ') || 'reason');
    try {
      return (await waiting) as MessageOf<K>;
    } finally {
      cancelDeadline?.();
    }
  }

  /** Asks for a pong, to measure the round trip. */
  ping(): void {
    this.#pingSerial = (this.#pingSerial + 1) >>> 0;
    this.#pingAt = this.#scheduler.now();
    this.post({ kind: 'ping', serial: this.#pingSerial });
  }

  /**
   * Tells the peer why this side gives up, unless the peer said so itself or the link is gone, and closes. `discarded`: this
   * side is a destination that never will run the guest.
   */
  async giveUp(error: unknown, discarded = false): Promise<void> {
    if (this.#closed || error === this.#peerError) {
      this.close();
      return;
    }
    await this.#atMost(FAREWELL_TIMEOUT, this.#transmit(errorMessage(error, discarded)));
    this.close();
  }

  /** Closes the link in good order; what was sent still arrives. */
  close(): void {
    this.#closed = true;
    this.#end();
    this.#stopHeartbeat();
    this.#link.close();
  }

  async #transmit(message: ControlMessage): Promise<void> {
    this.#begun = true;
    const frame = encodeMessage(message);
    this.#record?.('sent', this.#scheduler.now(), frame);
    try {
      await this.#link.send(frame);
    } catch (error) {
      // The peer may have said why before it closed; the reading side, which comes to the same end, has it then.
      throw await this.explain(error);
    }
  }

  async #pump(): Promise<void> {
    try {
      while (this.#failure === undefined && !this.#closed) {
        await this.#unheard;
        const frame = await this.#link.receive();
        if (this.#closed) return;
        if (frame === undefined) throw migrationErrors.error('peer-closed', { phase: this.#phase() });
        this.#silentBeats = 0;
        this.#record?.('received', this.#scheduler.now(), frame);
        this.#take(decodeMessage(frame), frame.length);
      }
    } catch (error) {
      this.fail(error as Error);
    }
  }

  #take(message: ControlMessage, bytes: number): void {
    this.#begun = true;
    switch (message.kind) {
      case 'ping':
        this.post({ kind: 'pong', serial: message.serial });
        return;
      case 'pong':
        if (message.serial === this.#pingSerial) this.#measure(elapsed(this.#pingAt, this.#scheduler.now()));
        return;
      case 'error':
        this.#peerError = errorFromPeer(message);
        this.#peerDiscarded ||= message.discarded;
        throw this.#peerError;
      default:
        this.#inbox.push({ message, bytes });
        this.#inboxBytes += bytes;
        this.#deliver();
        if (this.#inbox.length > INBOX_MESSAGES_MAX || this.#inboxBytes > INBOX_BYTES_MAX) {
          throw this.#unexpected(message, 'nothing more until it is answered');
        }
    }
  }

  /** A process that stood still blames nobody: what came meanwhile is read before the peer is called silent. */
  #patience(deadline: Duration, expected: string): Cancel {
    let over = false;
    const cancel = this.#scheduler.after(deadline, async () => {
      await this.#scheduler.yield();
      if (!over) this.failSilent(deadline, expected);
    });
    return () => {
      over = true;
      cancel();
    };
  }

  /** Waits until `work` has settled either way, but no longer than `patience`. */
  async #atMost(patience: Duration, work: Promise<unknown>): Promise<void> {
    let cancel: Cancel = () => undefined;
    const timeout = new Promise<void>((resolve) => {
      cancel = this.#scheduler.after(patience, resolve);
    });
    await Promise.race([work.catch(() => undefined), timeout]);
    cancel();
  }

  #refuseWaiter(error: Error): void {
    this.#waiter?.reject(error);
    this.#waiter = undefined;
  }

  #measure(sample: Duration): void {
    this.#roundTrips.push(sample);
    if (this.#roundTrips.length > ROUND_TRIPS) this.#roundTrips.shift();
  }

  #deliver(): void {
    const waiter = this.#waiter;
    const next = waiter && this.#inbox.shift();
    if (waiter === undefined || next === undefined) return;
    this.#inboxBytes -= next.bytes;
    if (waiter.kinds.includes(next.message.kind)) {
      this.#waiter = undefined;
      waiter.resolve(next.message);
    } else {
      this.fail(this.#unexpected(next.message, waiter.kinds.join(' or ')));
    }
  }

  /** Pings at every beat of a talk that has begun, and gives up on a peer that answered none for so many beats. */
  #beat(): void {
    const interval = this.#parameters.duration('keepaliveIntervalMs');
    this.#stopHeartbeat = this.#scheduler.after(interval, () => {
      if (this.#failure !== undefined || this.#closed) return;
      if (!this.#begun) {
        this.#beat();
        return;
      }
      const beatsMax = Math.max(2, Math.ceil(this.#parameters.duration('peerTimeoutMs') / interval));
      this.#silentBeats = this.#unheard === undefined ? this.#silentBeats + 1 : 0;
      if (this.#silentBeats > beatsMax) {
        this.failSilent(nanoseconds(beatsMax * interval), 'sign of life');
        return;
      }
      this.ping();
      this.#beat();
    });
  }

  #unexpected(message: ControlMessage, expected: string): FerryError {
    return migrationErrors.error('unexpected-message', {
      message: message.kind,
      phase: this.#phase(),
      expected,
    });
  }
}
