/** Small guests that write to the configuration space of their PCI Express devices; see `machine-guests.ts`. */
import { BAR_WINDOW_BASE, ECAM_BASE } from '../../base/abi/platform.js';
import { rootPortLayout } from '../../devices/root-port/registers.js';
import { LETTER, NO_IRQ } from './machine-guest-text.js';

/** Configuration space of the guest's root port, device 1 of bus 0. */
const ROOT_PORT = ECAM_BASE + 0x8000;
const { pcie, channel } = rootPortLayout({ number: 1, surprise: true }).cap;
const SLOT_CONTROL = ROOT_PORT + pcie.SLOT_CONTROL.offset;
const SLOT_STATUS = ROOT_PORT + pcie.SLOT_STATUS.offset;
const CHANNEL_STATUS = ROOT_PORT + channel.STATUS.offset;
const HOST_SEQUENCE = ROOT_PORT + channel.HOST_SEQUENCE.offset;
const HOST_REQUEST = ROOT_PORT + channel.HOST_REQUEST.offset;
const GUEST_SEQUENCE = ROOT_PORT + channel.GUEST_SEQUENCE.offset;
const GUEST_ANSWER = ROOT_PORT + channel.GUEST_ANSWER.offset;
const GUEST_FEATURE = ROOT_PORT + channel.GUEST_FEATURE.offset;

export const PCI_GUESTS = {
  /**
   * Writes and reads configuration space (bridge, root port, the function behind it) and the BAR window at random, so
   * many times, then says what it read last.
   */
  storm: `${NO_IRQ}
    (func (export "start_kernel") (param i32) (local $n i32) (local $x i32) (local $at i32) (local $value i32)
      (local.set $x (i32.xor (i32.const 88172645) (call $argument)))
      (call $say ${LETTER('b')} (call $argument))
      (loop $next
        (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
        (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
        (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
        (local.set $at (i32.shr_u (local.get $x) (i32.const 8)))
        (if (i32.eqz (i32.and (local.get $x) (i32.const 7)))
          (then
            (local.set $at (i32.or (i32.const ${ECAM_BASE}) (i32.or
              (i32.and (local.get $at) (i32.const 0x8ffc))
              (i32.shl (i32.and (i32.shr_u (local.get $x) (i32.const 4)) (i32.const 1)) (i32.const 20))))))
          (else
            (local.set $at (i32.or (i32.const ${BAR_WINDOW_BASE}) (i32.and (local.get $at) (i32.const 0x7ffc))))))
        (if (i32.and (local.get $x) (i32.const 8))
          (then (call $mmio_write (local.get $at) (i32.const 4)
            (i32.rotl (local.get $x) (i32.and (local.get $n) (i32.const 31)))))
          (else (local.set $value (call $mmio_read (local.get $at) (i32.const 4)))))
        (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (call $argument))))
      (call $say ${LETTER('s')} (local.get $value)))`,

  /** Does to its root port what would make a careless one lose its slot: puts it to sleep, wakes it, asks it for FLR. */
  wipe: `${NO_IRQ}
    (func (export "start_kernel") (param i32)
      (call $mmio_write (i32.const ${ROOT_PORT + 0x44}) (i32.const 2) (i32.const 3))
      (call $mmio_write (i32.const ${ROOT_PORT + 0x44}) (i32.const 2) (i32.const 0))
      (call $mmio_write (i32.const ${ROOT_PORT + 0x98}) (i32.const 2) (i32.const 0x8000))
      (call $say ${LETTER('s')} (call $mmio_read (i32.const ${SLOT_STATUS}) (i32.const 2))))`,

  /**
   * Does the least of what a slot's driver does: at the attention button it turns a slot that is on off, blinking first, and one
   * that is off on, and says so there (`o`, `i`) and on the port's channel. Before, it writes Slot Control so many times, and
   * says `h` after every 256. On the channel it offers `susp`, and answers each request with that request.
   */
  slot: `${NO_IRQ}
    (func $control (param $value i32)
      (call $mmio_write (i32.const ${SLOT_CONTROL}) (i32.const 2) (local.get $value)))
    (func (export "start_kernel") (param i32) (local $n i32) (local $told i32)
      (block $enough (loop $next
        (br_if $enough (i32.ge_u (local.get $n) (call $argument)))
        (call $control (i32.or (i32.const 0x1c0) (i32.shl (i32.and (local.get $n) (i32.const 1)) (i32.const 9))))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (if (i32.eqz (i32.and (local.get $n) (i32.const 255))) (then (call $say ${LETTER('h')} (local.get $n))))
        (br $next)))
      (call $mmio_write (i32.const ${GUEST_FEATURE}) (i32.const 4) (i32.const 0x70737573))
      (call $say ${LETTER('r')} (i32.const 0))
      (loop $ever
        (if (i32.and (call $mmio_read (i32.const ${CHANNEL_STATUS}) (i32.const 2)) (i32.const 1)) (then
          (call $mmio_write (i32.const ${CHANNEL_STATUS}) (i32.const 2) (i32.const 1))
          (call $mmio_write (i32.const ${GUEST_ANSWER}) (i32.const 4)
            (call $mmio_read (i32.const ${HOST_REQUEST}) (i32.const 4)))
          (call $mmio_write (i32.const ${GUEST_SEQUENCE}) (i32.const 4)
            (call $mmio_read (i32.const ${HOST_SEQUENCE}) (i32.const 4)))))
        (if (i32.and (call $mmio_read (i32.const ${SLOT_STATUS}) (i32.const 2)) (i32.const 1)) (then
          (call $mmio_write (i32.const ${SLOT_STATUS}) (i32.const 2) (i32.const 1))
          (local.set $told (i32.add (local.get $told) (i32.const 1)))
          (call $mmio_write (i32.const ${GUEST_ANSWER}) (i32.const 4) (i32.const 7))
          (call $mmio_write (i32.const ${GUEST_SEQUENCE}) (i32.const 4) (local.get $told))
          (if (i32.and (call $mmio_read (i32.const ${SLOT_CONTROL}) (i32.const 2)) (i32.const 0x400))
            (then (call $control (i32.const 0x1c0)) (call $say ${LETTER('i')} (local.get $told)))
            (else
              (call $control (i32.const 0x2c0))
              (call $control (i32.const 0x7c0))
              (call $say ${LETTER('o')} (local.get $told))))))
        (br $ever)))`,
} as const;
