/**
 * A data channel's wire in memory, in virtual time, on which rules do what networks do: alter, cut, truncate, stall. Like a
 * TCP connection it keeps order, loses nothing unless it breaks, and makes a fast writer wait.
 *
 * Bytes are read where they lie piece by piece, and others run between one piece and the next: a page may change after it was
 * hashed and before it goes, as it may under a socket that is full.
 */
import type { Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import { type Duration, elapsed, type Instant, instant, nanoseconds, PAGE_BYTES } from '../../base/units.js';
import type { Wire, WireUser } from '../../migration/pages/wire.js';
import { copyOf, giveBack } from './spare-bytes.js';

/**
 * Looks at each piece of what the source says, just before it passes. Returns what passes on in its place; `cut` breaks the
 * connection there, `stall` lets nothing through from there on and tells nobody, `last` lets that pass, and then ends it, `late` lets
 * that pass after so long, and what follows behind it.
 */
export type Tamper = (
  piece: Uint8Array,
  where: { channel: number; at: number },
) =>
  | Uint8Array
  | 'cut'
  | 'stall'
  | { readonly last: Uint8Array }
  | { readonly late: Duration; readonly bytes: Uint8Array };

/** What passes at once where that takes time. */
const TURN_BYTES = 16 * PAGE_BYTES;

/** How much goes over all wires together. */
export class Bandwidth {
  readonly #bytesPerSecond: number;
  #freeAt: Instant = instant(0);

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** How long it takes from `now` until so many bytes have passed, behind all that are on their way. */
  take(bytes: number, now: Instant): Duration {
    const from = Math.max(now, this.#freeAt);
    this.#freeAt = instant(from + (bytes / this.#bytesPerSecond) * 1e9);
    return elapsed(now, this.#freeAt);
  }
}

export interface MemoryWireOptions {
  readonly channel: number;
  /** Bytes that may be under way. */
  readonly windowBytes: number;
  readonly tamper: Tamper | undefined;
  /** Of what the source says; undefined if it takes no time. */
  readonly bandwidth: Bandwidth | undefined;
}

export interface MemoryWires {
  readonly source: Wire;
  readonly destination: Wire;
}

/** The two ends of a new connection, each in the time of its process. That of the destination has its user from the first. */
export function memoryWires(
  options: MemoryWireOptions,
  times: Readonly<Record<'source' | 'destination', Scheduler>>,
  destination: WireUser,
): MemoryWires {
  const plain = { ...options, tamper: undefined, bandwidth: undefined };
  const ends = {
    source: new MemoryWire(options, times.source, 'memory', NOBODY),
    destination: new MemoryWire(plain, times.destination, 'memory', destination),
  };
  ends.source.meet(ends.destination);
  ends.destination.meet(ends.source);
  return ends;
}

const NOBODY: WireUser = { target: () => new Uint8Array(1), filled: () => false, gone: () => {} };

class MemoryWire implements Wire {
  user: WireUser;
  readonly peer: string;
  readonly #options: MemoryWireOptions;
  readonly #scheduler: Scheduler;
  #other: MemoryWire | undefined;
  #writtenBytes = 0;
  /** What is still to be written, one after the other. */
  #writing: Promise<void> = Promise.resolve();
  readonly #arrived: Uint8Array[] = [];
  #arrivedBytes = 0;
  #paused = false;
  #deliverySoon = false;
  #stalled = false;
  #saysNoMore = false;
  #endedByPeer = false;
  #hearsNoMore = false;
  #dead = false;
  #roomFor: (() => void) | undefined;

  constructor(options: MemoryWireOptions, scheduler: Scheduler, peer: string, user: WireUser) {
    this.#options = options;
    this.#scheduler = scheduler;
    this.peer = peer;
    this.user = user;
  }

  meet(other: MemoryWire): void {
    this.#other = other;
  }

  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  proof(token: Uint8Array): Uint8Array {
    return token;
  }

  get dead(): boolean {
    return this.#dead;
  }

  write(pieces: readonly Uint8Array[], count: number, taken: () => void): void {
    // Who writes may not have heard of it yet: `gone` is on its way.
    if (this.#endedByPeer) return;
    invariant(!this.#saysNoMore, 'a write after the end');
    this.#writing = this.#writing.then(async () => {
      for (let i = 0; i < count; i++) await this.#passAll(pieces[i]!);
      if (!this.#dead && !this.#stalled) taken();
    });
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
  }

  end(): void {
    if (this.#saysNoMore) return;
    this.#saysNoMore = true;
    void this.#writing.then(() => {
      if (!this.#dead && !this.#stalled) this.#other!.#hearNoMore();
    });
  }

  /** The peer still gets what has passed, unless it is told of a reset: when this end was sent what it has not read. */
  destroy(): void {
    if (this.#dead) return;
    const reset = this.#arrivedBytes > 0;
    this.#leave(undefined);
    if (reset) this.#other!.#leave('connection reset');
    else if (!this.#stalled) this.#other!.#hearNoMore();
  }

  /** On a link of a set rate others get their turn before a large piece has passed. */
  async #passAll(piece: Uint8Array): Promise<void> {
    if (this.#options.bandwidth === undefined) return this.#pass(piece);
    for (let at = 0; at < piece.length; at += TURN_BYTES)
      await this.#pass(piece.subarray(at, at + TURN_BYTES));
  }

  async #pass(piece: Uint8Array): Promise<void> {
    const { tamper, channel, windowBytes, bandwidth } = this.#options;
    const scheduler = this.#scheduler;
    if (bandwidth === undefined) await scheduler.yield();
    else await scheduler.sleep(bandwidth.take(piece.length, scheduler.now()));
    if (this.#dead || this.#stalled) return;
    const copy = copyOf(piece);
    const verdict = tamper?.(copy, { channel, at: this.#writtenBytes }) ?? copy;
    if (verdict === 'stall') this.#stalled = true;
    else if (verdict === 'cut') this.#cut();
    else if (verdict instanceof Uint8Array) {
      this.#writtenBytes += piece.length;
      this.#other!.#arrive(verdict);
    } else if ('late' in verdict) {
      this.#writtenBytes += piece.length;
      await scheduler.sleep(verdict.late);
      this.#other!.#arrive(verdict.bytes);
    } else {
      this.#other!.#arrive(verdict.last);
      this.destroy();
    }
    const other = this.#other!;
    while (other.#arrivedBytes > windowBytes && !this.#dead) {
      await new Promise<void>((resolve) => {
        this.#roomFor = resolve;
      });
    }
  }

  /** What is under way is lost, for both sides. */
  #cut(): void {
    this.#leave('connection reset');
    this.#other!.#leave('connection reset');
  }

  #arrive(bytes: Uint8Array): void {
    if (this.#dead) return;
    this.#arrived.push(bytes);
    this.#arrivedBytes += bytes.length;
    this.#deliver();
  }

  #hearNoMore(): void {
    this.#hearsNoMore = true;
    this.#deliver();
  }

  /** Soon, as one of the things that may happen now. */
  #deliver(): void {
    if (this.#deliverySoon || this.#paused || this.#dead) return;
    this.#deliverySoon = true;
    this.#scheduler.after(nanoseconds(0), () => {
      this.#deliverySoon = false;
      this.#deliverNow();
    });
  }

  #deliverNow(): void {
    while (this.#arrived.length > 0 && !this.#paused && !this.#dead) {
      const bytes = this.#arrived[0]!;
      const target = this.user.target();
      const part = bytes.subarray(0, target.length);
      target.set(part);
      if (part.length === bytes.length) giveBack(this.#arrived.shift()!);
      else this.#arrived[0] = bytes.subarray(part.length);
      this.#arrivedBytes -= part.length;
      this.#paused = !this.user.filled(part.length);
    }
    this.#other!.#roomFor?.();
    if (this.#paused || this.#dead || !this.#hearsNoMore) return;
    this.#hearsNoMore = false;
    // As a socket that is not half open: it ends by itself when its peer does.
    this.user.ended?.();
    this.#endedByPeer = !this.#saysNoMore;
    this.end();
    void this.#writing.then(() => {
      this.#leave(undefined);
      this.#other!.#leave(undefined);
    });
  }

  #leave(reason: string | undefined): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#arrived.length = 0;
    this.#arrivedBytes = 0;
    this.#roomFor?.();
    this.#scheduler.after(nanoseconds(0), () => this.user.gone(reason));
  }
}
