;; Which of up to 32 pages hold nothing but zeros. Works on guest RAM in place: it imports the guest's own memory and
;; has none itself. A page that holds data is given up at its first non-zero vector group, so that scanning a full
;; guest costs next to nothing; an empty page is read once, at the speed of memory.
;;
;; Pages are 4 KiB. The guest may write while this runs; a page judged too early is dirty again and judged anew.
(module
  (import "env" "memory" (memory 1 65536 shared))

  ;; first: number of the page that bit 0 of `candidates` stands for; candidates: pages to look at.
  ;; Returns the candidates that are all zero.
  (func (export "zero_mask") (param $first i32) (param $candidates i32) (result i32)
    (local $at i32) (local $end i32) (local $bit i32) (local $zero i32)
    (block $done
      (loop $pages
        (br_if $done (i32.eqz (local.get $candidates)))
        (local.set $bit (i32.ctz (local.get $candidates)))
        (local.set $candidates
          (i32.and (local.get $candidates) (i32.sub (local.get $candidates) (i32.const 1))))
        (local.set $at (i32.shl (i32.add (local.get $first) (local.get $bit)) (i32.const 12)))
        ;; Most pages with data show it in their first 16 bytes.
        (br_if $pages (v128.any_true (v128.load (local.get $at))))
        (local.set $end (i32.add (local.get $at) (i32.const 4096)))
        (loop $groups ;; of 16 vectors; four independent chains
          (br_if $pages
            (v128.any_true
              (v128.or
                (v128.or
                  (v128.or
                    (v128.or (v128.load offset=0 (local.get $at)) (v128.load offset=16 (local.get $at)))
                    (v128.or (v128.load offset=32 (local.get $at)) (v128.load offset=48 (local.get $at))))
                  (v128.or
                    (v128.or (v128.load offset=64 (local.get $at)) (v128.load offset=80 (local.get $at)))
                    (v128.or (v128.load offset=96 (local.get $at)) (v128.load offset=112 (local.get $at)))))
                (v128.or
                  (v128.or
                    (v128.or (v128.load offset=128 (local.get $at)) (v128.load offset=144 (local.get $at)))
                    (v128.or (v128.load offset=160 (local.get $at)) (v128.load offset=176 (local.get $at))))
                  (v128.or
                    (v128.or (v128.load offset=192 (local.get $at)) (v128.load offset=208 (local.get $at)))
                    (v128.or (v128.load offset=224 (local.get $at)) (v128.load offset=240 (local.get $at))))))))
          (br_if $groups
            (i32.ne (local.tee $at (i32.add (local.get $at) (i32.const 256))) (local.get $end))))
        (local.set $zero (i32.or (local.get $zero) (i32.shl (i32.const 1) (local.get $bit))))
        (br $pages)))
    (local.get $zero)))
