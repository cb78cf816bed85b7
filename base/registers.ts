/**
 * Declared register files. A device declares its registers as one table (offset, width, reset value, what each bit
 * does, named fields, section of the specification) and adds behaviour only by naming a register:
 *
 *     const table = registerTable('uart', { bytes: 16 }, {
 *       STATUS: { offset: 0, width: 32, spec: '3.1', fields: { READY: [0, 1, 'ro'], OVERRUN: [1, 1, 'w1c'] } },
 *       DATA: { offset: 4, width: 8, access: 'wo' },
 *     });
 *     const file = new RegisterFile(table, { DATA: { write: (written) => transmit(written) } });
 *     file.write(4, 1, 0x41);
 *     file.setField(table.reg.STATUS, table.reg.STATUS.fields.READY, 1);
 *
 * The engine stores 32-bit words indexed by offset; masks per word say which bits can be written, cleared by writing
 * one, cleared by reading, or survive a function-level reset. Accesses of any size and alignment become one or more
 * word accesses with byte lanes. A 64-bit register is two words; nothing here allocates per access.
 */
import type { BitField } from './bits.js';
import {
  type HooksByName,
  highHalf,
  lowHalf,
  type Register,
  type RegisterHooks,
  type RegisterSpec,
  type RegisterTable,
  type RegisterValue,
  type ResetsByName,
} from './register-table.js';

export * from './register-table.js';

/** One hooked register instance within one word. */
interface HookPlace {
  readonly mask: number;
  readonly shift: number;
  readonly index: number;
  readonly half: number;
  /** Which of the file's hooks. */
  readonly hook: number;
}

/** By the table's slots. */
type HookPlaces = readonly (readonly HookPlace[] | undefined)[];

/** Files of one table mostly hook the same registers, and are made often: where these lie is worked out once. */
const placesOfTable = /* @__PURE__ */ new WeakMap<RegisterTable<never>, Map<string, HookPlaces>>();

/** Where the hooks of `names` apply: one name for each, in this order. */
function hookPlaces<T>(table: RegisterTable<T>, names: readonly string[]): HookPlaces {
  let known = placesOfTable.get(table as RegisterTable<never>);
  if (known === undefined) {
    known = new Map();
    placesOfTable.set(table as RegisterTable<never>, known);
  }
  const key = names.join();
  let places = known.get(key);
  if (places === undefined) {
    places = findHookPlaces(table, names);
    known.set(key, places);
  }
  return places;
}

function findHookPlaces<T>(table: RegisterTable<T>, names: readonly string[]): HookPlaces {
  const bySlot = new Array<HookPlace[] | undefined>(table.mapped.length + 1).fill(undefined);
  for (const register of table.registers) {
    const hook = names.indexOf(register.name);
    if (hook < 0) continue;
    for (let index = 0; index < register.count; index++) {
      const at = register.offset + index * register.stride;
      const shift = (at & 3) * 8;
      for (let half = 0; half < (register.width === 64 ? 2 : 1); half++) {
        const mask = register.width >= 32 ? 0xffffffff : ((2 ** register.width - 1) << shift) >>> 0;
        const slot = table.slots[(at >>> 2) + half]!;
        bySlot[slot] = [...(bySlot[slot] ?? []), { mask, shift, index, half, hook }];
      }
    }
  }
  return bySlot;
}

/** The registers of one device. */
export class RegisterFile<T = Readonly<Record<string, RegisterSpec>>> {
  readonly table: RegisterTable<T>;
  /** Stored values by word; hot paths of a device may read and write here with `register.word`. */
  readonly words: Uint32Array;
  /** High half of the last 8-byte read. */
  high = 0;
  private readonly resets: Uint32Array;
  private readonly hooks: readonly RegisterHooks[];
  private readonly places: HookPlaces;
  private readonly slots: Uint16Array;
  /** Copies of the table's masks, one indirection less on the access path. */
  private readonly rcMask: Uint32Array;
  private readonly writeMask: Uint32Array;
  private readonly w1cMask: Uint32Array;

  /** `resets` replace the table's reset values in this instance, such as a capability register's configuration. */
  constructor(table: RegisterTable<T>, hooks: HooksByName<T> = {}, resets: ResetsByName<T> = {}) {
    this.table = table;
    const overridden = Object.entries(resets) as [string, RegisterValue][];
    this.resets = overridden.length === 0 ? table.masks.reset : table.masks.reset.slice();
    this.rcMask = table.masks.rc;
    this.writeMask = table.masks.write;
    this.w1cMask = table.masks.w1c;
    this.slots = table.slots;
    const given: RegisterHooks[] = [];
    const names: string[] = [];
    for (const [name, hook] of Object.entries(hooks) as [string, RegisterHooks | undefined][]) {
      if (hook?.read === undefined && hook?.write === undefined) continue;
      names.push(name);
      given.push(hook);
    }
    this.hooks = given;
    this.places = hookPlaces(table, names);
    for (const [name, value] of overridden) {
      const register = (table.reg as Readonly<Record<string, Register>>)[name]!;
      for (let index = 0; index < register.count; index++) this.place(this.resets, register, index, value);
    }
    this.words = this.resets.slice();
  }

  /**
   * Reads `size` bytes (1, 2, 4 or 8) at `offset`, with the side effects reading has. Returns the value unsigned; of
   * an 8-byte read the low half, the high one is in `high`. A refused access gives the table's `refused` value.
   */
  read(offset: number, size: number): number {
    if (
      size === 4 &&
      (offset & 3) === 0 &&
      offset >= 0 &&
      offset < this.table.bytes &&
      this.table.sizes & 4
    ) {
      return this.readWord(offset >>> 2, 0xffffffff);
    }
    return this.readOther(offset, size);
  }

  /** Writes `size` bytes (1, 2, 4 or 8) at `offset`; `high` is the upper half of an 8-byte write. */
  write(offset: number, size: number, value: number, high = 0): void {
    if (
      size === 4 &&
      (offset & 3) === 0 &&
      offset >= 0 &&
      offset < this.table.bytes &&
      this.table.sizes & 4
    ) {
      const word = offset >>> 2;
      const before = this.words[word]!;
      this.store(word, value, 0xffffffff);
      if (this.slots[word] !== 0) this.runWriteHooks(word, value, 0xffffffff, before);
      return;
    }
    this.writeOther(offset, size, value, high);
  }

  /** The stored value: hardware's own view, without side effects. The low half of a 64-bit register. */
  get(register: Register<unknown>, index = 0): number {
    const at = register.offset + index * register.stride;
    return (
      ((this.words[at >>> 2]! >>> ((at & 3) * 8)) & (register.width >= 32 ? -1 : 2 ** register.width - 1)) >>>
      0
    );
  }

  /** The stored upper half of a 64-bit register. */
  getHigh(register: Register<unknown>, index = 0): number {
    return this.words[((register.offset + index * register.stride) >>> 2) + 1]!;
  }

  /** A 64-bit register as one number; exact below 2^53 and for multiples of 4096. */
  get64(register: Register<unknown>, index = 0): number {
    return this.getHigh(register, index) * 2 ** 32 + this.get(register, index);
  }

  /** Stores a value as hardware does: no access rules, no hooks. */
  set(register: Register<unknown>, value: RegisterValue, index = 0): void {
    this.place(this.words, register, index, value);
  }

  getField(register: Register<unknown>, field: BitField, index = 0): number {
    const at = register.offset + index * register.stride;
    if (register.width === 64) return field.read(this.words, at >>> 2);
    return field.get(this.words[at >>> 2]! >>> ((at & 3) * 8));
  }

  setField(register: Register<unknown>, field: BitField, value: number, index = 0): void {
    const at = register.offset + index * register.stride;
    if (register.width === 64) field.write(this.words, at >>> 2, value);
    else this.set(register, field.set(this.get(register, index), value), index);
  }

  /** `power-on` restores every reset value; `function` (function-level reset) leaves sticky bits as they are. */
  reset(kind: 'power-on' | 'function'): void {
    const { sticky } = this.table.masks;
    for (const word of this.table.mapped) {
      const kept = kind === 'function' ? sticky[word]! : 0;
      this.words[word] = (this.words[word]! & kept) | (this.resets[word]! & ~kept);
    }
  }

  /** All registers, four bytes a mapped word, in the order of their offsets. */
  save(): Uint8Array {
    const { mapped } = this.table;
    const saved = new Uint8Array(mapped.length * 4);
    const view = new DataView(saved.buffer);
    for (let i = 0; i < mapped.length; i++) view.setUint32(i * 4, this.words[mapped[i]!]!, true);
    return saved;
  }

  /** `saved` with `register` as it is here, for a difference that does not matter. What was not saved of such a file is returned as it is. */
  withOwn(saved: Uint8Array, register: Register): Uint8Array {
    const at = this.table.mapped.indexOf(register.offset >>> 2) * 4 + (register.offset & 3);
    const bytes = register.width / 8;
    if (saved.length !== this.table.mapped.length * 4) return saved;
    const copy = saved.slice();
    copy.set(this.save().subarray(at, at + bytes), at);
    return copy;
  }

  /** Takes over saved registers without running hooks. Returns what is wrong, and changes nothing, if they don't fit. */
  restore(saved: Uint8Array): string | undefined {
    const { mapped, masks, name } = this.table;
    if (saved.length !== mapped.length * 4) {
      return `${name}: ${saved.length} bytes of registers where ${mapped.length * 4} belong`;
    }
    const view = new DataView(saved.buffer, saved.byteOffset, saved.byteLength);
    for (let i = 0; i < mapped.length; i++) {
      const word = mapped[i]!;
      const reserved = masks.reserved[word]!;
      if (((view.getUint32(i * 4, true) ^ this.resets[word]!) & reserved) !== 0) {
        const [there, here] = [view.getUint32(i * 4, true), this.resets[word]!].map((v) => v.toString(16));
        return `${name}: fixed bits of ${this.nameAt(word)} differ: 0x${there} saved, 0x${here} here`;
      }
    }
    for (let i = 0; i < mapped.length; i++) this.words[mapped[i]!] = view.getUint32(i * 4, true);
    return undefined;
  }

  /** The registers in a word, for messages. */
  private nameAt(word: number): string {
    const here = this.table.registers.filter(({ offset, count, stride, width }) => {
      const index = Math.floor(Math.max(0, word * 4 - offset) / stride);
      const at = offset + Math.min(index, count - 1) * stride;
      return at < word * 4 + 4 && at + width / 8 > word * 4;
    });
    return `${here.map((register) => register.name).join('/')} at offset 0x${(word * 4).toString(16)}`;
  }

  private readOther(offset: number, size: number): number {
    this.high = 0;
    if (this.refuses(offset, size)) {
      if (size === 8) this.high = this.table.refused;
      return size >= 4 ? this.table.refused : (this.table.refused & (2 ** (size * 8) - 1)) >>> 0;
    }
    const shift = (offset & 3) * 8;
    if (size === 8 && shift === 0) {
      const low = this.readWord(offset >>> 2, 0xffffffff);
      this.high = this.readWord((offset >>> 2) + 1, 0xffffffff);
      return low;
    }
    let low = 0;
    let high = 0;
    // Words touched one after the other; `done` counts the bytes already read.
    for (let done = 0; done < size; ) {
      const lane = (offset + done) & 3;
      const count = Math.min(4 - lane, size - done);
      const mask = count === 4 ? 0xffffffff : ((2 ** (count * 8) - 1) << (lane * 8)) >>> 0;
      const part = this.readWord((offset + done) >>> 2, mask) >>> (lane * 8);
      if (done < 4) low |= part << (done * 8);
      if (done >= 4) high |= part << ((done - 4) * 8);
      else if (done + count > 4) high |= part >>> ((4 - done) * 8);
      done += count;
    }
    this.high = high >>> 0;
    return low >>> 0;
  }

  private writeOther(offset: number, size: number, value: number, high: number): void {
    if (this.refuses(offset, size)) return;
    const first = offset >>> 2;
    const shift = (offset & 3) * 8;
    if (size === 8 && shift === 0) {
      const lowBefore = this.words[first]!;
      const highBefore = this.words[first + 1]!;
      this.store(first, value, 0xffffffff);
      this.store(first + 1, high, 0xffffffff);
      this.runWriteHooks(first, value, 0xffffffff, lowBefore);
      this.runWriteHooks(first + 1, high, 0xffffffff, highBefore);
      return;
    }
    for (let done = 0; done < size; ) {
      const lane = (offset + done) & 3;
      const count = Math.min(4 - lane, size - done);
      const mask = count === 4 ? 0xffffffff : ((2 ** (count * 8) - 1) << (lane * 8)) >>> 0;
      let part = done < 4 ? value >>> (done * 8) : high >>> ((done - 4) * 8);
      if (done > 0 && done < 4 && done + count > 4) part |= high << ((4 - done) * 8);
      const word = (offset + done) >>> 2;
      const before = this.words[word]!;
      this.store(word, part << (lane * 8), mask);
      this.runWriteHooks(word, ((part << (lane * 8)) & mask) >>> 0, mask, before);
      done += count;
    }
  }

  private refuses(offset: number, size: number): boolean {
    const { table } = this;
    if (size !== 1 && size !== 2 && size !== 4 && size !== 8) return true;
    if (!(table.sizes & size)) return true;
    if (!Number.isInteger(offset) || offset < 0 || offset + size > table.bytes) return true;
    return table.aligned && offset % size !== 0;
  }

  private readWord(word: number, lanes: number): number {
    let value = this.words[word]!;
    const places = this.places[this.slots[word]!];
    if (places !== undefined) {
      for (let i = 0; i < places.length; i++) {
        const { hook, mask, shift, index, half } = places[i]!;
        const { read } = this.hooks[hook]!;
        if (read === undefined || (mask & lanes) === 0) continue;
        value = (value & ~mask) | ((read(((value & mask) >>> 0) >>> shift, index, half) << shift) & mask);
      }
    }
    const clears = this.rcMask[word]! & lanes;
    if (clears !== 0) this.words[word]! &= ~clears;
    return (value & lanes) >>> 0;
  }

  private store(word: number, value: number, lanes: number): void {
    const writable = this.writeMask[word]! & lanes;
    const cleared = value & this.w1cMask[word]! & lanes;
    this.words[word] = ((this.words[word]! & ~writable) | (value & writable)) & ~cleared;
  }

  private runWriteHooks(word: number, value: number, lanes: number, before: number): void {
    const places = this.places[this.slots[word]!];
    if (places === undefined) return;
    for (let i = 0; i < places.length; i++) {
      const { hook, mask, shift, index, half } = places[i]!;
      const { write } = this.hooks[hook]!;
      if (write === undefined || (mask & lanes) === 0) continue;
      write(((value & mask) >>> 0) >>> shift, ((before & mask) >>> 0) >>> shift, index, half);
    }
  }

  private place(words: Uint32Array, register: Register<unknown>, index: number, value: RegisterValue): void {
    const at = register.offset + index * register.stride;
    const word = at >>> 2;
    if (register.width === 64) {
      words[word] = lowHalf(value);
      words[word + 1] = highHalf(value);
      return;
    }
    const low = lowHalf(value);
    if (register.width === 32) {
      words[word] = low;
      return;
    }
    const shift = (at & 3) * 8;
    const mask = (2 ** register.width - 1) << shift;
    words[word] = (words[word]! & ~mask) | ((low << shift) & mask);
  }
}
