;; 64-bit hash of one 4 KiB page of guest RAM, in place: it imports the guest's own memory and has none itself.
;;
;; Four accumulators of two 64-bit lanes take a stripe of four 16-byte vectors at a time. Two vectors, each with its
;; own key added, are multiplied lane by lane (32 x 32 -> 64 bits) into two accumulators, while the same two vectors
;; are added to the other two: so a product that happens to be zero hides nothing. Keys move on by an odd step each
;; stripe, so that the same bytes elsewhere in the page weigh differently. Every 1024 bytes the accumulators are
;; scrambled (a bijection), and at the end folded into one word with multiplications by odd constants.
;; `migration/pages/page-hash.ts` holds the same function in plain TypeScript; a test keeps the two together.
;;
;; It guards against damage on the way and defects of ours, not against a forger.
(module
  (import "env" "memory" (memory 1 65536 shared))
  (global $high (mut i32) (i32.const 0))

  ;; The upper half of the last hash.
  (func (export "hash_high") (result i32) (global.get $high))

  (func $scramble (param $lane v128) (result v128)
    (i64x2.mul
      (v128.xor (local.get $lane) (i64x2.shr_u (local.get $lane) (i32.const 47)))
      (v128.const i64x2 0x9e3779b1 0x9e3779b1)))

  (func $fold (param $hash i64) (param $lane i64) (result i64)
    (local.set $hash
      (i64.mul (i64.xor (local.get $hash) (local.get $lane)) (i64.const 0x9e3779b97f4a7c15)))
    (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 32))))

  ;; Returns the lower half of the hash of page number `page`; the upper half is `hash_high()`. Never zero in both.
  (func (export "page_hash") (param $page i32) (param $seed i32) (result i32)
    (local $at i32) (local $end i32) (local $hash i64)
    (local $a v128) (local $b v128) (local $x v128) (local $y v128)
    (local $k0 v128) (local $k1 v128) (local $k2 v128) (local $k3 v128)
    (local $s0 v128) (local $s1 v128) (local $s2 v128) (local $s3 v128)
    (local $spread v128)
    (local.set $at (i32.shl (local.get $page) (i32.const 12)))
    (local.set $spread (i32x4.splat (i32.mul (local.get $seed) (i32.const 0x9e3779b1))))
    (local.set $k0 (v128.xor (local.get $spread) (v128.const i32x4 0x243f6a88 0x85a308d3 0x13198a2e 0x03707344)))
    (local.set $k1 (v128.xor (local.get $spread) (v128.const i32x4 0xa4093822 0x299f31d0 0x082efa98 0xec4e6c89)))
    (local.set $k2 (v128.xor (local.get $spread) (v128.const i32x4 0x452821e6 0x38d01377 0xbe5466cf 0x34e90c6c)))
    (local.set $k3 (v128.xor (local.get $spread) (v128.const i32x4 0xc0ac29b7 0xc97c50dd 0x3f84d5b5 0xb5470917)))
    (loop $blocks
      (local.set $end (i32.add (local.get $at) (i32.const 1024)))
      (loop $stripes
        (local.set $x (v128.load offset=0 (local.get $at)))
        (local.set $y (v128.load offset=16 (local.get $at)))
        (local.set $a (i32x4.add (local.get $x) (local.get $k0)))
        (local.set $b (i32x4.add (local.get $y) (local.get $k1)))
        (local.set $s0 (i64x2.add (local.get $s0) (i64x2.extmul_low_i32x4_u (local.get $a) (local.get $b))))
        (local.set $s1 (i64x2.add (local.get $s1) (i64x2.extmul_high_i32x4_u (local.get $a) (local.get $b))))
        (local.set $s2 (i64x2.add (local.get $s2) (local.get $x)))
        (local.set $s3 (i64x2.add (local.get $s3) (local.get $y)))
        (local.set $x (v128.load offset=32 (local.get $at)))
        (local.set $y (v128.load offset=48 (local.get $at)))
        (local.set $a (i32x4.add (local.get $x) (local.get $k2)))
        (local.set $b (i32x4.add (local.get $y) (local.get $k3)))
        (local.set $s2 (i64x2.add (local.get $s2) (i64x2.extmul_low_i32x4_u (local.get $a) (local.get $b))))
        (local.set $s3 (i64x2.add (local.get $s3) (i64x2.extmul_high_i32x4_u (local.get $a) (local.get $b))))
        (local.set $s0 (i64x2.add (local.get $s0) (local.get $x)))
        (local.set $s1 (i64x2.add (local.get $s1) (local.get $y)))
        (local.set $k0 (i32x4.add (local.get $k0) (v128.const i32x4 0x9216d5d9 0x8979fb1b 0xd1310ba7 0x98dfb5ad)))
        (local.set $k1 (i32x4.add (local.get $k1) (v128.const i32x4 0x2ffd72db 0xd01adfb7 0xb8e1afed 0x6a267e97)))
        (local.set $k2 (i32x4.add (local.get $k2) (v128.const i32x4 0xba7c9045 0xf12c7f99 0x24a19947 0xb3916cf7)))
        (local.set $k3 (i32x4.add (local.get $k3) (v128.const i32x4 0x0801f2e3 0x858efc17 0x636920d9 0x71574e69)))
        (br_if $stripes (i32.ne (local.tee $at (i32.add (local.get $at) (i32.const 64))) (local.get $end))))
      (local.set $s0 (call $scramble (local.get $s0)))
      (local.set $s1 (call $scramble (local.get $s1)))
      (local.set $s2 (call $scramble (local.get $s2)))
      (local.set $s3 (call $scramble (local.get $s3)))
      (br_if $blocks (i32.and (local.get $at) (i32.const 4095))))
    (local.set $hash (i64.mul (i64.extend_i32_u (local.get $seed)) (i64.const 0x94d049bb133111eb)))
    (local.set $hash (call $fold (local.get $hash) (i64x2.extract_lane 0 (local.get $s0))))
    (local.set $hash (call $fold (local.get $hash) (i64x2.extract_lane 1 (local.get $s0))))
    (local.set $hash (call $fold (local.get $hash) (i64x2.extract_lane 0 (local.get $s1))))
    (local.set $hash (call $fold (local.get $hash) (i64x2.extract_lane 1 (local.get $s1))))
    (local.set $hash (call $fold (local.get $hash) (i64x2.extract_lane 0 (local.get $s2))))
    (local.set $hash (call $fold (local.get $hash) (i64x2.extract_lane 1 (local.get $s2))))
    (local.set $hash (call $fold (local.get $hash) (i64x2.extract_lane 0 (local.get $s3))))
    (local.set $hash (call $fold (local.get $hash) (i64x2.extract_lane 1 (local.get $s3))))
    (local.set $hash (i64.mul (local.get $hash) (i64.const 0xbf58476d1ce4e5b9)))
    (local.set $hash (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 32))))
    ;; Zero means "never sent" in the hash tables.
    (local.set $hash (i64.add (local.get $hash) (i64.extend_i32_u (i64.eqz (local.get $hash)))))
    (global.set $high (i32.wrap_i64 (i64.shr_u (local.get $hash) (i64.const 32))))
    (i32.wrap_i64 (local.get $hash))))
