/**
 * Interrupt causes, masks, auto-clear, auto-mask and throttling of one function. 82599 datasheet, 7.3
 *
 * A cause is an event. While it is masked it stays in EICR and fires when it is unmasked; when its message has left,
 * EIAC clears it and EIAM masks it, which an access to EICR or EICS does as well. EITR keeps messages of one vector apart; a cause that comes too early waits for the
 * timer.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import {
  addDuration,
  type Duration,
  elapsed,
  type Instant,
  instant,
  microseconds,
  nanoseconds,
} from '../../base/units.js';

/** Words of the registers, in whichever file they are. */
export interface InterruptRegisters {
  readonly words: Uint32Array;
  readonly EICR: number;
  readonly EIMS: number;
  readonly EIAC: number;
  readonly EIAM: number;
  /** Word of the first EITR; one a vector follows. */
  readonly EITR: number;
}

export interface InterruptOptions {
  readonly registers: InterruptRegisters;
  readonly scheduler: Scheduler;
  readonly vectors: number;
  /** Causes that a vector stands for, as bits of EICR. */
  causesOf(vector: number): number;
  /** Whether EIAM masks when a message leaves (GPIE.EIAME); where there is no such bit, it does. */
  masksOnMessage?(): boolean;
  /** Asks for the vector's message; `sent` is called back when it has left. */
  trigger(vector: number): void;
}

/** EITR counts in units of 2 microseconds, in bits 11:3. */
const INTERVAL_MASK = 0xff8;
const INTERVAL_UNITS_PER_MICROSECOND = 4;

export class InterruptUnit {
  private readonly options: InterruptOptions;
  /** When each vector may fire again; while the unit is stopped, how long after it goes on. */
  private readonly nextAt: Float64Array;
  private readonly timers: (Cancel | undefined)[];
  /** Vectors whose message is still to be asked for, held back by throttling or because the unit is stopped. */
  private held = 0;
  private readonly expiries: (() => void)[] = [];
  private stopped = false;

  constructor(options: InterruptOptions) {
    this.options = options;
    this.nextAt = new Float64Array(options.vectors);
    this.timers = new Array<Cancel | undefined>(options.vectors).fill(undefined);
    for (let vector = 0; vector < options.vectors; vector++) {
      this.expiries.push(() => {
        this.timers[vector] = undefined;
        this.fire(vector);
      });
    }
  }

  /** Sets causes, each an event. */
  raise(causes: number): void {
    const { words, EICR, EIMS } = this.options.registers;
    words[EICR]! |= causes;
    const enabled = causes & words[EIMS]!;
    if (enabled !== 0) this.fireAll(enabled);
  }

  /** Unmasks causes; those that are set fire. */
  enable(causes: number): void {
    const { words, EICR, EIMS } = this.options.registers;
    const newly = causes & ~words[EIMS]!;
    words[EIMS]! |= causes;
    const waiting = newly & words[EICR]!;
    if (waiting !== 0) this.fireAll(waiting);
  }

  disable(causes: number): void {
    const { words, EIMS } = this.options.registers;
    words[EIMS]! &= ~causes;
  }

  /** The vector's message has left. */
  sent(vector: number): void {
    const { words, EICR, EIMS, EIAC, EIAM } = this.options.registers;
    const causes = this.options.causesOf(vector);
    words[EICR]! &= ~(words[EIAC]! & causes);
    if (this.options.masksOnMessage?.() !== false) words[EIMS]! &= ~(words[EIAM]! & causes);
  }

  /**
   * Causes of EICR were read or written, or set through EICS. Those whose message still waits for its interval are masked
   * only when it leaves: masked now, it never would.
   */
  accessed(causes: number): void {
    const { words, EIMS, EIAM } = this.options.registers;
    let masked = causes & words[EIAM]!;
    if (masked === 0) return;
    for (let vector = 0; vector < this.options.vectors; vector++) {
      if ((this.held & (1 << vector)) !== 0) masked &= ~this.options.causesOf(vector);
    }
    words[EIMS]! &= ~masked;
  }

  /** While stopped no message is asked for and intervals stand still; what happens meanwhile fires on `start`. */
  stop(): void {
    if (this.stopped) return;
    this.cancelTimers();
    for (let vector = 0; vector < this.nextAt.length; vector++) this.nextAt[vector] = this.remaining(vector);
    this.stopped = true;
  }

  start(): void {
    if (this.stopped) {
      const now = this.options.scheduler.now();
      for (let vector = 0; vector < this.nextAt.length; vector++) this.nextAt[vector]! += now;
    }
    this.stopped = false;
    for (let vector = 0; vector < this.options.vectors; vector++) {
      if ((this.held & (1 << vector)) !== 0) this.fire(vector);
    }
  }

  /** Forgets what waits; registers are the caller's to reset. */
  reset(): void {
    this.cancelTimers();
    this.nextAt.fill(0);
    this.held = 0;
  }

  /** Vectors held back, a bit each: hidden state, kept across a move. */
  get heldVectors(): number {
    return this.held;
  }

  /** Restores what was held back; it fires on the next `start`. */
  setHeldVectors(vectors: number): void {
    this.held = vectors;
  }

  /** What is left of a vector's interval: hidden state as well. */
  remaining(vector: number): Duration {
    if (this.stopped) return nanoseconds(this.nextAt[vector]!);
    const left = elapsed(this.options.scheduler.now(), this.nextAt[vector]! as Instant);
    return Math.max(0, left) as Duration;
  }

  setRemaining(vector: number, remaining: Duration): void {
    this.nextAt[vector] = this.stopped ? remaining : addDuration(this.options.scheduler.now(), remaining);
  }

  private fireAll(causes: number): void {
    for (let vector = 0; vector < this.options.vectors; vector++) {
      if ((this.options.causesOf(vector) & causes) !== 0) this.fire(vector);
    }
  }

  private fire(vector: number): void {
    if (this.timers[vector] !== undefined) return;
    const bit = 1 << vector;
    this.held |= bit;
    if (this.stopped) return;
    const { registers, scheduler } = this.options;
    const { words, EICR, EIMS, EITR } = registers;
    if ((words[EICR]! & words[EIMS]! & this.options.causesOf(vector)) === 0) {
      this.held &= ~bit;
      return;
    }
    const interval = words[EITR + vector]! & INTERVAL_MASK;
    if (interval !== 0) {
      const now = scheduler.now();
      const wait = elapsed(now, instant(this.nextAt[vector]!));
      if (wait > 0) {
        this.timers[vector] = scheduler.after(wait, this.expiries[vector]!);
        return;
      }
      this.nextAt[vector] = addDuration(now, microseconds(interval / INTERVAL_UNITS_PER_MICROSECOND));
    }
    this.held &= ~bit;
    this.options.trigger(vector);
  }

  private cancelTimers(): void {
    for (let vector = 0; vector < this.timers.length; vector++) {
      this.timers[vector]?.();
      this.timers[vector] = undefined;
    }
  }
}
