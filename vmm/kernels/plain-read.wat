;; The yardstick of the zero scan: reads memory with SIMD loads and does as little as possible with it.
(module
  (import "env" "memory" (memory 1 65536 shared))

  ;; Reads `bytes` (a multiple of 256) from `at`; returns the or of all 32-bit lanes.
  (func (export "read") (param $at i32) (param $bytes i32) (result i32)
    (local $end i32) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local.set $end (i32.add (local.get $at) (local.get $bytes)))
    (loop $groups
      (local.set $a (v128.or (local.get $a) (v128.load offset=0 (local.get $at))))
      (local.set $b (v128.or (local.get $b) (v128.load offset=16 (local.get $at))))
      (local.set $c (v128.or (local.get $c) (v128.load offset=32 (local.get $at))))
      (local.set $d (v128.or (local.get $d) (v128.load offset=48 (local.get $at))))
      (local.set $a (v128.or (local.get $a) (v128.load offset=64 (local.get $at))))
      (local.set $b (v128.or (local.get $b) (v128.load offset=80 (local.get $at))))
      (local.set $c (v128.or (local.get $c) (v128.load offset=96 (local.get $at))))
      (local.set $d (v128.or (local.get $d) (v128.load offset=112 (local.get $at))))
      (local.set $a (v128.or (local.get $a) (v128.load offset=128 (local.get $at))))
      (local.set $b (v128.or (local.get $b) (v128.load offset=144 (local.get $at))))
      (local.set $c (v128.or (local.get $c) (v128.load offset=160 (local.get $at))))
      (local.set $d (v128.or (local.get $d) (v128.load offset=176 (local.get $at))))
      (local.set $a (v128.or (local.get $a) (v128.load offset=192 (local.get $at))))
      (local.set $b (v128.or (local.get $b) (v128.load offset=208 (local.get $at))))
      (local.set $c (v128.or (local.get $c) (v128.load offset=224 (local.get $at))))
      (local.set $d (v128.or (local.get $d) (v128.load offset=240 (local.get $at))))
      (br_if $groups (i32.ne (local.tee $at (i32.add (local.get $at) (i32.const 256))) (local.get $end))))
    (local.set $a (v128.or (v128.or (local.get $a) (local.get $b)) (v128.or (local.get $c) (local.get $d))))
    (i32.or
      (i32.or (i32x4.extract_lane 0 (local.get $a)) (i32x4.extract_lane 1 (local.get $a)))
      (i32.or (i32x4.extract_lane 2 (local.get $a)) (i32x4.extract_lane 3 (local.get $a))))))
