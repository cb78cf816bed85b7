import { describe, expect, it } from 'vitest';
import { weaveUnwinding } from '../../guest-fixtures/toolchain/binaryen.js';
import { splitFunctions } from '../../guest-fixtures/toolchain/fast-path.js';
import { functionIdentifier, topLevelForms } from '../../guest-fixtures/toolchain/wat.js';

const SOURCE = `(module
  (import "ferry" "memory" (memory 1 65536 shared))
  (import "ferry" "exit" (func $ferry:exit (param i32 i32) (result i32)))
  (func $leaf (param $a i32) (result i32) (i32.mul (local.get $a) (i32.const 3)))
  (func $sum (export "sum") (param $n i32) (result i32) (local $s i32)
    (loop $outer
      (loop $inner
        (drop (call $ferry:exit (i32.const 0) (i32.const 0)))
        (local.set $s (i32.add (local.get $s) (call $leaf (local.get $n))))
        (br_if $inner (i32.rem_u (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 10))))
      (br_if $outer (local.get $n)))
    (local.get $s)))`;

function functionsOf(text: string): Map<string, string> {
  return new Map(
    topLevelForms(text)
      .filter(({ head }) => head === 'func')
      .map((top) => [functionIdentifier(text, top), text.slice(top.start, top.end)]),
  );
}

const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;
const QUESTIONS = /global\.get \$__asyncify_state/g;
const UNWINDING = /\(i32\.eq\s+\(global\.get \$__asyncify_state\)\s+\(i32\.const 1\)\s*\)/g;

describe('a woven function', () => {
  const woven = weaveUnwinding(SOURCE);
  const before = functionsOf(woven);
  const after = functionsOf(splitFunctions(woven));

  it('asks all the time whether it is being rewound (control)', () => {
    expect(count(before.get('$sum')!, QUESTIONS)).toBeGreaterThan(6);
  });

  it('asks once at its entry, and behind each call whether it unwinds, when split', () => {
    const fast = after.get('$sum')!;
    expect(count(fast, UNWINDING)).toBe(1);
    expect(count(fast, QUESTIONS)).toBe(2);
  });

  it('goes on, once rewound, in loops that ask no more than that', () => {
    const slow = after.get('$sum:rewind')!;
    // The pass that was interrupted, the inner loop after it, and both loops after the outer pass.
    expect(count(slow, UNWINDING)).toBe(3);
    expect(count(slow, /\(loop /g)).toBe(3);
    for (const loop of slow.split('(loop ').slice(1)) {
      const body = loop.slice(0, loop.indexOf('(br_if $inner'));
      expect(count(body, QUESTIONS)).toBe(count(body, UNWINDING));
    }
  });

  it('that cannot be unwound stays as it was', () => {
    expect(after.get('$leaf')).toBe(before.get('$leaf'));
    expect(after.has('$leaf:rewind')).toBe(false);
  });

  it('with questions in unexpected places stays whole', () => {
    const odd = woven.replace(UNWINDING, '(i32.ne (global.get $__asyncify_state) (i32.const 0))');
    expect(odd).not.toBe(woven);
    expect(functionsOf(splitFunctions(odd)).has('$sum:rewind')).toBe(false);
  });
});
