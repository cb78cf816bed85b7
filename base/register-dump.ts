/** Saved registers and register tables in words. */
import type { BitRange } from './bits.js';
import type { RegisterTable } from './register-table.js';

const hex = (value: number, digits: number): string =>
  `0x${(value >>> 0).toString(16).padStart(digits, '0')}`;

/**
 * Saved registers in words: every register with its value and its non-zero fields, for `ferry inspect` and docs.
 * Bytes come from a peer, so what is missing is said, never thrown.
 */
export function describeRegisters(
  table: RegisterTable<unknown>,
  saved: Uint8Array,
): (readonly [string, string])[] {
  const view = new DataView(saved.buffer, saved.byteOffset, saved.byteLength);
  const values = new Map<number, number>();
  table.mapped.forEach((word, i) => {
    if (i * 4 + 4 <= saved.length) values.set(word, view.getUint32(i * 4, true));
  });
  const lines: (readonly [string, string])[] = [];
  for (const register of table.registers) {
    for (let index = 0; index < register.count; index++) {
      const at = register.offset + index * register.stride;
      const name = register.count === 1 ? register.name : `${register.name}[${index}]`;
      const low = values.get(at >>> 2);
      const high = register.width === 64 ? values.get((at >>> 2) + 1) : 0;
      if (low === undefined || high === undefined) {
        lines.push([name, 'missing']);
        continue;
      }
      const value = register.width >= 32 ? low : (low >>> ((at & 3) * 8)) & (2 ** register.width - 1);
      const text =
        register.width === 64 ? `${hex(high, 8)}${hex(low, 8).slice(2)}` : hex(value, register.width / 4);
      const fields = Object.entries(register.fields)
        .map(([field, range]) => [field, range.read([value, high], 0)] as const)
        .filter(([, v]) => v !== 0)
        .map(([field, v]) => `${field}=${v < 10 ? v : `0x${v.toString(16)}`}`);
      lines.push([name, fields.length === 0 ? text : `${text} ${fields.join(' ')}`]);
    }
  }
  return lines;
}

/** One row of a register map for the documentation. */
export interface RegisterRow {
  readonly name: string;
  readonly offset: number;
  readonly width: number;
  readonly count: number;
  readonly stride: number;
  readonly spec: string;
  readonly fields: readonly { readonly name: string; readonly range: BitRange }[];
}

/** The table as rows, from which the register maps in docs are printed. */
export function registerRows(table: RegisterTable<unknown>): RegisterRow[] {
  return table.registers.map(({ name, offset, width, count, stride, spec, fields }) => ({
    name,
    offset,
    width,
    count,
    stride,
    spec,
    fields: Object.entries(fields).map(([field, { lsb, width: bitsWide }]) => ({
      name: field,
      range: [lsb, bitsWide],
    })),
  }));
}
