;; A guest in plain WebAssembly text: no compiler, no library, no allocator. It shows what the machine asks of a guest,
;; and that a guest can come from anywhere.
;;
;; It prints a line, then lives on timer ticks: each tick rewrites the next word of a ring in memory and keeps a running
;; checksum of the whole ring, which every line's tick compares with a checksum taken anew. A tick that was lost, doubled
;; or run on stale memory shows as a gap in the count or as a panic.
(module
  (import "ferry" "memory" (memory 2 65536 shared))
  (import "ferry" "mmio_write" (func $mmio_write (param $address i32) (param $width i32) (param $value i32)))
  (import "ferry" "clock_ns" (func $clock_ns (result f64)))
  (import "ferry" "timer_program" (func $timer_program (param $deadline f64)))
  (import "ferry" "halt" (func $halt))
  (import "ferry" "irq_save" (func $irq_save (result i32)))
  (import "ferry" "irq_restore" (func $irq_restore (param $flags i32)))

  ;; Platform (base/abi/platform.ts) and device registers.
  (global $CONSOLE_DATA i32 (i32.const 0xfed00000))
  (global $POWER_CONTROL i32 (i32.const 0xfed01000))
  (global $POWER_PANIC i32 (i32.const 3))
  (global $TIMER_VECTOR i32 (i32.const 0xec))

  (global $TICK_NS f64 (f64.const 10e6))
  (global $TICKS_A_LINE i32 (i32.const 25))

  ;; The ring: RING_WORDS 32-bit words in the page after the text.
  (global $RING i32 (i32.const 0x11000))
  (global $RING_WORDS i32 (i32.const 1024))
  (global $RING_MASK i32 (i32.const 1023))

  ;; Registers of this vCPU; everything else is in memory.
  (global $jiffies (mut i32) (i32.const 0))
  (global $checksum (mut i32) (i32.const 0))
  (global $next_tick (mut f64) (f64.const 0))

  (data (i32.const 0x10000) "tiny: up, one line every 25 ticks of 10 ms\n\00")
  (data (i32.const 0x10040) "tiny: tick \00")
  (data (i32.const 0x10050) " checksum 0x\00")
  (data (i32.const 0x10060) " ok\n\00")
  (data (i32.const 0x10070) "tiny: panic: the ring does not match its checksum at tick \00")
  (data (i32.const 0x100b0) "\n\00")

  (func $putc (param $char i32)
    (call $mmio_write (global.get $CONSOLE_DATA) (i32.const 1) (local.get $char)))

  ;; Prints NUL-terminated text.
  (func $puts (param $text i32) (local $char i32)
    (block $end
      (loop $next
        (br_if $end (i32.eqz (local.tee $char (i32.load8_u (local.get $text)))))
        (call $putc (local.get $char))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))
        (br $next))))

  (func $put_decimal (param $value i32)
    (if (i32.ge_u (local.get $value) (i32.const 10))
      (then (call $put_decimal (i32.div_u (local.get $value) (i32.const 10)))))
    (call $putc (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10)))))

  (func $put_hex (param $value i32) (local $shift i32) (local $digit i32)
    (local.set $shift (i32.const 28))
    (loop $next
      (local.set $digit (i32.and (i32.shr_u (local.get $value) (local.get $shift)) (i32.const 15)))
      (call $putc
        (i32.add (local.get $digit)
          (select (i32.const 87) (i32.const 48) (i32.gt_u (local.get $digit) (i32.const 9)))))
      (br_if $next (i32.ge_s (local.tee $shift (i32.sub (local.get $shift) (i32.const 4))) (i32.const 0)))))

  ;; What word $index adds to the checksum; depends on its place, so that exchanged words show as well.
  (func $weigh (param $index i32) (param $word i32) (result i32)
    (i32.mul
      (i32.xor (local.get $word) (i32.mul (local.get $index) (i32.const 0x9e3779b1)))
      (i32.const 0x85ebca6b)))

  ;; The checksum of the whole ring, from memory.
  (func $sum_ring (result i32) (local $index i32) (local $sum i32)
    (loop $next
      (local.set $sum
        (i32.add (local.get $sum)
          (call $weigh
            (local.get $index)
            (i32.load (i32.add (global.get $RING) (i32.shl (local.get $index) (i32.const 2)))))))
      (br_if $next
        (i32.lt_u (local.tee $index (i32.add (local.get $index) (i32.const 1))) (global.get $RING_WORDS))))
    (local.get $sum))

  ;; Rewrites one word of the ring and carries the checksum along.
  (func $turn_ring (local $index i32) (local $at i32) (local $word i32)
    (local.set $index (i32.and (global.get $jiffies) (global.get $RING_MASK)))
    (local.set $at (i32.add (global.get $RING) (i32.shl (local.get $index) (i32.const 2))))
    (local.set $word (i32.load (local.get $at)))
    (global.set $checksum
      (i32.sub (global.get $checksum) (call $weigh (local.get $index) (local.get $word))))
    (local.set $word
      (i32.add (i32.mul (local.get $word) (i32.const 1664525)) (i32.add (global.get $jiffies) (i32.const 1013904223))))
    (i32.store (local.get $at) (local.get $word))
    (global.set $checksum
      (i32.add (global.get $checksum) (call $weigh (local.get $index) (local.get $word)))))

  (func $arm_timer
    (global.set $next_tick (f64.add (global.get $next_tick) (global.get $TICK_NS)))
    (call $timer_program (global.get $next_tick)))

  (func $panic
    (call $puts (i32.const 0x10070))
    (call $put_decimal (global.get $jiffies))
    (call $puts (i32.const 0x100b0))
    (call $mmio_write (global.get $POWER_CONTROL) (i32.const 4) (global.get $POWER_PANIC)))

  (func $report (local $flags i32) (local $same i32)
    ;; No tick may turn the ring while it is summed up.
    (local.set $flags (call $irq_save))
    (local.set $same (i32.eq (call $sum_ring) (global.get $checksum)))
    (call $irq_restore (local.get $flags))
    (if (i32.eqz (local.get $same)) (then (call $panic) (return)))
    (call $puts (i32.const 0x10040))
    (call $put_decimal (global.get $jiffies))
    (call $puts (i32.const 0x10050))
    (call $put_hex (global.get $checksum))
    (call $puts (i32.const 0x10060)))

  (func (export "irq_entry") (param $vector i32)
    (if (i32.ne (local.get $vector) (global.get $TIMER_VECTOR)) (then (return)))
    (call $turn_ring)
    (global.set $jiffies (i32.add (global.get $jiffies) (i32.const 1)))
    (call $arm_timer))

  (func (export "start_kernel") (param $boot_params i32) (local $reported i32)
    (call $puts (i32.const 0x10000))
    (global.set $checksum (call $sum_ring))
    (global.set $next_tick (call $clock_ns))
    (call $arm_timer)
    (call $irq_restore (i32.const 1))
    (loop $forever
      (call $halt)
      (if (i32.ge_u (i32.sub (global.get $jiffies) (local.get $reported)) (global.get $TICKS_A_LINE))
        (then
          (local.set $reported (global.get $jiffies))
          (call $report)))
      (br $forever)))
)
