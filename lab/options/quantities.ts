/**
 * Quantities as people write them: `256MiB`, `50MiB/s`, `300ms`. A wrong one is answered in the user's own words,
 * with the range that is allowed.
 */

import type { Duration } from '../../base/units.js';
import { GIB, KIB, MIB, TIB } from '../../base/units.js';

/** What is wrong with an option's value, as the end of a sentence; the command makes a usage error of it. */
export class BadValue extends Error {
  constructor(why: string) {
    super(why);
    this.name = 'BadValue';
  }
}

export interface Range {
  readonly min?: number;
  readonly max?: number;
  /** Only multiples of this. */
  readonly step?: number;
}

/** Binary units, longest first in words. `1G` is 1 GiB, as everywhere where memory is meant. */
const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  K: KIB,
  KIB: KIB,
  M: MIB,
  MIB: MIB,
  G: GIB,
  GIB: GIB,
  T: TIB,
  TIB: TIB,
};

/** Decimal bit rates, as links are named. */
const BIT_RATE_UNITS: Readonly<Record<string, number>> = {
  BIT: 1 / 8,
  KBIT: 1e3 / 8,
  MBIT: 1e6 / 8,
  GBIT: 1e9 / 8,
};

const DURATION_UNITS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, min: 60e9 };

const QUANTITY = /^([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)$/;

function split(text: string, what: string, example: string): { amount: number; unit: string } {
  const match = QUANTITY.exec(text.trim());
  if (match === null) throw new BadValue(`'${clip(text)}' is no ${what}; write it like ${example}`);
  if (match[2] === '') throw new BadValue(`'${clip(text)}' has no unit; write it like ${example}`);
  return { amount: Number(match[1]), unit: match[2] };
}

function unknownUnit(unit: string, known: string): BadValue {
  return new BadValue(`'${clip(unit)}' is no unit; known are ${known}`);
}

function within(text: string, value: number, range: Range, format: (value: number) => string): number {
  const { min = 0, max = Number.MAX_SAFE_INTEGER, step = 1 } = range;
  if (value < min || value > max) {
    const allowed =
      range.max === undefined ? `at least ${format(min)}` : `from ${format(min)} to ${format(max)}`;
    throw new BadValue(`${clip(text)} is out of range; allowed is ${allowed}`);
  }
  if (value % step !== 0) throw new BadValue(`${clip(text)} is not a multiple of ${format(step)}`);
  return value;
}

/** A size in bytes: `256MiB`, `1G`, `64M`, `1.5GiB`, `512B`. Throws BadValue. */
export function parseSize(text: string, range: Range = {}): number {
  const { amount, unit } = split(text, 'size', '256MiB or 1G');
  const bytes = SIZE_UNITS[unit.toUpperCase()];
  if (bytes === undefined) {
    if (/^[KMGT]B$/i.test(unit)) {
      throw new BadValue(
        `sizes are binary: write ${unit[0].toUpperCase()}iB or ${unit[0].toUpperCase()} instead of ${unit}`,
      );
    }
    throw unknownUnit(unit, 'B, KiB, MiB, GiB, TiB (or K, M, G, T)');
  }
  return within(text, amount * bytes, range, formatSize);
}

/** A rate in bytes per second: `50MiB/s`, `1G/s`, or a link's `10Gbit/s`. Throws BadValue. */
export function parseRate(text: string, range: Range = {}): number {
  const example = '50MiB/s or 10Gbit/s';
  const perSecond = /^(.*)\/s$/.exec(text.trim());
  if (perSecond === null) throw new BadValue(`'${clip(text)}' is no rate; write it like ${example}`);
  const { amount, unit } = split(perSecond[1], 'rate', example);
  const bytes = SIZE_UNITS[unit.toUpperCase()] ?? BIT_RATE_UNITS[unit.toUpperCase()];
  if (bytes === undefined) throw unknownUnit(`${unit}/s`, 'B/s, KiB/s, MiB/s, GiB/s, TiB/s, Mbit/s, Gbit/s');
  return within(text, Math.round(amount * bytes), range, (v) => `${formatSize(v)}/s`);
}

/** A time: `300ms`, `1.5s`, `20us`. Range in nanoseconds. Throws BadValue. */
export function parseDuration(text: string, range: Range = {}): Duration {
  const { amount, unit } = split(text, 'time', '300ms or 2s');
  const ns = DURATION_UNITS[unit === 'µs' ? 'us' : unit];
  if (ns === undefined) throw unknownUnit(unit, 'ns, us, ms, s, min');
  return within(text, Math.round(amount * ns), range, formatDuration) as Duration;
}

/** A whole number, `1000000` or `1e6`. Throws BadValue. */
export function parseWhole(text: string, range: Range = {}): number {
  if (!/^(?:[0-9]{1,15}|[0-9]e[0-9]{1,2})$/.test(text.trim()))
    throw new BadValue(`'${clip(text)}' is no whole number`);
  return within(text, Number(text), range, String);
}

/** Exact, in the largest unit that gives at most two decimals: 3584 MiB is `3.5GiB`. */
export function formatSize(bytes: number): string {
  for (const [unit, size] of [
    ['TiB', TIB],
    ['GiB', GIB],
    ['MiB', MIB],
    ['KiB', KIB],
  ] as const) {
    if (bytes >= size && Number.isInteger((bytes / size) * 100)) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}

/** Exact, in the largest unit that gives at most three decimals. */
export function formatDuration(ns: number): string {
  for (const [unit, size] of [
    ['s', 1e9],
    ['ms', 1e6],
    ['us', 1e3],
  ] as const) {
    if (ns >= size && Number.isInteger((ns / size) * 1000)) return `${ns / size}${unit}`;
  }
  return `${ns}ns`;
}

/** What a message repeats of the user's text. */
function clip(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}
