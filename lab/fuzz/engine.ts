/**
 * Hostile input, by the thousand: a target makes inputs of its format (valid ones, changed by structure and by bytes) and
 * gives them to the code that takes such input from strangers. One seed is one run, and each input depends on the seed and
 * its number alone.
 *
 * What is looked for in every target: an exception that is no `FerryError` of the target's folders, an answer that depends
 * on how the bytes were cut, work or memory beyond a bound, and whatever the target itself holds to be wrong.
 */
import { crc32 } from '../../base/crc32.js';
import { isFerryError } from '../../base/errors.js';
import { type SeededRandom, seededRandom } from '../../base/random.js';
import { MIB } from '../../base/units.js';

/** What became of an input: taken as valid, refused with a typed error, or found to do what it must not. */
export type Outcome = 'accepted' | 'refused' | { readonly problem: string };

export interface FuzzTarget {
  readonly name: string;
  make(random: SeededRandom): Uint8Array;
  /** Gives `input` to what is attacked. What this throws is a finding. */
  run(input: Uint8Array): Outcome | Promise<Outcome>;
  /** Leaves nothing behind; it is not run any more. */
  close?(): void;
}

export interface InputReport {
  readonly seed: number;
  /** Inputs given. */
  readonly accesses: number;
  /** What was wrong, with the number of the input; empty if nothing was. */
  readonly failures: readonly string[];
  readonly accepted: number;
  readonly refused: number;
  readonly bytes: number;
  /** Of all inputs and outcomes: equal for equal seeds. */
  readonly hash: number;
}

/** One input may take so much of the processor; looked at twice, because memory may have been tidied up just then. */
const INPUT_MS_MAX = 1000;
/** What a run may hold at any time beyond what it began with, and after how many inputs that is looked at. */
const MEMORY_BYTES_MAX = 512 * MIB;
const MEMORY_LOOK = 256;
const FAILURES_MAX = 10;
/** Bytes of an input that make its number. */
const JUDGED_BYTES = 1024;
/** Inputs up to this length are shown whole. */
export const SHOWN_BYTES_MAX = 256;

/**
 * Gives `inputs` inputs made from `seed` to `target`, tells `begins` of each before, and closes it. Never rejects: what goes wrong is in
 * the report.
 */
export async function fuzzInputs(
  target: FuzzTarget,
  seed: number,
  inputs: number,
  begins: (number: number, input: Uint8Array) => void = () => {},
): Promise<InputReport> {
  const random = seededRandom(seed).fork(target.name);
  const failures: string[] = [];
  const before = memoryBytes();
  let accepted = 0;
  let refused = 0;
  let bytes = 0;
  let hash = 0;
  for (let number = 1; number <= inputs && failures.length < FAILURES_MAX; number++) {
    const input = target.make(random);
    begins(number, input);
    const outcome = await judgeInput(target, input);
    bytes += input.length;
    hash = crc32(input, 0, Math.min(input.length, JUDGED_BYTES), hash);
    if (outcome === 'accepted') accepted++;
    else if (outcome === 'refused') refused++;
    else failures.push(`input ${number}: ${outcome.problem}; ${inHex(input)}`);
    hash = (Math.imul(hash, 31) + accepted) >>> 0;
    if (number % MEMORY_LOOK !== 0) continue;
    const held = memoryBytes() - before;
    if (held > MEMORY_BYTES_MAX) failures.push(`input ${number}: ${Math.round(held / MIB)} MiB are held`);
  }
  target.close?.();
  return { seed, accesses: inputs, failures, accepted, refused, bytes, hash };
}

/** One input, with what holds for every target; `now`: milliseconds of the processor that this process has had. */
export async function judgeInput(
  target: FuzzTarget,
  input: Uint8Array,
  now: () => number = cpuMs,
): Promise<Outcome> {
  const attempt = async (): Promise<{ outcome: Outcome; ms: number }> => {
    const start = now();
    let outcome: Outcome;
    try {
      const result = target.run(input);
      outcome = result instanceof Promise ? await result : result;
    } catch (error) {
      outcome = {
        problem: `threw ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`,
      };
    }
    return { outcome, ms: now() - start };
  };
  const first = await attempt();
  if (first.ms <= INPUT_MS_MAX) return first.outcome;
  const { ms } = await attempt();
  return ms <= INPUT_MS_MAX ? first.outcome : { problem: `took ${Math.round(ms)} ms` };
}

/** The code of the typed error that `work` throws, or undefined if it throws none; anything else goes on. */
export function refusal(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (isFerryError(error)) return error.code;
    throw error;
  }
}

/** Cuts `input` as a network might: by lengths that follow from the input, so that it is cut the same way again. */
export function cut(input: Uint8Array): Uint8Array[] {
  const random = seededRandom(crc32(input, 0, Math.min(input.length, JUDGED_BYTES)));
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < input.length; ) {
    const piece = input.subarray(
      at,
      at + 1 + random.below(at < JUDGED_BYTES && random.chance(0.4) ? 4 : 2000),
    );
    pieces.push(piece);
    at += piece.length;
  }
  return pieces;
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const memoryBytes = (): number => {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

/** An input of `length` bytes, of which `input` has the first or all. */
export const inHex = (input: Uint8Array, length = input.length): string =>
  `${length} bytes ${Buffer.from(input.subarray(0, Math.min(length, SHOWN_BYTES_MAX))).toString('hex')}` +
  (length > SHOWN_BYTES_MAX ? '...' : '');
