/**
 * What the toolchain adds to every guest: safepoints, interrupt delivery, halting, the interrupt flag and long copies,
 * in WebAssembly text. The contract with the vCPU is `base/abi/code-variant.ts`.
 */
import { EXIT_HALT, EXIT_SAFEPOINT, IRQ_ENABLED_REGISTER } from '../../base/abi/code-variant.js';
import { CHUNK_BYTES } from './access.js';

/**
 * The fast path of a safepoint, woven into every loop head and the entry of functions that call others. A plain load:
 * the host's store becomes visible to it soon enough, and an atomic one would add a bounds check to every loop.
 */
export const SAFEPOINT = `(if (i32.load (global.get $ferry:kick)) (then (call $ferry:service (i32.const ${EXIT_SAFEPOINT}))))`;

const IRQ_FLAG = `$${IRQ_ENABLED_REGISTER}`;

/** Imports that every variant has, whether it uses them or not, so that function numbers agree. */
export const runtimeImports = (memoryPages: number): string => `
(import "ferry" "memory" (memory $ferry:memory ${memoryPages} 65536 shared))
(import "ferry" "kick" (global $ferry:kick i32))
(import "ferry" "window" (global $ferry:window i32))
(import "ferry" "cpu" (global $ferry:cpu i32))
(import "ferry" "exit" (func $ferry:exit (param i32 i32) (result i32)))
(import "ferry" "post_fault" (func $ferry:post_fault (param i32)))
`;

export const RUNTIME_GLOBALS = `(global ${IRQ_FLAG} (mut i32) (i32.const 0))`;

/**
 * `irqEntry` is the identifier of the guest's interrupt handler.
 *
 * `service` leaves the guest and delivers what comes back until nothing does. An interrupt handler runs here, on the
 * guest's own stack, so that a vCPU can be unwound inside it like anywhere else.
 */
export const runtimeFunctions = (irqEntry: string): string => `
(func $ferry:service (param $reason i32) (local $vector i32)
  (loop $again
    (local.set $vector (call $ferry:exit (local.get $reason) (global.get ${IRQ_FLAG})))
    (if (i32.gt_s (local.get $vector) (i32.const 0))
      (then
        (global.set ${IRQ_FLAG} (i32.const 0))
        (call ${irqEntry} (local.get $vector))
        (global.set ${IRQ_FLAG} (i32.const 1))
        (local.set $reason (i32.const ${EXIT_SAFEPOINT}))
        (br $again)))))
(func $ferry:copy (param $to i32) (param $from i32) (param $size i32)
  (if (i32.le_u (local.get $size) (i32.const ${CHUNK_BYTES}))
    (then
      (call $ferry:copy_chunk (local.get $to) (local.get $from) (local.get $size))
      (return)))
  ${trapUnlessInside('$to', '$size')}
  ${trapUnlessInside('$from', '$size')}
  (if (i32.le_u (local.get $to) (local.get $from))
    (then
      (loop $upwards
        ${SAFEPOINT}
        (call $ferry:copy_chunk (local.get $to) (local.get $from) (i32.const ${CHUNK_BYTES}))
        (local.set $to (i32.add (local.get $to) (i32.const ${CHUNK_BYTES})))
        (local.set $from (i32.add (local.get $from) (i32.const ${CHUNK_BYTES})))
        (local.set $size (i32.sub (local.get $size) (i32.const ${CHUNK_BYTES})))
        (br_if $upwards (i32.gt_u (local.get $size) (i32.const ${CHUNK_BYTES})))))
    (else
      (loop $downwards
        ${SAFEPOINT}
        (local.set $size (i32.sub (local.get $size) (i32.const ${CHUNK_BYTES})))
        (call $ferry:copy_chunk
          (i32.add (local.get $to) (local.get $size))
          (i32.add (local.get $from) (local.get $size))
          (i32.const ${CHUNK_BYTES}))
        (br_if $downwards (i32.gt_u (local.get $size) (i32.const ${CHUNK_BYTES}))))))
  (call $ferry:copy_chunk (local.get $to) (local.get $from) (local.get $size)))
(func $ferry:fill (param $to i32) (param $value i32) (param $size i32)
  (if (i32.gt_u (local.get $size) (i32.const ${CHUNK_BYTES}))
    (then
      ${trapUnlessInside('$to', '$size')}
      (loop $upwards
        ${SAFEPOINT}
        (call $ferry:fill_chunk (local.get $to) (local.get $value) (i32.const ${CHUNK_BYTES}))
        (local.set $to (i32.add (local.get $to) (i32.const ${CHUNK_BYTES})))
        (local.set $size (i32.sub (local.get $size) (i32.const ${CHUNK_BYTES})))
        (br_if $upwards (i32.gt_u (local.get $size) (i32.const ${CHUNK_BYTES}))))))
  (call $ferry:fill_chunk (local.get $to) (local.get $value) (local.get $size)))
`;

/** `memory.copy` and `memory.fill` write nothing if they would leave memory; so must one that is done in parts. */
function trapUnlessInside(start: string, size: string): string {
  const end = `(i64.add (i64.extend_i32_u (local.get ${start})) (i64.extend_i32_u (local.get ${size})))`;
  const memoryEnd = '(i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16))';
  return `(if (i64.gt_u ${end} ${memoryEnd})
    (then (memory.fill (local.get ${start}) (i32.const 0) (local.get ${size})) (unreachable)))`;
}

/**
 * The imports of a guest that are no exits but a few instructions, by import name. A pending interrupt that was held
 * back is taken at the safepoint after `irq_restore`.
 */
export const BUILT_INS: Readonly<Record<string, (identifier: string) => string>> = {
  halt: (id) => `(func ${id} (call $ferry:service (i32.const ${EXIT_HALT})))`,
  cpu_id: (id) => `(func ${id} (result i32) (global.get $ferry:cpu))`,
  irq_save: (id) => `(func ${id} (result i32) (local $before i32)
    (local.set $before (global.get ${IRQ_FLAG}))
    (global.set ${IRQ_FLAG} (i32.const 0))
    (local.get $before))`,
  irq_restore: (id) => `(func ${id} (param $flags i32)
    (global.set ${IRQ_FLAG} (i32.and (local.get $flags) (i32.const 1)))
    (if (i32.and (local.get $flags) (i32.ne (i32.load (global.get $ferry:window)) (i32.const 0)))
      (then (i32.store (global.get $ferry:kick) (i32.const 1)))))`,
};
