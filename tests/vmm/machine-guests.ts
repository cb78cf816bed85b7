/** Small guests in WebAssembly text for the machine's tests. Each reads its one number from the command line. */
import binaryen from 'binaryen';
import { COMMAND_LINE_GPA } from '../../base/abi/boot-params.js';
import {
  CONSOLE_BASE,
  LAPIC_BASE,
  LAPIC_ICR_HIGH,
  LAPIC_ICR_LOW,
  POWER_BASE,
  RESCHEDULE_VECTOR,
  TIMER_VECTOR,
} from '../../base/abi/platform.js';
import { buildImage } from '../../guest-fixtures/toolchain/build.js';
import { LETTER, NO_IRQ } from './machine-guest-text.js';
import { PCI_GUESTS } from './machine-pci-guests.js';

const images = new Map<string, Promise<Uint8Array>>();

/** The image of a guest below, built once. */
export function imageOf(name: keyof typeof GUESTS): Promise<Uint8Array> {
  let image = images.get(name);
  if (image === undefined) {
    image = buildImage(`(module ${PRELUDE} ${GUESTS[name]})`, { name });
    images.set(name, image);
  }
  return image;
}

/** Steps of work in the timer handler of `ticks`. */
const TICK_STEPS = 5000;

/** Where guests keep their data. */
export const DATA = 0x2_0000;

/** The byte that ends `churn`. */
const ENOUGH = DATA - 1;

/** The word that says in the handler of which tick `ticks` waits; 0 for none. */
const HOLD = DATA - 8;

const PRELUDE = `
  (import "ferry" "memory" (memory 2 65536 shared))
  (import "ferry" "mmio_read" (func $mmio_read (param i32 i32) (result i32)))
  (import "ferry" "mmio_write" (func $mmio_write (param i32 i32 i32)))
  (import "ferry" "clock_ns" (func $clock_ns (result f64)))
  (import "ferry" "timer_program" (func $timer_program (param f64)))
  (import "ferry" "halt" (func $halt))
  (import "ferry" "irq_save" (func $irq_save (result i32)))
  (import "ferry" "irq_restore" (func $irq_restore (param i32)))
  (import "ferry" "cpu_id" (func $cpu_id (result i32)))
  (func $putc (param $c i32) (call $mmio_write (i32.const ${CONSOLE_BASE}) (i32.const 1) (local.get $c)))
  (func $decimal (param $v i32)
    (if (i32.ge_u (local.get $v) (i32.const 10))
      (then (call $decimal (i32.div_u (local.get $v) (i32.const 10)))))
    (call $putc (i32.add (i32.const 48) (i32.rem_u (local.get $v) (i32.const 10)))))
  (func $say (param $letter i32) (param $v i32)
    (call $putc (local.get $letter)) (call $putc (i32.const 32))
    (call $decimal (local.get $v)) (call $putc (i32.const 10)))
  (func $argument (result i32) (local $at i32) (local $c i32) (local $v i32)
    (local.set $at (i32.const ${COMMAND_LINE_GPA}))
    (loop $next
      (local.set $c (i32.load8_u (local.get $at)))
      (if (i32.and (i32.ge_u (local.get $c) (i32.const 48)) (i32.le_u (local.get $c) (i32.const 57)))
        (then
          (local.set $v (i32.add (i32.mul (local.get $v) (i32.const 10)) (i32.sub (local.get $c) (i32.const 48))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (local.get $v))
  (func $power (param $what i32) (call $mmio_write (i32.const ${POWER_BASE}) (i32.const 4) (local.get $what)))
`;

/** Sends ICR: destination vCPU, then the low half. */
const SEND = `(func $icr (param $cpu i32) (param $low i32)
  (call $mmio_write (i32.const ${LAPIC_BASE + LAPIC_ICR_HIGH}) (i32.const 4) (i32.shl (local.get $cpu) (i32.const 24)))
  (call $mmio_write (i32.const ${LAPIC_BASE + LAPIC_ICR_LOW}) (i32.const 4) (local.get $low)))`;

/** Recurses with 20 locals that live across the call, and loops at the end: its saved stack is large, its own is not. */
const WIDE = (() => {
  const locals = Array.from({ length: 20 }, (_, i) => `$l${i}`);
  return `(func $wide (param $n i32) (param $a i64) (result i64) ${locals.map((l) => `(local ${l} i64)`).join(' ')}
    (local $r i64)
    ${locals.map((l, i) => `(local.set ${l} (i64.mul (local.get $a) (i64.const ${2 * i + 3})))`).join('\n')}
    (if (i32.eqz (local.get $n)) (then (call $say ${LETTER('b')} (i32.const 0)) (loop $ever (br $ever))))
    (local.set $r (call $wide (i32.sub (local.get $n) (i32.const 1)) (i64.add (local.get $a) (i64.const 1))))
    ${locals.map((l) => `(local.set $r (i64.xor (i64.rotl (local.get $r) (i64.const 3)) (local.get ${l})))`).join('\n')}
    (local.get $r))`;
})();

/** Waits as a kernel's idle loop does: an interrupt between the check and the halt must not be slept through. */
const haltWhile = (condition: string): string => `
  (block $done (loop $wait
    (drop (call $irq_save))
    (br_if $done (i32.eqz ${condition}))
    (call $halt)
    (call $irq_restore (i32.const 1))
    (br $wait)))
  (call $irq_restore (i32.const 1))`;

/** Prints as many lines as the argument says, as fast as it can. */
const PRINTING = `(loop $next
  (call $say ${LETTER('f')} (local.get $n))
  (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (call $argument))))`;

const GUESTS = {
  /** Says its number and returns. */
  hello: `${NO_IRQ} (func (export "start_kernel") (param i32) (call $say ${LETTER('n')} (call $argument)))`,

  /**
   * Changes words all over 4 MiB, each depending on the one before, until the test has seen enough (`letEnd`), however
   * slow the host is; then says how many rounds it did and a checksum of it all. A single lost or stale word gives
   * another sum than `churnSum`.
   */
  churn: `${NO_IRQ}
    (func (export "start_kernel") (param i32) (local $x i32) (local $rounds i32) (local $at i32) (local $sum i32)
      (local.set $x (i32.const 12345))
      (call $say ${LETTER('b')} (call $argument))
      (loop $round
        (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
        (local.set $at (i32.add (i32.const ${DATA}) (i32.and (local.get $x) (i32.const 0x3ffffc))))
        (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (local.get $x)))
        (local.set $rounds (i32.add (local.get $rounds) (i32.const 1)))
        (br_if $round (i32.eqz (i32.load8_u (i32.const ${ENOUGH})))))
      (call $say ${LETTER('r')} (local.get $rounds))
      (local.set $at (i32.const ${DATA}))
      (loop $next
        (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (i32.load (local.get $at))))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const ${DATA + 0x40_0000}))))
      (call $say ${LETTER('s')} (local.get $sum)))`,

  /** Churns for ever, saying how far it is every so many rounds. */
  endless: `${NO_IRQ}
    (func (export "start_kernel") (param i32) (local $x i32) (local $n i32) (local $at i32) (local $line i32)
      (local.set $line (call $argument))
      (local.set $x (i32.const 1))
      (loop $round
        (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
        (local.set $at (i32.add (i32.const ${DATA}) (i32.and (local.get $x) (i32.const 0x3ffffc))))
        (i32.store (local.get $at) (local.get $x))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (if (i32.eqz (i32.rem_u (local.get $n) (local.get $line))) (then (call $say ${LETTER('r')} (local.get $n))))
        (br $round)))`,

  /** Counts for ever, in the first word of its data: writes that page, and no other. */
  counter: `${NO_IRQ}
    (func (export "start_kernel") (param i32)
      (loop $ever
        (i32.store (i32.const ${DATA}) (i32.add (i32.load (i32.const ${DATA})) (i32.const 1)))
        (br $ever)))`,

  /** Loops without a call; nothing but safepoints lets anyone in. */
  spin: `${NO_IRQ} (func (export "start_kernel") (param i32)
      (call $say ${LETTER('n')} (i32.const 0)) (loop $ever (br $ever)))`,

  /** Ticks so many times in steps of 1 ms of its clock; its handler works for a while each time, and can be held. */
  ticks: `
    (global $goal (mut i32) (i32.const 0))
    (global $ticks (mut i32) (i32.const 0))
    (global $work (mut i64) (i64.const 7))
    (global $next (mut f64) (f64.const 0))
    (global $halves (mut f32) (f32.const 0))
    (func (export "irq_entry") (param $vector i32) (local $n i32)
      (if (i32.ne (local.get $vector) (i32.const ${TIMER_VECTOR})) (then unreachable))
      (if (f64.lt (call $clock_ns) (global.get $next)) (then (call $say ${LETTER('e')} (global.get $ticks))))
      (loop $held (br_if $held (i32.eq (i32.add (global.get $ticks) (i32.const 1)) (i32.load (i32.const ${HOLD})))))
      (local.set $n (i32.const ${TICK_STEPS}))
      (loop $busy
        (global.set $work (i64.add (i64.mul (global.get $work) (i64.const 6364136223846793005)) (i64.const 1)))
        (br_if $busy (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
      (global.set $halves (f32.add (global.get $halves) (f32.const 0.5)))
      (if (i32.eq (global.get $ticks) (global.get $goal)) (then (return)))
      (global.set $next (f64.add (global.get $next) (f64.const 1e6)))
      (call $timer_program (global.get $next)))
    (func (export "start_kernel") (param i32)
      (global.set $goal (call $argument))
      (global.set $next (f64.add (call $clock_ns) (f64.const 1e6)))
      (call $timer_program (global.get $next))
      (call $irq_restore (i32.const 1))
      (call $say ${LETTER('b')} (global.get $goal))
      ${haltWhile('(i32.lt_u (global.get $ticks) (global.get $goal))')}
      (drop (call $irq_save))
      (call $say ${LETTER('t')} (global.get $ticks))
      (call $say ${LETTER('h')} (i32.trunc_f32_u (f32.mul (global.get $halves) (f32.const 2))))
      (call $say ${LETTER('w')} (i32.wrap_i64 (i64.shr_u (global.get $work) (i64.const 33)))))`,

  /** A timer interrupts a loop that never calls anything; ends after so many ticks. */
  preempt: `
    (global $goal (mut i32) (i32.const 0))
    (global $ticks (mut i32) (i32.const 0))
    (func (export "irq_entry") (param i32)
      (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
      (if (i32.lt_u (global.get $ticks) (global.get $goal))
        (then (call $timer_program (f64.add (call $clock_ns) (f64.const 1e5))))))
    (func (export "start_kernel") (param i32)
      (global.set $goal (call $argument))
      (call $timer_program (f64.add (call $clock_ns) (f64.const 1e5)))
      (call $irq_restore (i32.const 1))
      (loop $spin (br_if $spin (i32.lt_u (global.get $ticks) (global.get $goal))))
      (drop (call $irq_save))
      (call $say ${LETTER('t')} (global.get $ticks)))`,

  /** Interrupts wait while they are disabled: posts one to itself, looks, enables, looks again. */
  window: `${SEND}
    (global $taken (mut i32) (i32.const 0))
    (func (export "irq_entry") (param i32) (global.set $taken (i32.add (global.get $taken) (i32.const 1))))
    (func $pass (local $n i32) (local.set $n (i32.const 100000))
      (loop $next (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "start_kernel") (param i32)
      (call $icr (i32.const 0) (i32.const ${0x40}))
      (call $icr (i32.const 0) (i32.const ${0x41}))
      (call $pass)
      (call $say ${LETTER('d')} (global.get $taken))
      (call $halt)
      (call $say ${LETTER('h')} (global.get $taken))
      (call $irq_restore (i32.const 1))
      (call $pass)
      (call $say ${LETTER('e')} (global.get $taken)))`,

  /** Sleeps for so many ms, once, by its timer alone. */
  nap: `
    (global $woken (mut i32) (i32.const 0))
    (func (export "irq_entry") (param i32) (global.set $woken (i32.const 1)))
    (func (export "start_kernel") (param i32)
      (call $timer_program (f64.add (call $clock_ns) (f64.mul (f64.convert_i32_u (call $argument)) (f64.const 1e6))))
      (call $say ${LETTER('b')} (i32.const 0))
      ${haltWhile('(i32.eqz (global.get $woken))')}
      (call $say ${LETTER('n')} (global.get $woken)))`,

  /** As `window`, with an interrupt that waits for as long as `holdAt` says 0. */
  masked: `${SEND}
    (global $taken (mut i32) (i32.const 0))
    (func (export "irq_entry") (param i32) (global.set $taken (i32.add (global.get $taken) (i32.const 1))))
    (func (export "start_kernel") (param i32)
      (call $icr (i32.const 0) (i32.const ${0x40}))
      (call $say ${LETTER('b')} (i32.const 0))
      (loop $held (br_if $held (i32.eqz (i32.load (i32.const ${HOLD})))))
      (call $say ${LETTER('d')} (global.get $taken))
      (call $irq_restore (i32.const 1))
      (call $halt)
      (call $say ${LETTER('e')} (global.get $taken)))`,

  /** vCPU 0 starts the others, then plays so many rounds of ping-pong with all of them by interrupts. */
  ipi: `${SEND}
    (global $pings (mut i32) (i32.const 0))
    (func $vcpus (result i32) (i32.load8_u (i32.const ${0x1006})))
    (func (export "irq_entry") (param $vector i32)
      (if (i32.eq (local.get $vector) (i32.const ${RESCHEDULE_VECTOR}))
        (then
          (global.set $pings (i32.add (global.get $pings) (i32.const 1)))
          (drop (i32.atomic.rmw.add (i32.const ${DATA}) (i32.const 1)))
          (call $icr (i32.const 0) (i32.const ${0x40})))))
    (func (export "secondary_start") (param $cpu i32)
      (drop (i32.atomic.rmw.add (i32.const ${DATA + 4}) (i32.const 1)))
      (call $irq_restore (i32.const 1))
      (loop $ever (call $halt) (br $ever)))
    (func (export "start_kernel") (param i32) (local $cpu i32) (local $round i32) (local $want i32)
      (local.set $cpu (i32.const 1))
      (block $started (loop $start
        (br_if $started (i32.ge_u (local.get $cpu) (call $vcpus)))
        (call $icr (local.get $cpu) (i32.const ${6 << 8}))
        (local.set $cpu (i32.add (local.get $cpu) (i32.const 1)))
        (br $start)))
      (loop $up (br_if $up (i32.lt_u (i32.atomic.load (i32.const ${DATA + 4})) (i32.sub (call $vcpus) (i32.const 1)))))
      (call $say ${LETTER('u')} (call $vcpus))
      (call $irq_restore (i32.const 1))
      (local.set $round (call $argument))
      (loop $play
        (local.set $want (i32.add (local.get $want) (i32.sub (call $vcpus) (i32.const 1))))
        (if (i32.and (local.get $round) (i32.const 1))
          (then (call $icr (i32.const 0) (i32.const ${(3 << 18) | RESCHEDULE_VECTOR})))
          (else
            (local.set $cpu (i32.const 1))
            (loop $each
              (call $icr (local.get $cpu) (i32.const ${RESCHEDULE_VECTOR}))
              (br_if $each (i32.lt_u (local.tee $cpu (i32.add (local.get $cpu) (i32.const 1))) (call $vcpus))))))
        ${haltWhile(`(i32.lt_u (i32.atomic.load (i32.const ${DATA})) (local.get $want))`)}
        (br_if $play (local.tee $round (i32.sub (local.get $round) (i32.const 1)))))
      (drop (call $irq_save))
      (call $say ${LETTER('p')} (i32.atomic.load (i32.const ${DATA}))))`,

  /** Every vCPU churns its own 1 MiB for ever. */
  churners: `${NO_IRQ} ${SEND}
    (func $churn (param $base i32) (local $x i32) (local $at i32)
      (local.set $x (local.get $base))
      (loop $round
        (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))
        (local.set $at (i32.add (local.get $base) (i32.and (local.get $x) (i32.const 0xffffc))))
        (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (local.get $x)))
        (br $round)))
    (func (export "secondary_start") (param $cpu i32)
      (call $churn (i32.add (i32.const 0x100000) (i32.shl (local.get $cpu) (i32.const 20)))))
    (func (export "start_kernel") (param i32) (local $cpu i32)
      (local.set $cpu (i32.const 1))
      (block $started (loop $start
        (br_if $started (i32.ge_u (local.get $cpu) (i32.load8_u (i32.const ${0x1006}))))
        (call $icr (local.get $cpu) (i32.const ${6 << 8}))
        (local.set $cpu (i32.add (local.get $cpu) (i32.const 1)))
        (br $start)))
      (call $say ${LETTER('u')} (local.get $cpu))
      (call $churn (i32.const 0x100000)))`,

  /** Reads the clock for ever; says so if it ever goes backwards, and how far it is every ms. */
  clock: `${NO_IRQ}
    (func (export "start_kernel") (param i32) (local $last f64) (local $now f64) (local $next f64)
      (loop $ever
        (local.set $now (call $clock_ns))
        (if (f64.lt (local.get $now) (local.get $last)) (then (call $say ${LETTER('x')} (i32.const 0))))
        (local.set $last (local.get $now))
        (if (f64.ge (local.get $now) (local.get $next))
          (then
            (local.set $next (f64.add (local.get $now) (f64.const 1e6)))
            (call $say ${LETTER('c')} (i32.trunc_f64_u (f64.div (local.get $now) (f64.const 1e6))))))
        (br $ever)))`,

  /** Traps in the way its number says, after a line on the console. */
  trap: `${NO_IRQ}
    (type $nullary (func))
    (table 1 funcref)
    (func $store_wild (param $at i32) (i32.store offset=8 (local.get $at) (i32.const 1)))
    (func $load_wild (param $at i32) (result i32) (i32.load offset=8 (local.get $at)))
    (func $divide (param $by i32) (result i32) (i32.div_u (i32.const 1) (local.get $by)))
    (func $deep (param $n i32) (result i32)
      (i32.add (local.get $n) (call $deep (i32.add (local.get $n) (i32.const 1)))))
    ${WIDE}
    (func $start_kernel (export "start_kernel") (param i32) (local $how i32)
      (local.set $how (call $argument))
      (call $say ${LETTER('n')} (local.get $how))
      (if (i32.eq (local.get $how) (i32.const 1)) (then (call $store_wild (i32.const -16))))
      (if (i32.eq (local.get $how) (i32.const 2)) (then (drop (call $load_wild (i32.const -16)))))
      (if (i32.eq (local.get $how) (i32.const 3)) (then unreachable))
      (if (i32.eq (local.get $how) (i32.const 4)) (then (drop (call $divide (i32.const 0)))))
      (if (i32.eq (local.get $how) (i32.const 5)) (then (drop (call $deep (i32.const 0)))))
      (if (i32.eq (local.get $how) (i32.const 6)) (then (call_indirect (type $nullary) (i32.const 0))))
      (if (i32.eq (local.get $how) (i32.const 7))
        (then (drop (i64.eqz (call $wide (i32.const 1600) (i64.const 1)))))))`,

  /** Touches what isn't there. */
  nowhere: `${NO_IRQ}
    (func (export "start_kernel") (param i32)
      (call $mmio_write (i32.const 0xf0000000) (i32.const 4) (i32.const 1))
      (call $say ${LETTER('b')} (call $mmio_read (i32.const 0xf0000000) (i32.const 1)))
      (call $say ${LETTER('w')} (call $mmio_read (i32.const 0xf0000002) (i32.const 2)))
      (call $say ${LETTER('l')} (call $mmio_read (i32.const 0xf0000004) (i32.const 4)))
      (call $say ${LETTER('o')} (call $mmio_read (i32.const ${CONSOLE_BASE + 0xffe}) (i32.const 4)))
      (call $say ${LETTER('v')} (call $mmio_read (i32.const 0xf0000000) (i32.const 3)))
      (call $say ${LETTER('r')} (call $mmio_read (i32.const 0x1000) (i32.const 4))))`,

  /** Overwrites its kick word all the time. The reserved range is the third entry of the memory map. */
  scribble: `${NO_IRQ}
    (func (export "start_kernel") (param $boot i32) (local $kick i32)
      (local.set $kick (i32.load (i32.add (local.get $boot) (i32.const ${0x80 + 24}))))
      (call $say ${LETTER('n')} (i32.const 0))
      (loop $ever (i32.store (local.get $kick) (i32.const 0)) (br $ever)))`,

  /** Writes its number to the power device, then halts. */
  power: `${NO_IRQ}
    (func (export "start_kernel") (param i32)
      (call $say ${LETTER('p')} (call $argument))
      (call $power (call $argument))
      (loop $ever (call $halt) (br $ever)))`,

  /** Prints so many lines as fast as it can, and crashes. */
  lastWords: `${NO_IRQ}
    (func (export "start_kernel") (param i32) (local $n i32)
      ${PRINTING}
      unreachable)`,

  /** Prints lines as fast as it can, so many. */
  flood: `${NO_IRQ}
    (func (export "start_kernel") (param i32) (local $n i32)
      ${PRINTING}
      (call $say ${LETTER('e')} (local.get $n)))`,
  ...PCI_GUESTS,
} as const;

/** Lets `churn`, wherever it runs now, come to its end. */
export function letEnd({ ram }: { readonly ram: Uint8Array }): void {
  ram[ENOUGH] = 1;
}

/** Makes `ticks` wait in its handler at that tick, until it is told another; 0 for none. `masked` waits at 0. */
export function holdAt({ ram }: { readonly ram: Uint8Array }, tick: number): void {
  new Uint32Array(ram.buffer, HOLD, 1)[0] = tick;
}

/** All that `churn` says when it has done as many rounds as it says in `lines`, wherever and however it ran. */
export function churnLines(lines: readonly string[]): readonly string[] {
  const rounds = Number(lines.find((line) => line.startsWith('r'))?.slice(2));
  return ['b 0', `r ${rounds}`, churnSum(rounds)];
}

function churnSum(rounds: number): string {
  const words = new Int32Array(0x10_0000);
  let x = 12345;
  for (let i = 0; i < rounds; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    const at = (x & 0x3ffffc) >>> 2;
    words[at] = (words[at]! + x) | 0;
  }
  let sum = 0;
  for (const word of words) sum = (Math.imul(sum, 31) + word) | 0;
  return `s ${sum >>> 0}`;
}

/** What `ticks` says last after so many ticks: its handler's steps, x -> a x + 1, composed by doubling. */
export function ticksWork(ticks: number): string {
  const word = (value: bigint): bigint => BigInt.asUintN(64, value);
  let [a, c] = [6364136223846793005n, 1n];
  let work = 7n;
  for (let steps = ticks * TICK_STEPS; steps > 0; steps = Math.floor(steps / 2)) {
    if (steps % 2 === 1) work = word(work * a + c);
    [a, c] = [word(a * a), word(c * (a + 1n))];
  }
  return `w ${work >> 33n}`;
}

/** A wasm binary of `wat` as it stands, with nothing of a guest woven in. */
export function assemble(wat: string): Uint8Array {
  const module = binaryen.parseText(wat);
  module.setFeatures(binaryen.Features.MutableGlobals | binaryen.Features.Atomics);
  const binary = module.emitBinary();
  module.dispose();
  return binary;
}
