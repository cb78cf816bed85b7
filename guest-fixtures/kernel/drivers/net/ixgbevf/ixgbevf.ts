// What the parts of the driver share: the adapter, its rings, register access that notices a device that is gone.
import { readl, writel } from '../../../asm/io';
import { ktime_get } from '../../../kernel/time';
import { pr_err } from '../../../kernel/printk';
import { TimerList } from '../../../kernel/timer';
import { WorkStruct, schedule_work } from '../../../kernel/workqueue';
import { NapiStruct, NetDevice } from '../../../net/core/dev';
import { PciDev } from '../../pci/pci';
import { IXGBE_VFSTATUS } from './defines';

export const IXGBEVF_DEFAULT_TXD: u32 = 1024;
export const IXGBEVF_DEFAULT_RXD: u32 = 512;
/** Bounds of either ring. */
export const IXGBEVF_MIN_DESC: u32 = 64;
export const IXGBEVF_MAX_DESC: u32 = 4096;
export const IXGBEVF_RXBUFFER_2048: u32 = 2048;

// Bits of IxgbevfAdapter.state.
export const __IXGBEVF_DOWN: u32 = 1;
export const __IXGBEVF_REMOVED: u32 = 2;
export const __IXGBEVF_RESET_REQUESTED: u32 = 4;
export const __IXGBEVF_SERVICE_INITED: u32 = 8;

// @ts-ignore: decorator
@unmanaged export class IxgbevfRing {
  desc: usize;
  count: u32;
  /** Doorbell. Written even when the device is gone: it has its own address. */
  tail: usize;
  next_to_use: u32;
  next_to_clean: u32;
  /** Packets that the device has not been told of. */
  unannounced: u32;
  /** One IxgbevfTxBuffer, or one page address (u32), for each descriptor. */
  buffer_info: usize;
  /** Since the last look of the interrupt moderation. */
  total_bytes: u32;
  total_packets: u32;
}

// @ts-ignore: decorator
@unmanaged export class IxgbevfTxBuffer {
  skb: usize;
  dma: usize;
  len: u32;
  /** The packet's last descriptor plus 1; 0 while there is no packet. */
  next_to_watch: u32;
}

// @ts-ignore: decorator
@unmanaged export class IxgbevfAdapter {
  /** 0 once the device is gone; io_addr stays. */
  hw_addr: usize;
  io_addr: usize;
  pdev: PciDev;
  netdev: NetDevice;
  /** __IXGBEVF_* bits; changed atomically. */
  state: u32;
  api_version: u32;
  /** R2C bits of VFMAILBOX that were read and not yet used. */
  mbx_v2p_mailbox: u32;
  /** Mailbox is in working order: a timeout ends that until the next reset. */
  mbx_timeout: u32;
  /** VFLINKS has to be looked at again. */
  get_link_status: bool;
  link_up: bool;
  /** What the PF's administrator wants. */
  link_state: bool;
  link_speed: u32;
  last_reset: u64;
  tx_ring: IxgbevfRing;
  rx_ring: IxgbevfRing;
  napi: NapiStruct;
  /** In units of VTEITR. */
  itr: u32;
  itr_time: u64;
  service_timer: TimerList;
  service_task: WorkStruct;
}

/** Vector of the queue pair, and of everything else. */
export const QUEUE_VECTOR: u32 = 0;
export const OTHER_VECTOR: u32 = 1;
export const NUM_MSIX_VECTORS: u32 = 2;

// @ts-ignore: decorator
@inline function state_word(adapter: IxgbevfAdapter): usize {
  return changetype<usize>(adapter) + offsetof<IxgbevfAdapter>('state');
}

/** Whether any of `bits` is set. */
export function test_state(adapter: IxgbevfAdapter, bits: u32): bool {
  return (atomic.load<u32>(state_word(adapter)) & bits) != 0;
}

/** Returns which of `bits` were set before. */
export function set_state(adapter: IxgbevfAdapter, bits: u32): u32 {
  return atomic.or<u32>(state_word(adapter), bits) & bits;
}

/** Returns which of `bits` were set before. */
export function clear_state(adapter: IxgbevfAdapter, bits: u32): u32 {
  return atomic.and<u32>(state_word(adapter), ~bits) & bits;
}

/** Has the service task run soon. */
export function ixgbevf_service_event_schedule(adapter: IxgbevfAdapter): void {
  if (test_state(adapter, __IXGBEVF_SERVICE_INITED)) schedule_work(adapter.service_task);
}

/** The device does not answer any more: from now on nobody touches it. */
export function ixgbevf_remove_adapter(adapter: IxgbevfAdapter): void {
  if (adapter.hw_addr == 0) return;
  adapter.hw_addr = 0;
  set_state(adapter, __IXGBEVF_REMOVED);
  pr_err('ixgbevf %S: Adapter removed', adapter.pdev.name);
  ixgbevf_service_event_schedule(adapter);
}

/** Reads a register. All ones may be what it holds; if VFSTATUS, which is never that, reads so too, the device is gone. */
export function ixgbe_read_reg(adapter: IxgbevfAdapter, reg: u32): u32 {
  if (adapter.hw_addr == 0) return 0xffff_ffff;
  const value = readl(adapter.hw_addr + reg);
  if (value != 0xffff_ffff) return value;
  if (reg == IXGBE_VFSTATUS || readl(adapter.hw_addr + IXGBE_VFSTATUS) == 0xffff_ffff) ixgbevf_remove_adapter(adapter);
  return value;
}

export function ixgbe_write_reg(adapter: IxgbevfAdapter, reg: u32, value: u32): void {
  if (adapter.hw_addr != 0) writel(value, adapter.hw_addr + reg);
}

// @ts-ignore: decorator
@inline export function IXGBE_WRITE_FLUSH(adapter: IxgbevfAdapter): void { ixgbe_read_reg(adapter, IXGBE_VFSTATUS); }

/** Waits without giving up the CPU. */
export function udelay(microseconds: u32): void {
  const end = ktime_get() + <u64>microseconds * 1000;
  while (ktime_get() < end) {}
}
