import { beforeAll, describe, expect, it } from 'vitest';
import { type BuiltGuest, buildGuest } from '../../guest-fixtures/toolchain/build.js';
import { TestMachine } from './test-machine.js';
import { OPERANDS, operand, watGuest } from './wat-guest.js';

/** Everything is set to this before a store; each store below changes every byte that it writes. */
const BACKGROUND = 0xaa;
const REGION = 0x100000;
const REGION_BYTES = 0x40000;

interface Store {
  readonly wat: string;
  /** Static offset and bytes written. */
  readonly offset: number;
  readonly bytes: number;
  readonly aligned: boolean;
}

const ones = (type: string): string =>
  ({
    i32: '(i32.const -1)',
    i64: '(i64.const -1)',
    f32: '(f32.const nan:0x7fffff)',
    f64: '(f64.const nan:0xfffffffffffff)',
    v128: '(v128.const i64x2 -1 -1)',
  })[type]!;

const BYTES: Record<string, number> = { i32: 4, i64: 8, f32: 4, f64: 8, v128: 16 };

function plainStores(): Store[] {
  const kinds = [
    ...['i32', 'i64', 'f32', 'f64', 'v128'].map((type) => ({ name: 'store', type, bytes: BYTES[type]! })),
    ...['i32', 'i64'].flatMap((type) => [
      { name: 'store8', type, bytes: 1 },
      { name: 'store16', type, bytes: 2 },
    ]),
    { name: 'store32', type: 'i64', bytes: 4 },
  ];
  const stores = [0, 3, 5000, 70000].flatMap((offset) =>
    kinds.map(({ name, type, bytes }) => ({
      wat: `(${type}.${name} offset=${offset} align=1 (local.get $a) ${ones(type)})`,
      offset,
      bytes,
      aligned: false,
    })),
  );
  const lanes = [1, 2, 4, 8].map((bytes) => ({
    wat: `(v128.store${bytes * 8}_lane offset=9 1 (local.get $a) ${ones('v128')})`,
    offset: 9,
    bytes,
    aligned: false,
  }));
  return [...stores, ...lanes];
}

function atomicStores(): Store[] {
  const widths: [string, string, number][] = [
    ['i32', '', 4],
    ['i32', '8', 1],
    ['i32', '16', 2],
    ['i64', '', 8],
    ['i64', '8', 1],
    ['i64', '16', 2],
    ['i64', '32', 4],
  ];
  const offset = 8;
  // What each operation needs to change every byte of 0xaa...
  const operandOf: Record<string, bigint> = {
    add: 0x0101010101010101n,
    sub: 0x0101010101010101n,
    and: 0n,
    or: 0x5555555555555555n,
    xor: 0xffffffffffffffffn,
    xchg: 0x1111111111111111n,
  };
  return widths.flatMap(([type, bits, bytes]) => {
    const rmw = bits === '' ? `${type}.atomic.rmw` : `${type}.atomic.rmw${bits}`;
    const unsigned = bits === '' ? '' : '_u';
    const value = (v: bigint): string => `(${type}.const ${BigInt.asUintN(bytes * 8, v)})`;
    return [
      `(${type}.atomic.store${bits} offset=${offset} (local.get $a) ${ones(type)})`,
      ...Object.entries(operandOf).map(
        ([operation, v]) =>
          `(drop (${rmw}.${operation}${unsigned} offset=${offset} (local.get $a) ${value(v)}))`,
      ),
      `(drop (${rmw}.cmpxchg${unsigned} offset=${offset} (local.get $a)
        ${value(0xaaaaaaaaaaaaaaaan)} ${value(0x1111111111111111n)}))`,
    ].map((wat) => ({ wat, offset, bytes, aligned: true }));
  });
}

const STORES = [...plainStores(), ...atomicStores()];
const COPY = STORES.length;
const FILL = COPY + 1;

function pagesOf(start: number, bytes: number): number[] {
  if (bytes === 0) return [];
  const pages: number[] = [];
  for (let page = start >>> 12; page <= (start + bytes - 1) >>> 12; page++) pages.push(page);
  return pages;
}

/** Pages of which a byte changed while `action` ran, operands and results aside. */
function changedPages(machine: TestMachine, action: () => void): number[] {
  const before = machine.u8.slice(0, machine.range.base);
  action();
  const changed: number[] = [];
  for (let at = 0; at < before.length; at += 4096) {
    if (Buffer.compare(before.subarray(at, at + 4096), machine.u8.subarray(at, at + 4096)) !== 0) {
      changed.push(at >>> 12);
    }
  }
  return changed;
}

describe('dirty marking', () => {
  let guest: BuiltGuest;
  beforeAll(() => {
    const cases = STORES.map(
      ({ wat }, i) => `(if (i32.eq (local.get $b) (i32.const ${i})) (then ${wat} (return)))`,
    );
    guest = buildGuest(
      watGuest(`
        (local.set $b ${operand(0)})
        (local.set $a ${operand(1)})
        ${cases.join('\n')}
        (if (i32.eq (local.get $b) (i32.const ${COPY}))
          (then (memory.copy (local.get $a) ${operand(2)} ${operand(3)})))
        (if (i32.eq (local.get $b) (i32.const ${FILL}))
          (then (memory.fill (local.get $a) ${operand(2)} ${operand(3)})))`),
      { name: 'stores' },
    );
  });

  function prepared(variant: 'run' | 'log' | 'postcopy'): TestMachine {
    return new TestMachine(guest, { ramBytes: 4 << 20 }).load(variant);
  }
  function start(machine: TestMachine, ...operands: number[]): number[] {
    machine.u8.fill(BACKGROUND, REGION, REGION + REGION_BYTES);
    machine.dirtyMap.fill(0);
    operands.forEach((value, i) => {
      machine.view.setUint32(OPERANDS + i * 4, value, true);
    });
    return changedPages(machine, () => machine.run());
  }

  for (const variant of ['log', 'postcopy'] as const) {
    it(`of every kind of store covers exactly the bytes it writes, in ${variant}`, () => {
      const machine = prepared(variant);
      for (const [index, { wat, offset, bytes, aligned }] of STORES.entries()) {
        const page = REGION + 0x1000;
        const ends = aligned
          ? [0, 0x100, 0x1000 - bytes]
          : [0, 1, 0x100, 0x1000 - bytes, 0x1001 - bytes, 0xfff];
        for (const end of ends) {
          const target = page + end;
          const changed = start(machine, index, target - offset);
          expect(machine.dirtyPages(), `${wat} at ${target.toString(16)}`).toEqual(pagesOf(target, bytes));
          expect(changed, wat).toEqual(pagesOf(target, bytes));
        }
      }
    });

    it(`of copies and fills covers exactly the range they write, in ${variant}`, () => {
      const machine = prepared(variant);
      for (const size of [0, 1, 4095, 4096, 4097, 20000, 600_000]) {
        for (const to of [REGION, REGION + 1, REGION + 4095]) {
          start(machine, FILL, to, 0x155, size);
          expect(machine.dirtyPages(), `fill ${size} at ${to}`).toEqual(pagesOf(to, size));
          start(machine, COPY, to, 0x10_0000 + 700_000, size);
          expect(machine.dirtyPages(), `copy ${size} to ${to}`).toEqual(pagesOf(to, size));
        }
      }
    });
  }

  it('does not happen in the run variant, though the same bytes change (negative control)', () => {
    const machine = prepared('run');
    for (const [index, { wat, offset, bytes }] of STORES.entries()) {
      const target = REGION + 0x2000 - bytes;
      expect(start(machine, index, target - offset), wat).toEqual(pagesOf(target, bytes));
      expect(machine.dirtyPages(), wat).toEqual([]);
    }
    expect(start(machine, FILL, REGION, 1, 5000)).toEqual([REGION >>> 12, (REGION >>> 12) + 1]);
    expect(machine.dirtyPages()).toEqual([]);
  });

  it('leaves copies and fills with the result the engine would give, overlaps and long ones included', () => {
    for (const variant of ['run', 'log', 'postcopy'] as const) {
      const machine = prepared(variant);
      for (const [to, from, size] of [
        [REGION, REGION + 10, 700_000],
        [REGION + 10, REGION, 700_000],
        [REGION, REGION + 524_288, 524_288],
        [REGION + 5, REGION + 5, 1_000_000],
        [REGION + 1_000_000, REGION, 262_145],
      ] as const) {
        for (let i = 0; i < 1_500_000; i += 4)
          machine.view.setUint32(REGION + i, Math.imul(i, 0x9e3779b1), true);
        const expected = machine.u8.slice(0, machine.range.base);
        [COPY, to, from, size].forEach((value, i) => {
          machine.view.setUint32(OPERANDS + i * 4, value, true);
          new DataView(expected.buffer).setUint32(OPERANDS + i * 4, value, true);
        });
        expected.copyWithin(to, from, from + size);
        machine.run();
        expect(Buffer.compare(machine.u8.subarray(0, machine.range.base), expected)).toBe(0);
      }
    }
  });

  it('of a copy or fill that leaves memory is a trap, and nothing is written', () => {
    for (const variant of ['run', 'log', 'postcopy'] as const) {
      const machine = prepared(variant);
      const end = machine.u8.length;
      for (const [kind, to, from, size] of [
        [COPY, end - 100, REGION, 101],
        [COPY, REGION, end - 100, 101],
        [COPY, REGION, end - 600_000, 600_001],
        [COPY, REGION, 0x1000, 0xffff_ffff],
        [FILL, end - 600_000, 1, 600_001],
        [FILL, 0xffff_f000, 1, 0x2000],
      ] as const) {
        const changed = (): number[] =>
          changedPages(machine, () => expect(() => machine.run()).toThrow(WebAssembly.RuntimeError));
        [kind, to, from, size].forEach((value, i) => {
          machine.view.setUint32(OPERANDS + i * 4, value, true);
        });
        expect(changed()).toEqual([]);
      }
    }
  });
});
