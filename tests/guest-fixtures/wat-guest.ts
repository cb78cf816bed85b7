/** Small guests for tests, around a piece of WebAssembly text. */

/**
 * A guest whose `start_kernel` runs `body` (which may use the locals $a, $b, $c, i32) with `definitions` beside it.
 * Unless `definitions` exports one, its interrupt handler does nothing.
 */
export function watGuest(body: string, definitions = ''): string {
  const handler = definitions.includes('"irq_entry"') ? '' : '(func (export "irq_entry") (param i32))';
  return `(module
    (import "ferry" "memory" (memory 2 65536 shared))
    (import "ferry" "halt" (func $halt))
    (import "ferry" "irq_save" (func $irq_save (result i32)))
    (import "ferry" "irq_restore" (func $irq_restore (param i32)))
    ${definitions}
    ${handler}
    (func $start_kernel (export "start_kernel") (param $boot_params i32)
      (local $a i32) (local $b i32) (local $c i32)
      ${body}))`;
}

/** Where tests pass an operand to a guest and find its results: in the platform's part of RAM, which is theirs here. */
export const OPERANDS = 0x4000;
export const operand = (index: number): string => `(i32.load (i32.const ${OPERANDS + index * 4}))`;
