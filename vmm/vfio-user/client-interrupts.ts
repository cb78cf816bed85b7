/**
 * The interrupts of a device that another VMM has: an eventfd for each MSI-X vector. The VMM emulates the table, so a vector is
 * masked in the device exactly as long as it has no eventfd.
 *
 * An interrupt that announces what the device wrote must not come before it: where memory is reached by messages, it waits for
 * the client's answers.
 */
import { closeSync, readlinkSync, writeSync } from 'node:fs';
import { EINVAL, Refusal, SET_BOOL, SET_EVENTFD, SET_NONE, SET_TRIGGER } from './protocol.js';
import { POLLOUT, type UnixSockets } from './unix-sockets.js';

/** One more interrupt, as an eventfd counts. */
const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);
const EVENTFD = 'anon_inode:[eventfd]';

/** What a vector has to say that waits. */
const NOTHING = 0;
const ONE_MORE = 1;
/** And more since then, which may have to wait longer. */
const AND_AGAIN = 2;

export interface VectorRange {
  readonly flags: number;
  readonly start: number;
  readonly count: number;
}

export class ClientInterrupts {
  readonly #fds: (number | undefined)[];
  readonly #sockets: Pick<UnixSockets, 'poll'>;
  readonly #owed: (typeof NOTHING | typeof ONE_MORE | typeof AND_AGAIN)[];
  /** Vectors that lost their eventfd while an interrupt of theirs waited. */
  readonly #missed: boolean[];
  readonly #goes: readonly (() => void)[];
  readonly #isEventfd: (fd: number) => boolean;
  #changed: () => void = () => {};
  #sent = 0;
  /** Calls back when what was written so far is where the guest sees it. */
  whenWritten: (then: () => void) => void = (then) => then();

  /** `isEventfd`: whether a descriptor is one, for who has none in its system. */
  constructor(
    vectors: number,
    sockets: Pick<UnixSockets, 'poll'>,
    isEventfd: (fd: number) => boolean = isSystemsEventfd,
  ) {
    this.#fds = new Array<number | undefined>(vectors).fill(undefined);
    this.#owed = new Array<typeof NOTHING>(vectors).fill(NOTHING);
    this.#missed = new Array<boolean>(vectors).fill(false);
    this.#goes = this.#fds.map((_, vector) => () => this.#send(vector));
    this.#sockets = sockets;
    this.#isEventfd = isEventfd;
  }

  /** Called whenever a vector was given an eventfd, or lost it. */
  set changed(changed: () => void) {
    this.#changed = changed;
  }

  get vectors(): number {
    return this.#fds.length;
  }

  /** Vectors that have an eventfd. */
  get count(): number {
    return this.#fds.filter((fd) => fd !== undefined).length;
  }

  /** Interrupts that were signalled. */
  get sent(): number {
    return this.#sent;
  }

  isWired(vector: number): boolean {
    return this.#fds[vector] !== undefined;
  }

  /** Signals a vector as soon as what was written before is there. */
  signal(vector: number): void {
    const waits = this.#owed[vector] !== NOTHING;
    this.#owed[vector] = waits ? AND_AGAIN : ONE_MORE;
    if (!waits) this.whenWritten(this.#goes[vector]!);
  }

  /** The device was reset: nothing that it had to say counts any more. */
  forget(): void {
    this.#missed.fill(false);
  }

  #send(vector: number): void {
    const again = this.#owed[vector] === AND_AGAIN;
    this.#owed[vector] = NOTHING;
    this.#write(vector);
    // What was written since then is announced when it is there.
    if (again) this.signal(vector);
  }

  #write(vector: number): void {
    const fd = this.#fds[vector];
    // A counter that its reader let run full takes no more: what it would say, it says already.
    if (fd === undefined) this.#missed[vector] = true;
    if (fd === undefined || !this.#sockets.poll(fd, POLLOUT, 0)) return;
    writeSync(fd, ONE);
    this.#sent++;
  }

  /**
   * Carries out SET_IRQS of MSI-X: `data` is what follows its structure; descriptors that are kept are taken out of `fds`.
   * Throws Refusal, and nothing has changed.
   */
  set({ flags, start, count }: VectorRange, data: Uint8Array, fds: number[]): void {
    if ((flags & ~(SET_NONE | SET_BOOL | SET_EVENTFD)) !== SET_TRIGGER) {
      throw new Refusal(EINVAL, `flags ${flags}: vectors can be triggered, not masked`);
    }
    const kind = flags & ~SET_TRIGGER;
    if (start + count > this.vectors) throw new Refusal(EINVAL, `vectors ${start} to ${start + count}`);
    if (kind === SET_NONE && fds.length === 0) {
      if (count === 0 && start === 0) this.clear();
      else for (let i = 0; i < count; i++) this.#loopBack(start + i);
    } else if (kind === SET_BOOL && fds.length === 0 && data.length >= count) {
      for (let i = 0; i < count; i++) if (data[i] !== 0) this.#loopBack(start + i);
    } else if (kind === SET_EVENTFD && (fds.length === 0 || fds.length === count)) {
      if (!fds.every(this.#isEventfd)) throw new Refusal(EINVAL, 'a descriptor is no eventfd');
      for (let i = 0; i < count; i++) this.#wire(start + i, fds[i]);
      fds.length = 0;
      this.#changed();
    } else {
      throw new Refusal(EINVAL, `flags ${flags} for ${count} vectors, ${fds.length} descriptors`);
    }
  }

  /** No vector has an eventfd any more. */
  clear(): void {
    for (let vector = 0; vector < this.vectors; vector++) this.#wire(vector, undefined);
    this.#changed();
  }

  /** The client itself triggers a vector. */
  #loopBack(vector: number): void {
    if (this.isWired(vector)) this.signal(vector);
  }

  #wire(vector: number, fd: number | undefined): void {
    const before = this.#fds[vector];
    this.#fds[vector] = fd;
    if (before !== undefined) closeSync(before);
    if (fd === undefined || this.#missed[vector] !== true) return;
    this.#missed[vector] = false;
    this.#write(vector);
  }
}

const isSystemsEventfd = (fd: number): boolean => readlinkSync(`/proc/self/fd/${fd}`) === EVENTFD;
