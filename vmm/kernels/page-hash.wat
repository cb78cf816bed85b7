;; 64-bit hash of one 4 KiB page of guest RAM, in place: it imports the guest's own memory and has none itself.
;;
;; Four accumulators of two 64-bit lanes take a stripe of four 16-byte vectors at a time. Two vectors, each with a key
;; added, are multiplied lane by lane (32 x 32 -> 64 bits) into two accumulators, while the same two vectors are added
;; to the other two: so a product that happens to be zero hides nothing. The two keys move on by an odd step each
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

  ;; Returns the lower half of the hash of page number `page`; the upper half is `hash_high()`. Never zero in both.
  (func (export "page_hash") (param $page i32) (param $seed i32) (result i32)
    (local $at i32) (local $end i32) (local $hash i64)
    (local $a v128) (local $b v128) (local $x v128) (local $y v128)
    (local $ka v128) (local $kb v128) (local $stepa v128) (local $stepb v128)
    (local $s0 v128) (local $s1 v128) (local $s2 v128) (local $s3 v128)
    (local $prime v128)
    (local.set $at (i32.shl (local.get $page) (i32.const 12)))
    (local.set $a (i32x4.splat (i32.mul (local.get $seed) (i32.const 0x9e3779b1))))
    ;; Keys and steps are digits of pi; the steps are made odd.
    (local.set $ka (v128.xor (local.get $a) (v128.const i32x4 0x243f6a88 0x85a308d3 0x13198a2e 0x03707344)))
    (local.set $kb (v128.xor (local.get $a) (v128.const i32x4 0xa4093822 0x299f31d0 0x082efa98 0xec4e6c89)))
    (local.set $stepa (v128.const i32x4 0x452821e7 0x38d01377 0xbe5466cf 0x34e90c6d))
    (local.set $stepb (v128.const i32x4 0xc0ac29b7 0xc97c50dd 0x3f84d5b5 0xb5470917))
    (local.set $prime (v128.const i64x2 0x9e3779b1 0x9e3779b1))
    (loop $blocks
      (local.set $end (i32.add (local.get $at) (i32.const 1024)))
      (loop $stripes
        (local.set $x (v128.load offset=0 (local.get $at)))
        (local.set $y (v128.load offset=16 (local.get $at)))
        (local.set $a (i32x4.add (local.get $x) (local.get $ka)))
        (local.set $b (i32x4.add (local.get $y) (local.get $kb)))
        (local.set $s0 (i64x2.add (local.get $s0) (i64x2.extmul_low_i32x4_u (local.get $a) (local.get $b))))
        (local.set $s1 (i64x2.add (local.get $s1) (i64x2.extmul_high_i32x4_u (local.get $a) (local.get $b))))
        (local.set $s2 (i64x2.add (local.get $s2) (local.get $x)))
        (local.set $s3 (i64x2.add (local.get $s3) (local.get $y)))
        (local.set $x (v128.load offset=32 (local.get $at)))
        (local.set $y (v128.load offset=48 (local.get $at)))
        (local.set $a (i32x4.add (local.get $x) (local.get $ka)))
        (local.set $b (i32x4.add (local.get $y) (local.get $kb)))
        (local.set $s2 (i64x2.add (local.get $s2) (i64x2.extmul_low_i32x4_u (local.get $a) (local.get $b))))
        (local.set $s3 (i64x2.add (local.get $s3) (i64x2.extmul_high_i32x4_u (local.get $a) (local.get $b))))
        (local.set $s0 (i64x2.add (local.get $s0) (local.get $x)))
        (local.set $s1 (i64x2.add (local.get $s1) (local.get $y)))
        (local.set $ka (i32x4.add (local.get $ka) (local.get $stepa)))
        (local.set $kb (i32x4.add (local.get $kb) (local.get $stepb)))
        (br_if $stripes (i32.ne (local.tee $at (i32.add (local.get $at) (i32.const 64))) (local.get $end))))
      ;; lane = (lane ^ lane >>> 47) * prime
      (local.set $s0
        (i64x2.mul
          (v128.xor (local.get $s0) (i64x2.shr_u (local.get $s0) (i32.const 47)))
          (local.get $prime)))
      (local.set $s1
        (i64x2.mul
          (v128.xor (local.get $s1) (i64x2.shr_u (local.get $s1) (i32.const 47)))
          (local.get $prime)))
      (local.set $s2
        (i64x2.mul
          (v128.xor (local.get $s2) (i64x2.shr_u (local.get $s2) (i32.const 47)))
          (local.get $prime)))
      (local.set $s3
        (i64x2.mul
          (v128.xor (local.get $s3) (i64x2.shr_u (local.get $s3) (i32.const 47)))
          (local.get $prime)))
      (br_if $blocks (i32.and (local.get $at) (i32.const 4095))))
    ;; Folds the accumulators into one, both lanes at once, and then the two lanes: hash = (hash ^ lane) * golden,
    ;; hash ^= hash >>> 32.
    (local.set $prime (v128.const i64x2 0x9e3779b97f4a7c15 0x9e3779b97f4a7c15))
    (local.set $a (i64x2.mul (local.get $s0) (local.get $prime)))
    (local.set $a (v128.xor (local.get $a) (i64x2.shr_u (local.get $a) (i32.const 32))))
    (local.set $a (i64x2.mul (v128.xor (local.get $a) (local.get $s1)) (local.get $prime)))
    (local.set $a (v128.xor (local.get $a) (i64x2.shr_u (local.get $a) (i32.const 32))))
    (local.set $a (i64x2.mul (v128.xor (local.get $a) (local.get $s2)) (local.get $prime)))
    (local.set $a (v128.xor (local.get $a) (i64x2.shr_u (local.get $a) (i32.const 32))))
    (local.set $a (i64x2.mul (v128.xor (local.get $a) (local.get $s3)) (local.get $prime)))
    (local.set $a (v128.xor (local.get $a) (i64x2.shr_u (local.get $a) (i32.const 32))))
    (local.set $hash (i64.mul (i64.extend_i32_u (local.get $seed)) (i64.const 0x94d049bb133111eb)))
    (local.set $hash
      (i64.mul (i64.xor (local.get $hash) (i64x2.extract_lane 0 (local.get $a))) (i64.const 0x9e3779b97f4a7c15)))
    (local.set $hash (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 32))))
    (local.set $hash
      (i64.mul (i64.xor (local.get $hash) (i64x2.extract_lane 1 (local.get $a))) (i64.const 0x9e3779b97f4a7c15)))
    (local.set $hash (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 32))))
    (local.set $hash (i64.mul (local.get $hash) (i64.const 0xbf58476d1ce4e5b9)))
    (local.set $hash (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 32))))
    ;; Zero means "never sent" in the hash tables.
    (local.set $hash (i64.add (local.get $hash) (i64.extend_i32_u (i64.eqz (local.get $hash)))))
    (global.set $high (i32.wrap_i64 (i64.shr_u (local.get $hash) (i64.const 32))))
    (i32.wrap_i64 (local.get $hash))))
