import { beforeAll, describe, expect, it } from 'vitest';
import type { CodeVariant } from '../../base/abi/image.js';
import { seededRandom } from '../../base/random.js';
import { type BuiltGuest, buildGuest } from '../../guest-fixtures/toolchain/build.js';
import { type Exit, type ExitAnswer, TestMachine } from './test-machine.js';
import { watGuest } from './wat-guest.js';

const VARIANTS: readonly CodeVariant[] = ['run', 'log', 'postcopy'];

/**
 * Keeps all its state where a mistake would show: locals of every type across safepoints, nested and indirect calls,
 * recursion, loops in loops, branches out of several of them, registers of every type, memory, long copies.
 */
const GUEST = watGuest(
  `(call $irq_restore (i32.const 1))
   (loop $rounds
     (call $work (local.get $a))
     (br_if $rounds (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 12))))
   (i32.store (i32.const 0x8000) (call $tree (i32.const 9)))
   (memory.copy (i32.const 0x140000) (i32.const 0x100000) (i32.const 700000))
   (memory.copy (i32.const 0x100010) (i32.const 0x100000) (i32.const 900000))
   (memory.fill (i32.const 0x130000) (i32.const 7) (i32.const 600000))`,
  `
  (global $count (mut i32) (i32.const 0))
  (global $wide (mut i64) (i64.const 88172645463325252))
  (global $single (mut f32) (f32.const 1))
  (global $double (mut f64) (f64.const 1))
  (type $step (func (param i32 i64) (result i64)))
  (table 2 funcref)
  (elem (i32.const 0) $xorshift $multiply)
  (func $xorshift (param $n i32) (param $x i64) (result i64)
    (loop $l
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $multiply (param $n i32) (param $x i64) (result i64)
    (loop $l
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
      (i64.store
        (i32.add (i32.const 0x100000)
          (i32.and (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const 33))) (i32.const 0x3ffff)))
        (local.get $x))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $tree (param $n i32) (result i32)
    (if (result i32) (i32.le_u (local.get $n) (i32.const 1))
      (then (local.get $n))
      (else
        (i32.add
          (call $tree (i32.sub (local.get $n) (i32.const 1)))
          (i32.mul (i32.const 3) (call $tree (i32.sub (local.get $n) (i32.const 2))))))))
  (func $work (param $round i32)
    (local $x i64) (local $f f32) (local $d f64) (local $v v128) (local $i i32) (local $j i32)
    (local.set $x (global.get $wide))
    (local.set $d (global.get $double))
    (local.set $f (global.get $single))
    (local.set $v (i64x2.splat (local.get $x)))
    (block $done
      (loop $outer
        (local.set $j (i32.const 0))
        (block $inner_done
          (loop $inner
            (local.set $x
              (call_indirect (type $step)
                (i32.add (i32.and (local.get $j) (i32.const 3)) (i32.const 1))
                (local.get $x)
                (i32.and (i32.add (local.get $i) (local.get $j)) (i32.const 1))))
            (local.set $v (i64x2.add (local.get $v) (i64x2.splat (local.get $x))))
            (local.set $d (f64.add (f64.mul (local.get $d) (f64.const 0.5)) (f64.convert_i32_u (local.get $j))))
            (local.set $f (f32.add (f32.mul (local.get $f) (f32.const 0.25)) (f32.convert_i32_u (local.get $i))))
            (br_if $inner_done (i64.eqz (i64.and (local.get $x) (i64.const 15))))
            (br_if $done (i64.eqz (i64.and (local.get $x) (i64.const 1023))))
            (i32.store
              (i32.add (i32.const 0x140000) (i32.shl (local.get $j) (i32.const 9)))
              (call $tree (i32.and (local.get $j) (i32.const 3))))
            (br_if $inner (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 17)))))
        (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9)))))
    (v128.store offset=16 (i32.add (i32.const 0x150000) (i32.shl (local.get $round) (i32.const 5))) (local.get $v))
    (global.set $wide (local.get $x))
    (global.set $double (local.get $d))
    (global.set $single (local.get $f))
    (global.set $count (i32.add (global.get $count) (i32.const 1))))
  (func (export "irq_entry") (param $vector i32) (local $i i32) (local $x i64)
    (local.set $x (i64.extend_i32_u (local.get $vector)))
    (loop $l
      (local.set $x (call $xorshift (i32.const 2) (local.get $x)))
      (i64.store offset=0x160000 (i32.shl (local.get $i) (i32.const 3)) (local.get $x))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $vector))))
    (global.set $wide (i64.add (global.get $wide) (local.get $x))))
  `,
);

/** Takes an interrupt at some safepoints and unwinds at others, by number, so that both are the same in every run. */
class Plan {
  safepoints = 0;
  unwinds = 0;
  unwindsInHandler = 0;
  #vector = 0;
  readonly #interruptEvery: number;
  readonly #unwindAt: (safepoint: number) => boolean;

  constructor(interruptEvery: number, unwindAt: (safepoint: number) => boolean) {
    this.#interruptEvery = interruptEvery;
    this.#unwindAt = unwindAt;
  }

  exit = ({ irqEnabled, resumed }: Exit): ExitAnswer => {
    if (resumed) return this.#vector;
    this.safepoints++;
    const interrupt = irqEnabled && this.safepoints % this.#interruptEvery === 0;
    this.#vector = interrupt ? 0x20 + (this.safepoints % 7) : 0;
    if (!this.#unwindAt(this.safepoints)) return this.#vector;
    this.unwinds++;
    if (!irqEnabled) this.unwindsInHandler++;
    return 'unwind';
  };
}

interface Outcome {
  readonly ram: Uint8Array;
  readonly registers: Record<string, unknown>;
  readonly plan: Plan;
}

describe('code variants', () => {
  let guest: BuiltGuest;
  beforeAll(() => {
    guest = buildGuest(GUEST, { name: 'swapped' });
  });

  /** Runs the guest to its end; after each unwinding `next` says which variant goes on, in new memory or the same. */
  function outcome(first: CodeVariant, plan: Plan, next: (current: CodeVariant) => CodeVariant): Outcome {
    let variant = first;
    let machine = new TestMachine(guest, { ramBytes: 0x280000, exit: plan.exit }).load(variant);
    machine.kick();
    while (!machine.run()) {
      variant = next(variant);
      const source = machine;
      machine = source.moved(variant);
      source.u8.fill(0xee);
    }
    return { ram: machine.u8.slice(0, machine.range.base), registers: machine.registers, plan };
  }

  const never = (): boolean => false;
  const undisturbed = (variant: CodeVariant): Outcome => outcome(variant, new Plan(97, never), () => variant);

  function expectSame(actual: Outcome, expected: Outcome): void {
    expect(actual.registers).toEqual(expected.registers);
    expect(actual.plan.safepoints).toBe(expected.plan.safepoints);
    expect(Buffer.compare(actual.ram, expected.ram)).toBe(0);
  }

  it('all compute the same', () => {
    const expected = undisturbed('run');
    expect(expected.registers.count).toBe(12);
    expect(expected.plan.safepoints).toBeGreaterThan(1000);
    expectSame(undisturbed('log'), expected);
    expectSame(undisturbed('postcopy'), expected);
  });

  it('can be exchanged at any safepoint, nested calls and interrupt handlers included', () => {
    const expected = undisturbed('run');
    for (const seed of [1, 2]) {
      const random = seededRandom(seed);
      const plan = new Plan(97, () => random.below(41) === 0);
      const actual = outcome('run', plan, () => VARIANTS[random.below(3)]!);
      expect(plan.unwinds).toBeGreaterThan(100);
      expect(plan.unwindsInHandler).toBeGreaterThan(3);
      expectSame(actual, expected);
    }
  });

  it('can be exchanged at each single safepoint of a stretch', () => {
    const expected = undisturbed('run');
    const plan = new Plan(97, (safepoint) => safepoint > 300 && safepoint < 500);
    const order: Record<CodeVariant, CodeVariant> = { run: 'log', log: 'postcopy', postcopy: 'run' };
    expectSame(
      outcome('run', plan, (variant) => order[variant]),
      expected,
    );
    expect(plan.unwinds).toBe(199);
  });

  it('that lose a byte or a register on the way are found out (negative control)', () => {
    const expected = undisturbed('run');
    const moveOnce = (damage: (machine: TestMachine) => void): Outcome => {
      const plan = new Plan(97, (safepoint) => safepoint === 500);
      let machine = new TestMachine(guest, { ramBytes: 0x280000, exit: plan.exit }).load('run');
      machine.kick();
      expect(machine.run()).toBe(false);
      machine = machine.moved('log');
      damage(machine);
      expect(machine.run()).toBe(true);
      return { ram: machine.u8.slice(0, machine.range.base), registers: machine.registers, plan };
    };
    expectSame(
      moveOnce(() => {}),
      expected,
    );
    const lostRegister = moveOnce((machine) => {
      const count = machine.register('count');
      count.value = Number(count.value) + 5;
    });
    expect(() => expectSame(lostRegister, expected)).toThrow();
    const lostByte = moveOnce((machine) => {
      machine.u8[0x200000]! ^= 1;
    });
    expect(() => expectSame(lostByte, expected)).toThrow();
  });

  it('need more than the unwind area for a deep recursion, which ends in a trap, not in silence', () => {
    const deep = buildGuest(
      watGuest(
        '(i32.store (i32.const 0x8000) (call $down (i32.const 5000)))',
        `(func $down (param $n i32) (result i32)
          (local $a v128) (local $b v128) (local $c v128)
          (local.set $a (i32x4.splat (local.get $n)))
          (local.set $b (i32x4.mul (local.get $a) (local.get $a)))
          (local.set $c (i32x4.mul (local.get $b) (local.get $a)))
          (if (result i32) (local.get $n)
            (then (i32.add
              (call $down (i32.sub (local.get $n) (i32.const 1)))
              (i32x4.extract_lane 0
                (i32x4.add (i32x4.add (local.get $a) (local.get $b)) (local.get $c)))))
            (else (i32.const 1))))`,
      ),
      { name: 'deep' },
    );
    const plan = new Plan(1e9, (safepoint) => safepoint === 4900);
    const machine = new TestMachine(deep, { exit: plan.exit }).load('run');
    machine.kick();
    expect(() => machine.run()).toThrow(WebAssembly.RuntimeError);
    expect(plan.unwinds).toBe(1);
  });
});
