;; Takes the dirty bits out of leaf tables: the inner loop of the IOMMU's dirty scan (see
;; iommu/host/leaf-scanner.ts). Works on the memory that holds the tables. An entry has 8 bytes; `dirty` is its dirty bit, in the low word.
;;
;; Hardware sets dirty bits while this runs. Clearing is atomic and only of bits that were seen set, so none is lost:
;; one that is set after its entry was read is found by the next scan.
(module
  (import "env" "memory" (memory 1 65536 shared))

  ;; at: address of the first entry; blocks: number of blocks of 32 entries, 1 to 16; out: where to store one mask a
  ;; block; clear: whether to clear what was found; large: whether to end at the first block that holds anything but
  ;; large leaves (bit 7). Returns how many entries were dirty in bits 15:0, and how many blocks it took above.
  (func (export "take_dirty")
    (param $at i32) (param $blocks i32) (param $out i32) (param $clear i32) (param $large i32) (param $dirty i32) (result i32)
    (local $mask i32) (local $rest i32) (local $found i32) (local $taken i32)
    (block $end (loop $block
      (if (local.get $large)
        (then
          (br_if $end (i32.eqz (i64x2.all_true
            (v128.and
              (v128.const i32x4 0x80 0 0x80 0)
              (v128.and (v128.and (v128.and (v128.and (v128.load offset=0 (local.get $at)) (v128.load offset=16 (local.get $at))) (v128.and (v128.load offset=32 (local.get $at)) (v128.load offset=48 (local.get $at)))) (v128.and (v128.and (v128.load offset=64 (local.get $at)) (v128.load offset=80 (local.get $at))) (v128.and (v128.load offset=96 (local.get $at)) (v128.load offset=112 (local.get $at))))) (v128.and (v128.and (v128.and (v128.load offset=128 (local.get $at)) (v128.load offset=144 (local.get $at))) (v128.and (v128.load offset=160 (local.get $at)) (v128.load offset=176 (local.get $at)))) (v128.and (v128.and (v128.load offset=192 (local.get $at)) (v128.load offset=208 (local.get $at))) (v128.and (v128.load offset=224 (local.get $at)) (v128.load offset=240 (local.get $at))))))))))))
      (local.set $mask (i32.const 0))
      (if (v128.any_true
            (v128.and
              (i64x2.splat (i64.extend_i32_u (local.get $dirty)))
              (v128.or (v128.or (v128.or (v128.or (v128.load offset=0 (local.get $at)) (v128.load offset=16 (local.get $at))) (v128.or (v128.load offset=32 (local.get $at)) (v128.load offset=48 (local.get $at)))) (v128.or (v128.or (v128.load offset=64 (local.get $at)) (v128.load offset=80 (local.get $at))) (v128.or (v128.load offset=96 (local.get $at)) (v128.load offset=112 (local.get $at))))) (v128.or (v128.or (v128.or (v128.load offset=128 (local.get $at)) (v128.load offset=144 (local.get $at))) (v128.or (v128.load offset=160 (local.get $at)) (v128.load offset=176 (local.get $at)))) (v128.or (v128.or (v128.load offset=192 (local.get $at)) (v128.load offset=208 (local.get $at))) (v128.or (v128.load offset=224 (local.get $at)) (v128.load offset=240 (local.get $at))))))))
        (then
          ;; The low words of four entries, dirty bit moved to the sign, make four bits of the mask.
          (local.set $mask
            (i32.or (i32.or (i32.or (i32.shl
            (i32x4.bitmask
              (i32x4.shl
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
                  (v128.load offset=0 (local.get $at)) (v128.load offset=16 (local.get $at)))
                (i32.clz (local.get $dirty))))
            (i32.const 0)) (i32.shl
            (i32x4.bitmask
              (i32x4.shl
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
                  (v128.load offset=32 (local.get $at)) (v128.load offset=48 (local.get $at)))
                (i32.clz (local.get $dirty))))
            (i32.const 4))) (i32.or (i32.shl
            (i32x4.bitmask
              (i32x4.shl
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
                  (v128.load offset=64 (local.get $at)) (v128.load offset=80 (local.get $at)))
                (i32.clz (local.get $dirty))))
            (i32.const 8)) (i32.shl
            (i32x4.bitmask
              (i32x4.shl
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
                  (v128.load offset=96 (local.get $at)) (v128.load offset=112 (local.get $at)))
                (i32.clz (local.get $dirty))))
            (i32.const 12)))) (i32.or (i32.or (i32.shl
            (i32x4.bitmask
              (i32x4.shl
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
                  (v128.load offset=128 (local.get $at)) (v128.load offset=144 (local.get $at)))
                (i32.clz (local.get $dirty))))
            (i32.const 16)) (i32.shl
            (i32x4.bitmask
              (i32x4.shl
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
                  (v128.load offset=160 (local.get $at)) (v128.load offset=176 (local.get $at)))
                (i32.clz (local.get $dirty))))
            (i32.const 20))) (i32.or (i32.shl
            (i32x4.bitmask
              (i32x4.shl
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
                  (v128.load offset=192 (local.get $at)) (v128.load offset=208 (local.get $at)))
                (i32.clz (local.get $dirty))))
            (i32.const 24)) (i32.shl
            (i32x4.bitmask
              (i32x4.shl
                (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
                  (v128.load offset=224 (local.get $at)) (v128.load offset=240 (local.get $at)))
                (i32.clz (local.get $dirty))))
            (i32.const 28))))))
          (local.set $found (i32.add (local.get $found) (i32.popcnt (local.get $mask))))
          (if (local.get $clear)
            (then
              (local.set $rest (local.get $mask))
              (loop $bits
                (drop
                  (i32.atomic.rmw.and
                    (i32.add (local.get $at) (i32.shl (i32.ctz (local.get $rest)) (i32.const 3)))
                    (i32.xor (local.get $dirty) (i32.const -1))))
                (br_if $bits
                  (local.tee $rest (i32.and (local.get $rest) (i32.sub (local.get $rest) (i32.const 1))))))))))
      (i32.store (local.get $out) (local.get $mask))
      (local.set $out (i32.add (local.get $out) (i32.const 4)))
      (local.set $at (i32.add (local.get $at) (i32.const 256)))
      (br_if $block (i32.lt_u (local.tee $taken (i32.add (local.get $taken) (i32.const 1))) (local.get $blocks)))))
    (i32.or (local.get $found) (i32.shl (local.get $taken) (i32.const 16)))))
