// Per-CPU areas. A module variable would be a vCPU register and no other vCPU could see it, so what belongs to one CPU
// lies in memory, in pages of its own, found through the CPU number.
import { smp_processor_id } from '../asm/processor';
import { PAGE_BYTES, VCPUS_MAX } from '../generated/abi';
import { ListHead } from '../lib/list';

export const NR_CPUS: u32 = VCPUS_MAX;
export const NR_VECTORS: u32 = 256;

/** Deepest nesting of msleep on one CPU: a sleeping work item runs others, which may sleep in turn. */
export const SLEEP_DEPTH_MAX: u32 = 8;
export const PRINTK_LINE_MAX: u32 = 512;

// @ts-ignore: decorator
@unmanaged export class CpuData {
  cpu: u32;
  /** See kernel/smp; read by others, so only atomically. */
  online: u32;
  /** Nesting of interrupt handlers, and 1 while soft interrupts run: see kernel/softirq. */
  hardirq_count: u32;
  softirq_count: u32;
  softirq_pending: u32;
  /** Ends idling: work was queued by an interrupt or by another CPU. */
  need_resched: u32;
  sleep_depth: u32;
  /** 1 after stop_this_cpu. */
  stopped: u32;
  timer_lock: u32;
  timer_head: ListHead;
  /** Deadline that the hardware timer is armed for. */
  timer_armed: u64;
  work_lock: u32;
  work_head: ListHead;
  /** Network devices to be polled: see net/core/dev. */
  poll_head: ListHead;
  /** Nesting of transmit bursts. */
  xmit_more: u32;
  idle_ns: u64;
  interrupts: u64;
}

const AREA_BYTES: u32 = 2 * PAGE_BYTES;
const LISTS_AT: u32 = 512;
const SLEEPERS_AT: u32 = 1024;
const LINE_AT: u32 = 2048;
const VECTORS_AT: u32 = 4096;

const areas = memory.data(4 * 8192, 4096);

// @ts-ignore: decorator
@inline export function per_cpu(cpu: u32): CpuData { return changetype<CpuData>(areas + cpu * AREA_BYTES); }

// @ts-ignore: decorator
@inline export function this_cpu(): CpuData { return per_cpu(smp_processor_id()); }

/** Room for SLEEP_DEPTH_MAX timers of 64 bytes. */
// @ts-ignore: decorator
@inline export function cpu_sleepers(data: CpuData): usize { return changetype<usize>(data) + SLEEPERS_AT; }

/** PRINTK_LINE_MAX bytes in which printk composes a line. */
// @ts-ignore: decorator
@inline export function cpu_line(data: CpuData): usize { return changetype<usize>(data) + LINE_AT; }

/** One u32 a vector: how often it was taken on this CPU. */
// @ts-ignore: decorator
@inline export function cpu_vector_counts(data: CpuData): usize { return changetype<usize>(data) + VECTORS_AT; }

/** First thing on each CPU: its number and its list heads. */
export function setup_per_cpu_area(cpu: u32): void {
  const data = per_cpu(cpu);
  data.cpu = cpu;
  data.timer_head = changetype<ListHead>(changetype<usize>(data) + LISTS_AT);
  data.work_head = changetype<ListHead>(changetype<usize>(data) + LISTS_AT + 64);
  data.timer_head.next = data.timer_head;
  data.timer_head.prev = data.timer_head;
  data.work_head.next = data.work_head;
  data.work_head.prev = data.work_head;
  data.poll_head = changetype<ListHead>(changetype<usize>(data) + LISTS_AT + 128);
  data.poll_head.next = data.poll_head;
  data.poll_head.prev = data.poll_head;
  data.timer_armed = u64.MAX_VALUE;
}
