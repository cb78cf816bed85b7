/**
 * Typed errors: what happened, where, and what to do.
 *
 * "The world is wrong" (a peer, a socket, a file, the configuration) is reported as a `FerryError` taken from the
 * catalogue of the folder that found it. A catalogue entry owns its stable code, the class of its exit status and its words, so
 * that a command, a monitor and a peer all say the same thing. "We are wrong" is an `InvariantError`; nothing
 * catches it. What a *guest* does wrong is never an exception: it gets the architected answer.
 */

import { EXIT_STATUS, type ExitClass, isExitClass } from './exit-status.js';

/** Data about one error: plain values that survive JSON and msgpack. */
export type Facts = Readonly<Record<string, string | number | boolean | null>>;

export interface ErrorEntry<F extends Facts = never> {
  /** How a command ends with this error. */
  readonly exit: ExitClass;
  /** What happened and where, in the user's words, without a full stop at the end. */
  readonly text: (facts: F) => string;
  /** What to do about it. */
  readonly advice: (facts: F) => string;
}

/** An error with a stable code such as `migration/peer-version`. */
export class FerryError extends Error {
  readonly code: string;
  readonly facts: Facts;
  readonly advice: string;
  readonly exit: ExitClass;

  constructor(code: string, exit: ExitClass, text: string, advice: string, facts: Facts, cause?: unknown) {
    super(text, cause === undefined ? undefined : { cause });
    this.name = 'FerryError';
    this.code = code;
    this.exit = exit;
    this.advice = advice;
    this.facts = facts;
  }

  /** Of a command that ends with it. */
  get exitStatus(): number {
    return EXIT_STATUS[this.exit];
  }

  /** The form that crosses threads, sockets and `--json`. */
  toJSON(): SerializedError {
    return {
      code: this.code,
      message: this.message,
      advice: this.advice,
      exit: this.exit,
      exitStatus: this.exitStatus,
      facts: this.facts,
    };
  }

  /**
   * The inverse of `toJSON`, for an error that arrived from another thread or process. A peer may have written
   * anything: what is missing becomes empty, facts that are no plain values are left out, and a class that there is not
   * becomes `failed`.
   */
  static from(serialized: Partial<SerializedError>): FerryError {
    const facts: Record<string, string | number | boolean | null> = {};
    for (const [name, value] of Object.entries(serialized.facts ?? {})) {
      if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) facts[name] = value;
    }
    return new FerryError(
      String(serialized.code ?? 'unknown'),
      isExitClass(serialized.exit) ? serialized.exit : 'failed',
      String(serialized.message ?? ''),
      String(serialized.advice ?? ''),
      facts,
    );
  }
}

export interface SerializedError {
  readonly code: string;
  readonly message: string;
  readonly advice: string;
  readonly exit: ExitClass;
  readonly exitStatus: number;
  readonly facts: Facts;
}

type FactsOf<E> = E extends ErrorEntry<infer F> ? F : never;

export interface Catalogue<T> {
  readonly folder: string;
  readonly entries: T;
  /** Makes (does not throw) the error named `name`; `cause` keeps the low-level error for debugging. */
  error<K extends keyof T & string>(name: K, facts: FactsOf<T[K]>, cause?: unknown): FerryError;
}

/** Helper that gives `facts` its type inside a catalogue literal. */
export function entry<F extends Facts>(spec: ErrorEntry<F>): ErrorEntry<F> {
  return spec;
}

/** Declares the errors of one folder. Codes are `folder/name`. */
export function catalogue<T extends Record<string, ErrorEntry<never>>>(
  folder: string,
  entries: T,
): Catalogue<T> {
  return {
    folder,
    entries,
    error(name, facts, cause) {
      const spec = entries[name] as unknown as ErrorEntry<Facts>;
      return new FerryError(
        `${folder}/${name}`,
        spec.exit,
        spec.text(facts),
        spec.advice(facts),
        facts,
        cause,
      );
    },
  };
}

/** True for a FerryError with this code, also for one that crossed a thread and came back by `FerryError.from`. */
export function isFerryError(error: unknown, code?: string): error is FerryError {
  return error instanceof FerryError && (code === undefined || error.code === code);
}

/** A defect of ours: a broken assumption. Never caught to go on; it stops the process. */
export class InvariantError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'InvariantError';
  }
}

/** Asserts what must hold if our own code is right. Not for input of any kind. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** Compile-time exhaustiveness check for closed unions. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable: ${String(value)}`);
}
