import { describe, expect, it } from 'vitest';
import { EXIT_HALT, EXIT_SAFEPOINT } from '../../base/abi/code-variant.js';
import { type Exit, type ExitAnswer, TestMachine } from './test-machine.js';
import { watGuest } from './wat-guest.js';

/** Notes every vector in memory from 0x8004 on, their number at 0x8000, and the interrupt flag at entry in `seen`. */
const HANDLER = `
  (global $seen (mut i32) (i32.const -1))
  (func (export "irq_entry") (param $vector i32)
    (global.set $seen (call $irq_save))
    (i32.store offset=0x8004 (i32.shl (i32.load (i32.const 0x8000)) (i32.const 2)) (local.get $vector))
    (i32.store (i32.const 0x8000) (i32.add (i32.load (i32.const 0x8000)) (i32.const 1))))`;

const vectors = (machine: TestMachine): number[] =>
  Array.from({ length: machine.view.getUint32(0x8000, true) }, (_, i) =>
    machine.view.getUint32(0x8004 + i * 4, true),
  );

/** Answers exits from a list, then 0, and notes what it was asked. */
function answering(...answers: ExitAnswer[]): { exits: Exit[]; exit: (exit: Exit) => ExitAnswer } {
  const exits: Exit[] = [];
  return {
    exits,
    exit: (exit) => {
      exits.push(exit);
      return answers.shift() ?? 0;
    },
  };
}

const SPIN =
  '(loop $l (br_if $l (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 5))))';

describe('a safepoint', () => {
  it('never leaves the guest unless it is kicked', () => {
    const { exits, exit } = answering();
    TestMachine.from(watGuest(SPIN), { exit }).load('run').run();
    expect(exits).toEqual([]);
  });

  it('of a kicked guest asks again until nothing is to be delivered', () => {
    const { exits, exit } = answering(0x30, 0x31);
    const machine = TestMachine.from(watGuest(`(call $irq_restore (i32.const 1)) ${SPIN}`, HANDLER), {
      exit: (asked) => {
        asked.machine.clearKick();
        return exit(asked);
      },
    }).load('run');
    machine.kick();
    machine.run();
    expect(vectors(machine)).toEqual([0x30, 0x31]);
    expect(exits.map(({ reason, irqEnabled }) => [reason, irqEnabled])).toEqual([
      [EXIT_SAFEPOINT, true],
      [EXIT_SAFEPOINT, true],
      [EXIT_SAFEPOINT, true],
    ]);
  });

  it('enters the handler with interrupts disabled and enables them after it', () => {
    const { exit } = answering(0x40);
    const machine = TestMachine.from(watGuest(`(call $irq_restore (i32.const 1)) ${SPIN}`, HANDLER), {
      exit,
    }).load('log');
    machine.kick();
    machine.run();
    expect(machine.register('seen').value).toBe(0);
    expect(machine.register('ferry_irq_enabled').value).toBe(1);
  });

  it('is in every loop and in every function that calls another, and nowhere else', () => {
    const count = (body: string, definitions = ''): number => {
      const { exits, exit } = answering();
      const machine = TestMachine.from(watGuest(body, definitions), { exit }).load('run');
      machine.kick();
      machine.run();
      return exits.length;
    };
    const leaf = '(func $leaf (param i32) (i32.store (local.get 0) (i32.const 1)))';
    expect(count('(nop)')).toBe(0);
    expect(count(SPIN)).toBe(5);
    expect(count('(call $irq_restore (i32.const 0))')).toBe(0);
    expect(count('(call $leaf (i32.const 0x8000))', leaf)).toBe(1);
    expect(
      count(
        '(call $f (i32.const 6))',
        '(func $f (param i32) (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1))))))',
      ),
    ).toBe(8);
    expect(count('(memory.fill (i32.const 0x100000) (i32.const 1) (i32.const 1000000))')).toBe(3);
    expect(count('(memory.fill (i32.const 0x100000) (i32.const 1) (i32.const 1000))')).toBe(0);
  });
});

describe('interrupts', () => {
  it('are disabled when a vCPU starts', () => {
    const { exits, exit } = answering();
    const machine = TestMachine.from(watGuest(SPIN), { exit }).load('run');
    machine.kick();
    machine.run();
    expect(exits.map(({ irqEnabled }) => irqEnabled)).toEqual(Array(5).fill(false));
  });

  it('held back by the guest are taken at the first safepoint after it enables them', () => {
    const { exits, exit } = answering(0, 0x55);
    const machine = TestMachine.from(
      watGuest(
        `(drop (call $irq_save))
         (loop $l (br_if $l (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 50))))
         (call $irq_restore (i32.const 0))
         (loop $l (br_if $l (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 100))))
         (call $irq_restore (i32.const 1))
         (i32.store (i32.const 0x7000) (i32.load (i32.const 0x8000)))
         ${SPIN}
         (i32.store (i32.const 0x7004) (i32.load (i32.const 0x8000)))`,
        HANDLER,
      ),
      {
        exit: (asked) => {
          // As the vCPU does: an interrupt that can't be delivered opens the window and lets the guest go on.
          const held = !asked.irqEnabled;
          asked.machine.clearKick();
          asked.machine.window = held;
          return exit(asked);
        },
      },
    ).load('run');
    machine.kick();
    machine.run();
    expect(exits.map(({ irqEnabled }) => irqEnabled)).toEqual([false, true, true]);
    expect(vectors(machine)).toEqual([0x55]);
    expect(machine.view.getUint32(0x7000, true)).toBe(0);
    expect(machine.view.getUint32(0x7004, true)).toBe(1);
  });

  it('without the window do not make irq_restore kick (negative control)', () => {
    const machine = TestMachine.from(watGuest('(call $irq_restore (i32.const 1))')).load('run');
    machine.run();
    expect(machine.kicked).toBe(false);
    machine.window = true;
    machine.run();
    expect(machine.kicked).toBe(true);
  });

  it('nest saves: irq_save says what the flag was', () => {
    const machine = TestMachine.from(
      watGuest(`
        (call $irq_restore (i32.const 1))
        (local.set $a (call $irq_save))
        (local.set $b (call $irq_save))
        (call $irq_restore (local.get $b))
        (local.set $c (call $irq_save))
        (call $irq_restore (local.get $a))
        (i32.store (i32.const 0x8000) (local.get $a))
        (i32.store (i32.const 0x8004) (local.get $b))
        (i32.store (i32.const 0x8008) (local.get $c))`),
    ).load('run');
    machine.run();
    expect([0x8000, 0x8004, 0x8008].map((at) => machine.view.getUint32(at, true))).toEqual([1, 0, 0]);
    expect(machine.register('ferry_irq_enabled').value).toBe(1);
  });
});

describe('halt', () => {
  it('leaves the guest once, delivers what woke it, and returns', () => {
    const { exits, exit } = answering(0x60, 0x61);
    const machine = TestMachine.from(watGuest('(call $irq_restore (i32.const 1)) (call $halt)', HANDLER), {
      exit,
    }).load('run');
    expect(machine.run()).toBe(true);
    expect(exits.map(({ reason }) => reason)).toEqual([EXIT_HALT, EXIT_SAFEPOINT, EXIT_SAFEPOINT]);
    expect(vectors(machine)).toEqual([0x60, 0x61]);
  });

  it('can be moved while it waits, and goes on waiting', () => {
    let asked = 0;
    const machine = TestMachine.from(watGuest('(call $halt) (i32.store (i32.const 0x8000) (i32.const 7))'), {
      exit: ({ reason }) => {
        expect(reason).toBe(EXIT_HALT);
        return ++asked < 4 ? 'unwind' : 0;
      },
    }).load('run');
    expect(machine.run()).toBe(false);
    const second = machine.moved('log');
    expect(second.run()).toBe(false);
    const third = second.moved('postcopy');
    expect(third.run()).toBe(false);
    const last = third.moved('run');
    expect(last.run()).toBe(true);
    expect(last.view.getUint32(0x8000, true)).toBe(7);
    expect(asked).toBe(4);
  });
});
