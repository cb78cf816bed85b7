/**
 * The declaration half of register files: one typed table per device, checked and resolved to masks per 32-bit word.
 * `registers.ts` is the engine over it and explains how to use both.
 */
import { BitField } from './bits.js';
import { invariant } from './errors.js';

/**
 * What a bit does, in the terms of the PCIe base specification: `const` keeps its reset value for good (`HwInit`; saved
 * registers in which it differs are refused); `ro` hardware writes, software reads; `rw` both;
 * `wo` reads as zero and is not stored, the write hook sees it; `w1c` writing one clears; `rc` reading clears;
 * `rcw1c` either clears. A trailing `s` (`ros`, `rws`, `w1cs`): sticky, survives a function-level reset.
 */
export type Access = 'const' | 'ro' | 'ros' | 'rw' | 'rws' | 'wo' | 'w1c' | 'w1cs' | 'rc' | 'rcw1c';

export type FieldSpec = readonly [lsb: number, width: number, access?: Access];

/** A value of up to 53 bits, or the two halves of a 64-bit one. */
export type RegisterValue = number | readonly [low: number, high: number];

export interface RegisterSpec {
  /** Byte offset of (the first instance of) the register; a multiple of its width. */
  readonly offset: number;
  readonly width: 8 | 16 | 32 | 64;
  /** Bits that no field covers, and fields that name no access. Without it those bits are reserved: read-only. */
  readonly access?: Access;
  readonly reset?: RegisterValue;
  readonly fields?: Readonly<Record<string, FieldSpec>>;
  /** An array of `count` instances, `stride` bytes apart. */
  readonly count?: number;
  readonly stride?: number;
  /** Section of the specification. */
  readonly spec?: string;
}

export interface TableOptions {
  /** Bytes of the whole file; accesses beyond are refused. */
  readonly bytes: number;
  /** Access sizes that the device accepts, in bytes. */
  readonly sizes?: readonly (1 | 2 | 4 | 8)[];
  /** Refuse accesses that are not aligned to their size. */
  readonly aligned?: boolean;
  /** Each word of a refused read. */
  readonly refused?: number;
  /** What reads give where no register is, each word. */
  readonly hole?: number;
}

type FieldsOf<S> = S extends { readonly fields: infer F }
  ? { readonly [K in keyof F]: BitField }
  : Record<never, never>;

/** A register as declared, resolved to plain numbers. */
export interface Register<F = Readonly<Record<string, BitField>>> {
  readonly name: string;
  readonly offset: number;
  readonly width: number;
  readonly count: number;
  readonly stride: number;
  readonly spec: string;
  /** Index of the first instance's (low) word. */
  readonly word: number;
  readonly fields: F;
}

export interface RegisterTable<T = Readonly<Record<string, RegisterSpec>>> {
  readonly name: string;
  readonly bytes: number;
  readonly reg: { readonly [K in keyof T]: Register<FieldsOf<T[K]>> };
  readonly registers: readonly Register[];
  /** Indices of the words that hold registers, ascending: what is saved. */
  readonly mapped: readonly number[];
  /** By word: 0 where no register is, else 1 + its index in `mapped`. */
  readonly slots: Uint16Array;
  readonly masks: RegisterMasks;
  readonly sizes: number;
  readonly aligned: boolean;
  readonly refused: number;
}

/** Per word: the bits that behave in each way. */
export interface RegisterMasks {
  readonly reset: Uint32Array;
  readonly write: Uint32Array;
  readonly w1c: Uint32Array;
  readonly rc: Uint32Array;
  readonly sticky: Uint32Array;
  /** Bits that store nothing: they never differ from the reset value. */
  readonly reserved: Uint32Array;
}

/** Behaviour of one register. Values are the register's own (shifted down to bit 0); 64-bit ones come in halves. */
export interface RegisterHooks {
  /** Before a read: returns what the read yields. Bits that reading clears are cleared afterwards. */
  readonly read?: (stored: number, index: number, half: number) => number;
  /**
   * After a write was stored, both halves of an 8-byte one. `written` are the bits as written, zero in bytes that
   * were not part of the access; `before` is what was stored until now.
   */
  readonly write?: (written: number, before: number, index: number, half: number) => void;
}

export type HooksByName<T> = { readonly [K in keyof T]?: RegisterHooks };
export type ResetsByName<T> = { readonly [K in keyof T]?: RegisterValue };

export const lowHalf = (value: RegisterValue): number =>
  typeof value === 'number' ? (value % 2 ** 32) >>> 0 : value[0] >>> 0;
export const highHalf = (value: RegisterValue): number =>
  typeof value === 'number' ? Math.floor(value / 2 ** 32) : value[1] >>> 0;

/** Adds `count` and `stride` to each register of a block that repeats, such as the registers of one queue. */
export function block<const T extends Readonly<Record<string, RegisterSpec>>>(
  count: number,
  stride: number,
  specs: T,
): T {
  const repeated: Record<string, RegisterSpec> = {};
  for (const [name, spec] of Object.entries(specs)) repeated[name] = { ...spec, count, stride };
  return repeated as T;
}

function checkSpec(table: string, bytes: number, name: string, spec: RegisterSpec): void {
  const where = `${table}.${name}`;
  const widthBytes = spec.width / 8;
  const count = spec.count ?? 1;
  const stride = spec.stride ?? widthBytes;
  invariant(spec.offset % widthBytes === 0, `${where}: offset ${spec.offset} is not aligned to its width`);
  invariant(count >= 1 && stride >= widthBytes && stride % widthBytes === 0, `${where}: stride ${stride}`);
  invariant(
    count === 1 || stride % 4 === 0 || stride === widthBytes,
    `${where}: stride ${stride} splits words`,
  );
  invariant(spec.offset + (count - 1) * stride + widthBytes <= bytes, `${where}: lies beyond the file`);
  const reset = spec.reset ?? 0;
  const limit = spec.width === 64 ? 2 ** 53 : 2 ** spec.width;
  if (typeof reset === 'number') {
    invariant(
      Number.isInteger(reset) && reset >= 0 && reset < limit,
      `${where}: reset value ${reset} does not fit`,
    );
  } else {
    invariant(spec.width === 64, `${where}: halves given for a register of ${spec.width} bits`);
  }
}

/** Declares a register file; overlaps, misalignment and bits outside their register are refused here. */
export function registerTable<const T extends Readonly<Record<string, RegisterSpec>>>(
  name: string,
  options: TableOptions,
  specs: T,
): RegisterTable<T> {
  invariant(options.bytes > 0 && options.bytes % 4 === 0, `${name}: a file of ${options.bytes} bytes`);
  const words = options.bytes / 4;
  const masks = {
    reset: new Uint32Array(words).fill(options.hole ?? 0),
    write: new Uint32Array(words),
    w1c: new Uint32Array(words),
    rc: new Uint32Array(words),
    sticky: new Uint32Array(words),
    reserved: new Uint32Array(words).fill(0xffffffff),
  };
  const owner = new Array<string | undefined>(words * 4).fill(undefined);
  const byName: Record<string, Register> = {};
  for (const [key, spec] of Object.entries(specs)) {
    checkSpec(name, options.bytes, key, spec);
    byName[key] = declare(name, key, spec, masks, owner);
  }
  const mapped: number[] = [];
  for (let word = 0; word < words; word++) {
    if (owner[word * 4] ?? owner[word * 4 + 1] ?? owner[word * 4 + 2] ?? owner[word * 4 + 3])
      mapped.push(word);
  }
  const slots = new Uint16Array(words);
  mapped.forEach((word, i) => {
    slots[word] = i + 1;
  });
  return {
    name,
    bytes: options.bytes,
    // A copy: engines keep an object that was filled name by name as a hash table, and this one as fields.
    reg: { ...byName } as RegisterTable<T>['reg'],
    registers: Object.values(byName),
    mapped,
    slots,
    masks,
    sizes: (options.sizes ?? [1, 2, 4, 8]).reduce<number>((sum, size) => sum | size, 0),
    aligned: options.aligned ?? true,
    refused: (options.refused ?? 0xffffffff) >>> 0,
  };
}

function declare(
  table: string,
  name: string,
  spec: RegisterSpec,
  masks: RegisterMasks,
  owner: (string | undefined)[],
): Register {
  const widthBytes = spec.width / 8;
  const count = spec.count ?? 1;
  const stride = spec.stride ?? widthBytes;
  const halves = spec.width === 64 ? 2 : 1;
  const fields: Record<string, BitField> = {};
  const kinds: (Access | undefined)[] = new Array(spec.width).fill(spec.access);
  const taken = new Array<boolean>(spec.width).fill(false);
  for (const [fieldName, [lsb, width, access]] of Object.entries(spec.fields ?? {})) {
    const where = `${table}.${name}.${fieldName}`;
    invariant(lsb + width <= spec.width, `${where}: bits beyond the register`);
    fields[fieldName] = new BitField(lsb, width);
    for (let bit = lsb; bit < lsb + width; bit++) {
      invariant(!taken[bit], `${where}: bit ${bit} belongs to another field`);
      taken[bit] = true;
      kinds[bit] = access ?? spec.access ?? 'ro';
    }
  }
  for (let index = 0; index < count; index++) {
    const at = spec.offset + index * stride;
    for (let byte = at; byte < at + widthBytes; byte++) {
      invariant(owner[byte] === undefined, `${table}: ${name} overlaps ${owner[byte]} at offset ${byte}`);
      owner[byte] = name;
    }
    const shift = (at & 3) * 8;
    for (let half = 0; half < halves; half++) {
      const word = (at >>> 2) + half;
      const registerMask = spec.width >= 32 ? 0xffffffff : ((2 ** spec.width - 1) << shift) >>> 0;
      const reset = half === 0 ? lowHalf(spec.reset ?? 0) : highHalf(spec.reset ?? 0);
      masks.reset[word] = (masks.reset[word]! & ~registerMask) | (reset << shift);
    }
    for (let bit = 0; bit < spec.width; bit++) {
      const position = (at & 3) * 8 + bit;
      setKind(masks, (at >>> 2) + (position >>> 5), (1 << (position & 31)) >>> 0, kinds[bit]);
    }
  }
  return {
    name,
    offset: spec.offset,
    width: spec.width,
    count,
    stride,
    spec: spec.spec ?? '',
    word: spec.offset >>> 2,
    fields,
  };
}

function setKind(masks: RegisterMasks, word: number, bit: number, kind: Access | undefined): void {
  if (kind !== undefined && kind !== 'wo' && kind !== 'const') masks.reserved[word]! &= ~bit;
  if (kind === 'rw' || kind === 'rws') masks.write[word]! |= bit;
  if (kind === 'w1c' || kind === 'w1cs' || kind === 'rcw1c') masks.w1c[word]! |= bit;
  if (kind === 'rc' || kind === 'rcw1c') masks.rc[word]! |= bit;
  if (kind === 'ros' || kind === 'rws' || kind === 'w1cs') masks.sticky[word]! |= bit;
}
