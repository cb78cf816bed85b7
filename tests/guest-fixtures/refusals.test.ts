import { describe, expect, it } from 'vitest';
import { FerryError } from '../../base/errors.js';
import { buildGuest } from '../../guest-fixtures/toolchain/build.js';
import { TestMachine } from './test-machine.js';
import { watGuest } from './wat-guest.js';

function refusalOf(source: Uint8Array | string): FerryError {
  try {
    buildGuest(source, { name: 'subject' });
  } catch (error) {
    if (error instanceof FerryError) return error;
    throw error;
  }
  throw new Error('the toolchain took it');
}

const MEMORY = '(import "env" "memory" (memory 2 65536 shared))';
const ENTRIES = '(func (export "start_kernel") (param i32)) (func (export "irq_entry") (param i32))';

describe('the toolchain takes', () => {
  it('the smallest guest (control for all refusals below)', () => {
    expect(buildGuest(`(module ${MEMORY} ${ENTRIES})`, { name: 'subject' }).registers).toEqual([
      { name: 'ferry_irq_enabled', type: 'i32' },
    ]);
  });

  it('a memory that the module defines or imports from anywhere', () => {
    for (const memory of ['(memory 3)', '(import "a" "b" (memory 3 4))', '(memory (export "memory") 3)']) {
      const { dataEnd } = buildGuest(`(module ${memory} ${ENTRIES})`, { name: 'subject' });
      expect(dataEnd).toBe(3 * 65536);
    }
  });

  it('what it would refuse, as long as no entry point reaches it', () => {
    const unused = `(import "env" "abort" (func $abort))
      (func (export "malloc") (result i32) (call $abort) (memory.grow (i32.const 1)))`;
    expect(buildGuest(`(module ${MEMORY} ${unused} ${ENTRIES})`, { name: 'subject' }).smp).toBe(false);
    const used = unused.replaceAll('malloc', 'secondary_start').replaceAll('(result', '(param i32) (result');
    expect(refusalOf(`(module ${MEMORY} ${used} ${ENTRIES})`).code).toBe('guest/interface');
  });

  it('a start function as part of start_kernel, run once, before it', () => {
    const machine = TestMachine.from(`(module ${MEMORY} (global $g (mut i32) (i32.const 1))
      (func $init (global.set $g (i32.mul (global.get $g) (i32.const 10)))) (start $init)
      (func (export "start_kernel") (param i32) (global.set $g (i32.add (global.get $g) (i32.const 3))))
      (func (export "irq_entry") (param i32)))`).load('run');
    expect(machine.register('g').value).toBe(1);
    machine.run();
    expect(machine.register('g').value).toBe(13);
  });
});

describe('the toolchain refuses', () => {
  it('what is no module, with the reason', () => {
    const truncated = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 9]);
    for (const source of [
      'hello',
      '(module (func (i32.foo)))',
      '(module (func (result i32) (i64.const 1)))',
      '(module (func (i32.add (i32.const 1) (i64.const 1)) drop))',
      truncated,
      new Uint8Array([0xff, 0xfe, 0xfd]),
    ]) {
      const error = refusalOf(source);
      expect(error.code, String(source)).toBe('guest/not-wasm');
      expect(String(error.facts.problem).length, String(source)).toBeGreaterThan(5);
    }
  });

  it('a memory of 64 bits, by an engine that knows such or by ours', () => {
    const error = refusalOf('(module (memory i64 1))');
    expect(error.code).toMatch(/^guest\/(not-wasm|module)$/);
    expect(String(error.facts.problem)).toMatch(/memory64|memory is 64-bit/);
  });

  it('a module that does not follow the guest interface, naming what is wrong', () => {
    const importing = (declaration: string, use = '(call $f)'): string =>
      `(module (import ${declaration}) ${MEMORY} (func (export "irq_entry") (param i32))
        (func (export "start_kernel") (param i32) ${use}))`;
    const cases: [string, RegExp][] = [
      [importing('"env" "abort" (func $f)'), /env\.abort/],
      [importing('"ferry" "exit" (func $f)'), /ferry\.exit/],
      [importing('"ferry" "toString" (func $f)'), /ferry\.toString/],
      [importing('"ferry" "halt" (func $f (param i32))', '(call $f (i32.const 1))'), /halt as \(i32 -> \)/],
      [importing('"ferry" "x" (global $f i32)', '(drop (global.get $f))'), /ferry\.x, a global/],
      [
        importing('"ferry" "x" (table $f 1 funcref)', '(call_indirect $f (i32.const 0))'),
        /ferry\.x, a table/,
      ],
      [`(module ${MEMORY} (func (export "irq_entry") (param i32)))`, /export the function start_kernel/],
      [`(module ${MEMORY} (func (export "start_kernel") (param i32)))`, /export the function irq_entry/],
      [`(module ${MEMORY} ${ENTRIES} (func (export "secondary_start")))`, /secondary_start as \( -> \)/],
      [
        `(module (import "ferry" "irq_restore" (func $f (param i32))) ${MEMORY} (export "start_kernel" (func $f))
          (export "irq_entry" (func $f)))`,
        /exports an import/,
      ],
    ];
    for (const [source, problem] of cases) {
      const error = refusalOf(source);
      expect(error.code, source).toBe('guest/interface');
      expect(error.message).toMatch(problem);
    }
  });

  it('state that could not be moved', () => {
    const cases: [string, RegExp][] = [
      [
        watGuest('(global.set $g (v128.const i64x2 1 1))', '(global $g (mut v128) (v128.const i64x2 0 0))'),
        /global g of type v128/,
      ],
      [
        `(module ${MEMORY} ${ENTRIES} (global $g (mut i32) (i32.const 0))
          (func $init (global.set $g (i32.const 1))) (start $init)
          (func (export "secondary_start") (param i32) (global.set $g (i32.const 2))))`,
        /start function/,
      ],
      [watGuest('(call $ferry:mine)', '(func $ferry:mine (call $halt))'), /name ferry:mine is reserved/],
      [watGuest('', '(tag $t (export "t"))'), /tag/],
      [watGuest('(block '.repeat(20000) + ')'.repeat(20000)), /nested too deeply/],
    ];
    for (const [source, problem] of cases) {
      const error = refusalOf(source);
      expect(error.code, source).toBe('guest/module');
      expect(error.message).toMatch(problem);
    }
  });

  it('each instruction that cannot be instrumented, naming it and its function', () => {
    const cases: [string, string, string?][] = [
      ['memory.grow', '(drop (memory.grow (i32.const 1)))'],
      ['memory.atomic.wait32', '(drop (memory.atomic.wait32 (local.get $a) (i32.const 0) (i64.const 0)))'],
      ['memory.atomic.notify', '(drop (memory.atomic.notify (local.get $a) (i32.const 1)))'],
      ['table.set', '(table.set $t (i32.const 0) (ref.null func))', '(table $t 1 funcref)'],
      ['table.grow', '(drop (table.grow $t (ref.null func) (i32.const 1)))', '(table $t 1 funcref)'],
      ['ref.is_null', '(drop (ref.is_null (ref.null func)))'],
      ['return_call', '(return_call $start_kernel (i32.const 1))'],
      ['tuple', '(block (result i32 i32) (i32.const 1) (i32.const 2)) (drop) (drop)'],
    ];
    for (const [instruction, body, definitions] of cases) {
      const error = refusalOf(watGuest(body, definitions));
      expect(error.code, body).toBe('guest/instruction');
      expect(error.facts.function, body).toBe('start_kernel');
      expect(error.facts.instruction, body).toBe(instruction);
      expect(error.message).toContain(`function start_kernel uses ${instruction}`);
    }
  });

  it('instructions whose result differs between processors, unless the engine is first to refuse them', () => {
    const error = refusalOf(
      watGuest('(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))'),
    );
    expect(error.message).toMatch(/relaxed/);
  });

  it('initial data that could not be loaded once', () => {
    const passive = watGuest(
      '(memory.init $d (i32.const 0x20000) (i32.const 0) (i32.const 1))',
      '(data $d "x")',
    );
    const low = watGuest('', '(data (i32.const 0xfff0) "sixteen bytes and more")');
    const high = watGuest('', '(data (i32.const 0xfffffff0) "x")');
    for (const source of [passive, low, high]) expect(refusalOf(source).code).toBe('guest/data');
  });
});

describe('initial data', () => {
  it('is what an instantiation would have written, later segments over earlier ones', () => {
    const { data, dataEnd } = buildGuest(
      watGuest(
        '',
        `(data (i32.const 0x10010) "aaaaaaaa") (data (i32.const 0x18000) "far") (data (i32.const 0x10014) "b\\00\\ff\\n")
         (data (i32.const 0x1000e) "c") (data (i32.const 0x13000) "")`,
      ),
      { name: 'data' },
    );
    expect(data.map(({ gpa, bytes }) => [gpa, Buffer.from(bytes).toString('latin1')])).toEqual([
      [0x1000e, 'c\0aaaab\0\xff\n'],
      [0x18000, 'far'],
    ]);
    expect(dataEnd).toBe(0x20000);
  });

  it('ends where the linker says, or else where the initial memory does, but never before its last byte', () => {
    const heapBase = (value: number, at = 0x10000): string =>
      watGuest(
        '',
        `(global (export "__heap_base") i32 (i32.const ${value})) (data (i32.const ${at}) "data")`,
      );
    expect(buildGuest(heapBase(0x12345), { name: 'd' }).dataEnd).toBe(0x12345);
    expect(buildGuest(heapBase(0x10001, 0x11000), { name: 'd' }).dataEnd).toBe(0x11004);
  });
});
