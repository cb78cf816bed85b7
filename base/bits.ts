/**
 * Named bit fields of registers, descriptors and table entries. A structure is seen as little-endian 32-bit words;
 * bit 0 is the lowest bit of word 0. Declared once, beside the section of the specification:
 *
 *     const context = bits({ P: [0, 1], TT: [2, 2], SSPTPTR: [12, 52], AW: [64, 3], DID: [72, 16] });
 *     context.TT.get(words[at + context.TT.word])            // hot path: a plain mask and shift
 *     context.SSPTPTR.readInPlace(words, at)                 // across two words: the address itself
 *
 * Values are unsigned numbers. A value too wide for its field is refused, because a silent truncation is a wrong
 * register that nobody looks for.
 */
import { invariant } from './errors.js';

export type BitRange = readonly [lsb: number, width: number];

const TWO_32 = 2 ** 32;

export class BitField {
  /** Index of the 32-bit word that holds the field's lowest bit. */
  readonly word: number;
  /** Position of the lowest bit within that word. */
  readonly shift: number;
  readonly width: number;
  /** The field's bits within `word`, unsigned. */
  readonly mask: number;
  /** The field's bits within the word after it; 0 unless the field reaches there. */
  readonly highMask: number;
  /** Largest value that fits; exact up to 53 bits of width. */
  readonly max: number;

  constructor(lsb: number, width: number) {
    invariant(Number.isInteger(lsb) && lsb >= 0, `field at bit ${lsb}`);
    invariant(Number.isInteger(width) && width >= 1, `field of ${width} bits`);
    this.word = lsb >>> 5;
    this.shift = lsb & 31;
    this.width = width;
    const end = this.shift + width;
    invariant(end <= 64, `field of ${width} bits at bit ${lsb} reaches over more than two words`);
    this.mask = (end >= 32 ? TWO_32 - 2 ** this.shift : 2 ** end - 2 ** this.shift) >>> 0;
    this.highMask = end > 32 ? (2 ** (end - 32) - 1) >>> 0 : 0;
    this.max = 2 ** width - 1;
  }

  /** Bit number of the field's lowest bit. */
  get lsb(): number {
    return this.word * 32 + this.shift;
  }

  /** The field's value out of the word that holds it. Only for a field within one word. */
  get(word: number): number {
    return (word & this.mask) >>> this.shift;
  }

  /** `word` with the field replaced, unsigned. Only for a field within one word. */
  set(word: number, value: number): number {
    invariant(this.highMask === 0, 'a field across two words has no single word');
    this.check(value);
    return ((word & ~this.mask) | (value << this.shift)) >>> 0;
  }

  /** The field's value out of a structure that starts at `words[at]`. */
  read(words: ArrayLike<number>, at: number): number {
    const low = (words[at + this.word]! & this.mask) >>> this.shift;
    if (this.highMask === 0) return low;
    return ((words[at + this.word + 1]! & this.highMask) >>> 0) * 2 ** (32 - this.shift) + low;
  }

  /**
   * The field's bits without shifting them down, relative to its word: for an address field such as [63:12] the
   * address in bytes. Exact for any 64-bit address aligned to 4 KiB, which keeps within the 53 bits of a double.
   */
  readInPlace(words: ArrayLike<number>, at: number): number {
    const low = (words[at + this.word]! & this.mask) >>> 0;
    if (this.highMask === 0) return low;
    return ((words[at + this.word + 1]! & this.highMask) >>> 0) * TWO_32 + low;
  }

  /** Replaces the field in a structure that starts at `words[at]`. */
  write(words: Uint32Array | number[], at: number, value: number): void {
    this.check(value);
    this.place(words, at, value * 2 ** this.shift);
  }

  /** The inverse of `readInPlace`: `value` is an address whose bits below the field are zero. */
  writeInPlace(words: Uint32Array | number[], at: number, value: number): void {
    invariant(value % 2 ** this.shift === 0, `${value} has bits below the field`);
    this.check(value / 2 ** this.shift);
    this.place(words, at, value);
  }

  private place(words: Uint32Array | number[], at: number, inPlace: number): void {
    const low = at + this.word;
    words[low] = ((words[low]! & ~this.mask) | ((inPlace % TWO_32) >>> 0)) >>> 0;
    if (this.highMask === 0) return;
    words[low + 1] = ((words[low + 1]! & ~this.highMask) | Math.floor(inPlace / TWO_32)) >>> 0;
  }

  private check(value: number): void {
    invariant(
      Number.isInteger(value) && value >= 0 && value <= this.max,
      `value ${value} does not fit a field of ${this.width} bits`,
    );
  }
}

export type Bits<T> = { readonly [K in keyof T]: BitField };

/** Declares the named fields of one structure; `{ name: [lsb, width] }`. Fields may not overlap. */
export function bits<T extends Readonly<Record<string, BitRange>>>(ranges: T): Bits<T> {
  const fields: Record<string, BitField> = {};
  for (const [name, [lsb, width]] of Object.entries(ranges)) fields[name] = new BitField(lsb, width);
  const ordered = Object.entries(fields).sort(([, a], [, b]) => a.lsb - b.lsb);
  for (let i = 1; i < ordered.length; i++) {
    const [name, field] = ordered[i]!;
    const [belowName, below] = ordered[i - 1]!;
    invariant(below.lsb + below.width <= field.lsb, `bit fields ${belowName} and ${name} overlap`);
  }
  return fields as Bits<T>;
}

/** The words of a structure with the given fields set and all else zero. */
export function compose<T>(
  fields: Bits<T>,
  wordCount: number,
  values: Partial<Record<keyof T, number>>,
): number[] {
  const words = new Array<number>(wordCount).fill(0);
  for (const name of Object.keys(values) as (keyof T)[]) fields[name].write(words, 0, values[name]!);
  return words;
}
