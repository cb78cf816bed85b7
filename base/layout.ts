/**
 * Declared binary layouts: one table per structure, from which encode, decode, dumps and hot-path offsets derive.
 * Little-endian, as everything the machine has (PCIe, VT-d, the NIC, our stream), but for the kinds that end in `be`:
 * those are for network frames. Fields are packed in the order given unless a field names its own offset. No offset, mask or shift stands outside a declaration.
 *
 *     const header = layout('page frame', { magic: u32(), kind: u8(), pad: bytes(3), length: u32() }, { size: 16 });
 *     header.write(view, 0, { magic: 1, kind: 2, length: 3 });      // whole structure, zero where not given
 *     view.setUint32(at + header.offset.length, n, true);            // hot path: a plain number, resolved once
 */
import { InvariantError } from './errors.js';

export interface Field<V> {
  readonly width: number;
  readonly at: number | undefined;
  readonly get: (view: DataView, at: number) => V;
  readonly set: (view: DataView, at: number, value: V) => void;
  readonly zero: V;
}

type Fields = Record<string, Field<number> | Field<Uint8Array> | Field<string>>;
type ValueOf<F> = F extends Field<infer V> ? V : never;
export type RecordOf<T extends Fields> = { [K in keyof T]: ValueOf<T[K]> };

export interface Layout<T extends Fields = Fields> {
  readonly name: string;
  /** Bytes of the whole structure. */
  readonly size: number;
  /** Byte offset of each field. */
  readonly offset: { readonly [K in keyof T]: number };
  /** Byte width of each field. */
  readonly width: { readonly [K in keyof T]: number };
  read(view: DataView, at: number): RecordOf<T>;
  /** Writes every field; those not given become zero. Throws InvariantError for a value that does not fit. */
  write(view: DataView, at: number, values: Partial<RecordOf<T>>): void;
  /** A fresh buffer of `size` bytes with `values` written. */
  encode(values: Partial<RecordOf<T>>): Uint8Array;
}

function unsigned(
  width: number,
  get: (view: DataView, at: number) => number,
  set: (view: DataView, at: number, value: number) => void,
  at?: number,
): Field<number> {
  const limit = 2 ** (width * 8);
  return {
    width,
    at,
    get,
    set: (view, offset, value) => {
      if (!Number.isInteger(value) || value < 0 || value >= limit) {
        throw new InvariantError(`value ${value} does not fit ${width} unsigned bytes`);
      }
      set(view, offset, value);
    },
    zero: 0,
  };
}

export const u8 = (at?: number): Field<number> =>
  unsigned(
    1,
    (v, o) => v.getUint8(o),
    (v, o, x) => v.setUint8(o, x),
    at,
  );
export const u16 = (at?: number): Field<number> =>
  unsigned(
    2,
    (v, o) => v.getUint16(o, true),
    (v, o, x) => v.setUint16(o, x, true),
    at,
  );
export const u32 = (at?: number): Field<number> =>
  unsigned(
    4,
    (v, o) => v.getUint32(o, true),
    (v, o, x) => v.setUint32(o, x, true),
    at,
  );

/** 16 bits in network byte order, for what goes over a wire. */
export const u16be = (at?: number): Field<number> =>
  unsigned(
    2,
    (v, o) => v.getUint16(o, false),
    (v, o, x) => v.setUint16(o, x, false),
    at,
  );
/** 32 bits in network byte order. */
export const u32be = (at?: number): Field<number> =>
  unsigned(
    4,
    (v, o) => v.getUint32(o, false),
    (v, o, x) => v.setUint32(o, x, false),
    at,
  );

/**
 * 64 bits as a number. Writing refuses what is not exact (above 2^53); reading a larger value from a hostile peer
 * gives an inexact number above 2^53, which every bound check refuses.
 */
export const u64 = (at?: number): Field<number> => ({
  width: 8,
  at,
  get: (v, o) => v.getUint32(o, true) + v.getUint32(o + 4, true) * 2 ** 32,
  set: (v, o, x) => {
    if (!Number.isSafeInteger(x) || x < 0)
      throw new InvariantError(`value ${x} does not fit 53 unsigned bits`);
    v.setUint32(o, x % 2 ** 32, true);
    v.setUint32(o + 4, Math.floor(x / 2 ** 32), true);
  },
  zero: 0,
});

/** 64 bits in network byte order; exact as `u64` is. */
export const u64be = (at?: number): Field<number> => ({
  width: 8,
  at,
  get: (v, o) => v.getUint32(o, false) * 2 ** 32 + v.getUint32(o + 4, false),
  set: (v, o, x) => {
    if (!Number.isSafeInteger(x) || x < 0)
      throw new InvariantError(`value ${x} does not fit 53 unsigned bits`);
    v.setUint32(o, Math.floor(x / 2 ** 32), false);
    v.setUint32(o + 4, x % 2 ** 32, false);
  },
  zero: 0,
});

/** IEEE double, for guest-visible times in nanoseconds. */
export const f64 = (at?: number): Field<number> => ({
  width: 8,
  at,
  get: (v, o) => v.getFloat64(o, true),
  set: (v, o, x) => v.setFloat64(o, x, true),
  zero: 0,
});

/** A fixed number of raw bytes; a shorter value is padded with zeros, a longer one is refused. */
export const bytes = (width: number, at?: number): Field<Uint8Array> => ({
  width,
  at,
  get: (v, o) => new Uint8Array(v.buffer, v.byteOffset + o, width).slice(),
  set: (v, o, x) => {
    if (x.length > width) throw new InvariantError(`${x.length} bytes do not fit ${width}`);
    const target = new Uint8Array(v.buffer, v.byteOffset + o, width);
    target.fill(0);
    target.set(x);
  },
  zero: new Uint8Array(0),
});

/** Fixed-width ASCII text, padded with NUL. Writing refuses other characters; reading drops their upper bit. */
export const ascii = (width: number, at?: number): Field<string> => ({
  width,
  at,
  get: (v, o) => {
    let text = '';
    for (let i = 0; i < width; i++) {
      const byte = v.getUint8(o + i);
      if (byte === 0) break;
      text += String.fromCharCode(byte & 0x7f);
    }
    return text;
  },
  set: (v, o, x) => {
    if (x.length > width) throw new InvariantError(`text of ${x.length} bytes does not fit ${width}`);
    for (let i = 0; i < width; i++) {
      const code = i < x.length ? x.charCodeAt(i) : 0;
      if (i < x.length && (code === 0 || code > 0x7f)) throw new InvariantError(`text "${x}" is not ASCII`);
      v.setUint8(o + i, code);
    }
  },
  zero: '',
});

/** Declares a structure. `size` may exceed the fields (reserved tail); fields may not overlap. */
export function layout<T extends Fields>(
  name: string,
  fields: T,
  options: { size?: number } = {},
): Layout<T> {
  const offset: Record<string, number> = {};
  const width: Record<string, number> = {};
  let next = 0;
  for (const [key, field] of Object.entries(fields)) {
    const at = field.at ?? next;
    if (at < next) throw new InvariantError(`layout ${name}: field ${key} overlaps the one before it`);
    offset[key] = at;
    width[key] = field.width;
    next = at + field.width;
  }
  const size = options.size ?? next;
  if (size < next) throw new InvariantError(`layout ${name}: ${next} bytes of fields in ${size}`);
  const table = Object.entries(fields) as [string, Field<unknown>][];
  const read = (view: DataView, at: number): Record<string, unknown> => {
    const record: Record<string, unknown> = {};
    for (const [key, field] of table) record[key] = field.get(view, at + offset[key]!);
    return record;
  };
  const write = (view: DataView, at: number, values: Record<string, unknown>): void => {
    for (const [key, field] of table) field.set(view, at + offset[key]!, values[key] ?? field.zero);
  };
  return {
    name,
    size,
    offset,
    width,
    read,
    write,
    encode(values: Record<string, unknown>) {
      const buffer = new Uint8Array(size);
      write(new DataView(buffer.buffer), 0, values);
      return buffer;
    },
  } as unknown as Layout<T>;
}
