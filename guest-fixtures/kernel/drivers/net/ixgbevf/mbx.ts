// The mailbox to the physical function's driver: the handshake of API 1.0 to 1.4 (82599 datasheet, 7.10.2.9).
import {
  IXGBE_VFMAILBOX,
  IXGBE_VFMAILBOX_ACK,
  IXGBE_VFMAILBOX_PFSTS,
  IXGBE_VFMAILBOX_R2C_BITS,
  IXGBE_VFMAILBOX_REQ,
  IXGBE_VFMAILBOX_RSTD,
  IXGBE_VFMAILBOX_RSTI,
  IXGBE_VFMAILBOX_VFU,
  IXGBE_VFMBMEM,
} from './defines';
import { IxgbevfAdapter, ixgbe_read_reg, ixgbe_write_reg, udelay } from './ixgbevf';

/** Tries, and microseconds between two: one second in all. */
export const IXGBE_VF_MBX_INIT_TIMEOUT: u32 = 2000;
const IXGBE_VF_MBX_INIT_DELAY: u32 = 500;

/** Reads VFMAILBOX, with what earlier reads cleared. */
function ixgbevf_read_mailbox_vf(adapter: IxgbevfAdapter): u32 {
  const value = ixgbe_read_reg(adapter, IXGBE_VFMAILBOX) | adapter.mbx_v2p_mailbox;
  adapter.mbx_v2p_mailbox |= value & IXGBE_VFMAILBOX_R2C_BITS;
  return value;
}

/** Whether one of the read-to-clear `bits` has come; uses it up. */
function ixgbevf_check_for_bit_vf(adapter: IxgbevfAdapter, bits: u32): bool {
  const value = ixgbevf_read_mailbox_vf(adapter);
  adapter.mbx_v2p_mailbox &= ~bits;
  return adapter.hw_addr != 0 && (value & bits) != 0;
}

/** Whether the PF is or was in reset. */
export function ixgbevf_check_for_rst_vf(adapter: IxgbevfAdapter): bool {
  return ixgbevf_check_for_bit_vf(adapter, IXGBE_VFMAILBOX_RSTD | IXGBE_VFMAILBOX_RSTI);
}

/** Takes the buffer; false if the PF keeps it or the device is gone. */
function ixgbevf_obtain_mbx_lock_vf(adapter: IxgbevfAdapter): bool {
  for (let tries = adapter.mbx_timeout; tries > 0 && adapter.hw_addr != 0; tries--) {
    ixgbe_write_reg(adapter, IXGBE_VFMAILBOX, IXGBE_VFMAILBOX_VFU);
    if (ixgbevf_read_mailbox_vf(adapter) & IXGBE_VFMAILBOX_VFU) return adapter.hw_addr != 0;
    udelay(IXGBE_VF_MBX_INIT_DELAY);
  }
  return false;
}

/** Sends `words` words at `msg`. */
export function ixgbevf_write_posted_mbx(adapter: IxgbevfAdapter, msg: usize, words: u32): bool {
  if (!ixgbevf_obtain_mbx_lock_vf(adapter)) return false;
  // Answers to what was asked before are nobody's.
  ixgbevf_read_mailbox_vf(adapter);
  adapter.mbx_v2p_mailbox &= IXGBE_VFMAILBOX_RSTD;
  for (let i: u32 = 0; i < words; i++) ixgbe_write_reg(adapter, IXGBE_VFMBMEM + (i << 2), load<u32>(msg + (i << 2)));
  ixgbe_write_reg(adapter, IXGBE_VFMAILBOX, IXGBE_VFMAILBOX_REQ);
  return true;
}

/** Reads `words` words of the buffer and gives it back. */
export function ixgbevf_read_mbx_vf(adapter: IxgbevfAdapter, msg: usize, words: u32): bool {
  if (!ixgbevf_obtain_mbx_lock_vf(adapter)) return false;
  for (let i: u32 = 0; i < words; i++) store<u32>(msg + (i << 2), ixgbe_read_reg(adapter, IXGBE_VFMBMEM + (i << 2)));
  ixgbe_write_reg(adapter, IXGBE_VFMAILBOX, IXGBE_VFMAILBOX_ACK);
  return adapter.hw_addr != 0;
}

/** Waits for an answer and reads it. After one that did not come the mailbox is out of order. */
export function ixgbevf_read_posted_mbx(adapter: IxgbevfAdapter, msg: usize, words: u32): bool {
  for (let tries = adapter.mbx_timeout; tries > 0 && adapter.hw_addr != 0; tries--) {
    if (ixgbevf_check_for_bit_vf(adapter, IXGBE_VFMAILBOX_PFSTS)) return ixgbevf_read_mbx_vf(adapter, msg, words);
    udelay(IXGBE_VF_MBX_INIT_DELAY);
  }
  adapter.mbx_timeout = 0;
  return false;
}
