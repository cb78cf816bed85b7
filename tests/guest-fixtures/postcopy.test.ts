import { describe, expect, it } from 'vitest';
import { TestMachine } from './test-machine.js';
import { OPERANDS, operand, watGuest } from './wat-guest.js';

const REGION = 0x100000;
const PAGE = REGION >>> 12;

const ACCESSES: [string, number][] = [
  ['(drop (i32.load8_s (local.get $a)))', 1],
  ['(drop (i32.load16_u offset=7 (local.get $a)))', 2],
  ['(drop (i32.load (local.get $a)))', 4],
  ['(drop (i64.load32_s offset=4096 (local.get $a)))', 4],
  ['(drop (f64.load (local.get $a)))', 8],
  ['(drop (v128.load offset=1 (local.get $a)))', 16],
  ['(drop (v128.load8x8_u (local.get $a)))', 8],
  ['(drop (v128.load32_zero (local.get $a)))', 4],
  ['(drop (v128.load16_splat (local.get $a)))', 2],
  ['(drop (v128.load64_lane 1 (local.get $a) (v128.const i64x2 0 0)))', 8],
  ['(i32.store offset=12 (local.get $a) (i32.const 1))', 4],
  ['(i64.store8 (local.get $a) (i64.const 1))', 1],
  ['(v128.store32_lane 2 (local.get $a) (v128.const i64x2 0 0))', 4],
];

const ALIGNED: [string, number][] = [
  ['(drop (i32.atomic.load16_u (local.get $a)))', 2],
  ['(drop (i64.atomic.load (local.get $a)))', 8],
  ['(i64.atomic.store32 (local.get $a) (i64.const 1))', 4],
  ['(drop (i32.atomic.rmw.add (local.get $a) (i32.const 1)))', 4],
  ['(drop (i64.atomic.rmw.cmpxchg (local.get $a) (i64.const 0) (i64.const 1)))', 8],
];

const ALL = [...ACCESSES, ...ALIGNED];
const COPY = ALL.length;
const FILL = COPY + 1;

/** A machine in which the pages of the region are absent, and the pages that were asked for since `start`. */
function machineWithFaults(): { faults: number[]; start: (...operands: number[]) => void } {
  const faults: number[] = [];
  const cases = ALL.map(([wat], i) => `(if (i32.eq (local.get $b) (i32.const ${i})) (then ${wat}))`);
  const machine = TestMachine.from(
    watGuest(`
      (local.set $b ${operand(0)})
      (local.set $a ${operand(1)})
      ${cases.join('\n')}
      (if (i32.eq (local.get $b) (i32.const ${COPY}))
        (then (memory.copy (local.get $a) ${operand(2)} ${operand(3)})))
      (if (i32.eq (local.get $b) (i32.const ${FILL}))
        (then (memory.fill (local.get $a) ${operand(2)} ${operand(3)})))`),
    { postFault: (page) => faults.push(page) },
  ).load('postcopy');
  return {
    faults,
    start: (...operands) => {
      faults.length = 0;
      machine.presentMap.fill(0, PAGE, PAGE + 512);
      operands.forEach((value, i) => {
        machine.view.setUint32(OPERANDS + i * 4, value, true);
      });
      machine.run();
    },
  };
}

const pagesOf = (start: number, bytes: number): number[] =>
  bytes === 0
    ? []
    : Array.from({ length: ((start + bytes - 1) >>> 12) - (start >>> 12) + 1 }, (_, i) => (start >>> 12) + i);

describe('the postcopy variant', () => {
  it('asks for exactly the absent pages that an access touches, once each', () => {
    const { faults, start } = machineWithFaults();
    for (const [index, [wat, bytes]] of ALL.entries()) {
      const offset = Number(/offset=(\d+)/.exec(wat)?.[1] ?? 0);
      const ends =
        index < ACCESSES.length ? [0, 100, 4096 - bytes, 4097 - bytes, 4095] : [0, 104, 4096 - bytes];
      for (const end of ends) {
        const target = REGION + 0x2000 + end;
        start(index, target - offset);
        expect(faults, `${wat} at ${target.toString(16)}`).toEqual(pagesOf(target, bytes));
      }
    }
  });

  it('asks for the pages of both ends of a copy, and of a fill', () => {
    const { faults, start } = machineWithFaults();
    start(COPY, REGION + 5, REGION + 0x40000, 5000);
    expect([...faults].sort()).toEqual([...pagesOf(REGION + 5, 5000), ...pagesOf(REGION + 0x40000, 5000)]);
    start(COPY, REGION, REGION + 0x80000, 500_000);
    expect(new Set(faults)).toEqual(
      new Set([...pagesOf(REGION, 500_000), ...pagesOf(REGION + 0x80000, 500_000)]),
    );
    start(FILL, REGION + 4095, 1, 2);
    expect(faults).toEqual([PAGE, PAGE + 1]);
    start(COPY, REGION, REGION + 0x40000, 0);
    expect(faults).toEqual([]);
  });

  it('does not ask for pages that are present (negative control)', () => {
    const { faults, start } = machineWithFaults();
    for (const index of ALL.keys()) start(index, 0x380000);
    expect(faults).toEqual([]);
  });

  it('sees what the fault brought, not what was there before', () => {
    const machine = TestMachine.from(
      watGuest(`(i32.store (i32.const 0x8000) (i32.load (i32.const ${REGION})))`),
      { postFault: (page, { u8 }) => u8.fill(0x77, page << 12, (page + 1) << 12) },
    ).load('postcopy');
    machine.presentMap[PAGE] = 0;
    machine.run();
    expect(machine.view.getUint32(0x8000, true)).toBe(0x77777777);
  });
});
