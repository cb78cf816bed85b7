;; The dirty byte map of one vCPU, 32 pages at a step. Called only by the thread that owns the map, with its guest at
;; a safepoint, so that nothing marks a page between the read and the clear. All addresses are multiples of 32.
(module
  (import "env" "memory" (memory 1 65536 shared))

  ;; Address of the first group of 32 map bytes in [$from, $end) with a byte set, or $end.
  (func (export "scan") (param $from i32) (param $end i32) (result i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
        (br_if $done (v128.any_true
          (v128.or
            (v128.load (local.get $from))
            (v128.load offset=16 (local.get $from)))))
        (local.set $from (i32.add (local.get $from) (i32.const 32)))
        (br $next)))
    (local.get $from))

  ;; Returns the group at $at as a mask, bit i for byte i (any value but zero counts), and clears it.
  (func (export "take") (param $at i32) (result i32)
    (local $mask i32)
    (local.set $mask (i32.or
      (i8x16.bitmask (i8x16.ne (v128.load (local.get $at)) (v128.const i64x2 0 0)))
      (i32.shl
        (i8x16.bitmask (i8x16.ne (v128.load offset=16 (local.get $at)) (v128.const i64x2 0 0)))
        (i32.const 16))))
    (v128.store (local.get $at) (v128.const i64x2 0 0))
    (v128.store offset=16 (local.get $at) (v128.const i64x2 0 0))
    (local.get $mask))
)
