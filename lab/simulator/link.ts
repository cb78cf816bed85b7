/**
 * A control link in memory, in virtual time, on which rules do what networks and hostile peers do: delay, cut, garble,
 * repeat, fall silent. Like a TCP connection it keeps order and loses nothing unless it breaks.
 */
import type { Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import { addDuration, type Duration, elapsed, type Instant, instant, nanoseconds } from '../../base/units.js';
import { migrationErrors } from '../../migration/errors.js';
import { decodeFrame } from '../../migration/frame.js';
import type { ControlLink } from '../../migration/ports.js';
import type { Visitor } from '../../vmm/process/doorstep.js';
import type { Trace } from './trace.js';

export type Side = 'source' | 'destination';

/** A message on its way, as rules see it. */
export interface LinkMessage {
  readonly from: Side;
  /** Counts the sender's messages from 0. */
  readonly index: number;
  /** The kind of message, or `?` if it is no frame. */
  readonly kind: string;
  readonly at: Instant;
  readonly bytes: Uint8Array;
}

/**
 * `cut`: the connection breaks in both directions, just before or just after this message arrives. `silence`: from
 * this message on nothing gets through in this direction, and nobody is told.
 */
export type LinkVerdict =
  | { readonly do: 'delay'; readonly by: Duration }
  | { readonly do: 'cut'; readonly when: 'before' | 'after' }
  | { readonly do: 'replace'; readonly bytes: Uint8Array }
  | { readonly do: 'repeat' }
  | { readonly do: 'silence' };

/** Decides about messages; `undefined` leaves one alone. The first rule with a verdict wins. */
export interface LinkRule {
  readonly name: string;
  readonly judge: (message: LinkMessage) => LinkVerdict | undefined;
}

export interface SimulatedLinkOptions {
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  readonly latency: Duration;
  /** Up to so much more for each message, as `jitter()` says. */
  readonly jitter: () => Duration;
  readonly rules: readonly LinkRule[];
  /** Told of each rule that took effect. */
  readonly fired: (rule: LinkRule) => void;
}

interface Receiver {
  readonly resolve: (message: Uint8Array | undefined) => void;
  readonly reject: (error: Error) => void;
}

type Arrival = { readonly message: Uint8Array } | { readonly end: 'closed' | 'broken' };

/** One end of the link. What the other end sends comes in by `arrive`. */
class LinkEnd implements SimulatedLinkEnd {
  readonly #side: Side;
  readonly #transmit: (from: Side, bytes: Uint8Array) => void;
  readonly #closing: (from: Side) => void;
  readonly #arrived: Uint8Array[] = [];
  #receiver: Receiver | undefined;
  #end: 'closed' | 'broken' | undefined;
  #closed = false;

  constructor(side: Side, transmit: (from: Side, bytes: Uint8Array) => void, closing: (from: Side) => void) {
    this.#side = side;
    this.#transmit = transmit;
    this.#closing = closing;
  }

  get gone(): boolean {
    return this.#closed || this.#end !== undefined;
  }

  async send(message: Uint8Array): Promise<void> {
    if (this.#closed || this.#end === 'broken') throw this.#broken();
    this.#transmit(this.#side, message.slice());
  }

  receive(): Promise<Uint8Array | undefined> {
    invariant(this.#receiver === undefined, 'two receives at once');
    return new Promise((resolve, reject) => {
      this.#receiver = { resolve, reject };
      this.#deliver();
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#end ??= 'closed';
    this.#deliver();
    this.#closing(this.#side);
  }

  arrive(arrival: Arrival): void {
    if (this.#end !== undefined) return;
    if ('message' in arrival) this.#arrived.push(arrival.message);
    else this.#end = arrival.end;
    this.#deliver();
  }

  #deliver(): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    const message = this.#arrived.shift();
    if (message === undefined && this.#end === undefined) return;
    this.#receiver = undefined;
    if (message !== undefined) receiver.resolve(message);
    else if (this.#end === 'closed') receiver.resolve(undefined);
    else receiver.reject(this.#broken());
  }

  #broken(): Error {
    return migrationErrors.error('link-broken', {
      peer: this.#side === 'source' ? 'the destination' : 'the source',
      reason: this.#closed ? 'closed here' : 'connection reset',
    });
  }
}

/** One end as whoever listens gets it. */
export interface SimulatedLinkEnd extends ControlLink {
  /** Nothing more is heard or said by it. */
  readonly gone: boolean;
}

/** Whoever comes by a link to the door; `link` is that end as its process has it. */
export const visitorBy = (end: SimulatedLinkEnd, link: ControlLink = end): Visitor => ({
  link,
  from: 'simulated',
  get gone() {
    return end.gone;
  },
  drop: () => end.close(),
});

export interface SimulatedLink extends Readonly<Record<Side, SimulatedLinkEnd>> {
  /** A side is gone: the other one gets what it had sent, and then finds the connection reset. */
  lose(side: Side): void;
}

/** The two ends of a new link. */
export function simulatedLink(options: SimulatedLinkOptions): SimulatedLink {
  const { scheduler, trace } = options;
  const counts = { source: 0, destination: 0 };
  const silent = { source: false, destination: false };
  /** When the last thing sent in a direction arrives: nothing overtakes it. */
  const lastArrival = { source: instant(0), destination: instant(0) };
  const other = (side: Side): Side => (side === 'source' ? 'destination' : 'source');

  const deliver = (from: Side, arrival: Arrival, delay: Duration): void => {
    if (silent[from]) return;
    const now = scheduler.now();
    const at = Math.max(addDuration(now, delay), lastArrival[from] + 1);
    lastArrival[from] = instant(at);
    scheduler.after(elapsed(now, instant(at)), () => ends[other(from)].arrive(arrival));
  };

  /** Breaks both directions when what `from` has sent so far has arrived; nothing sent from now on does. */
  const cut = (from: Side, delay: Duration): void => {
    const now = scheduler.now();
    const at = instant(Math.max(addDuration(now, delay), lastArrival[from] + 1));
    silent.source = silent.destination = true;
    scheduler.after(elapsed(now, at), () => {
      trace.note(at, 'link broken');
      for (const end of Object.values(ends)) end.arrive({ end: 'broken' });
    });
  };

  const transmit = (from: Side, bytes: Uint8Array): void => {
    const message: LinkMessage = {
      from,
      index: counts[from]++,
      kind: kindOf(bytes),
      at: scheduler.now(),
      bytes,
    };
    trace.note(message.at, `${from} sends ${message.kind} (${bytes.length} bytes)`);
    const delay = nanoseconds(options.latency + options.jitter());
    for (const rule of options.rules) {
      const verdict = rule.judge(message);
      if (verdict === undefined) continue;
      trace.note(message.at, `rule ${rule.name}: ${verdict.do}`);
      options.fired(rule);
      obey(from, bytes, delay, verdict);
      return;
    }
    deliver(from, { message: bytes }, delay);
  };

  const obey = (from: Side, bytes: Uint8Array, delay: Duration, verdict: LinkVerdict): void => {
    switch (verdict.do) {
      case 'delay':
        deliver(from, { message: bytes }, nanoseconds(delay + verdict.by));
        return;
      case 'replace':
        deliver(from, { message: verdict.bytes }, delay);
        return;
      case 'repeat':
        deliver(from, { message: bytes }, delay);
        deliver(from, { message: bytes }, delay);
        return;
      case 'silence':
        silent[from] = true;
        return;
      case 'cut':
        if (verdict.when === 'after') deliver(from, { message: bytes }, delay);
        cut(from, delay);
    }
  };

  const ends = {
    source: new LinkEnd('source', transmit, (from) => deliver(from, { end: 'closed' }, options.latency)),
    destination: new LinkEnd('destination', transmit, (from) =>
      deliver(from, { end: 'closed' }, options.latency),
    ),
  };
  return { ...ends, lose: (side) => cut(side, options.latency) };
}

function kindOf(bytes: Uint8Array): string {
  try {
    return decodeFrame(bytes).kind;
  } catch {
    return '?';
  }
}
