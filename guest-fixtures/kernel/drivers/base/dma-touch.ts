// Pages that a device writes, for a host that moves this machine while it runs and sees only what CPUs store. Two things:
//
// A touch is a store by the CPU that changes nothing, so that the CPUs' dirty log has the page. Who makes it is what the host
// chooses; unless it does, nobody touches anything.
//
// Rings and posted buffers are written while they are mapped, and nobody touches them in time. So it is counted how often each
// page is mapped for writing: the host reads the counts when all devices are quiet, and takes every such page as written.
import { boot_params } from '../../asm/setup';
import { PAGE_SHIFT } from '../../generated/abi';
import { alloc_pages, get_order } from '../../mm/page_alloc';

/** The DMA layer touches what it unmaps or syncs for the CPU. */
export const DMA_TOUCH_ON_UNMAP: u32 = 1;
/** The driver touches what it has received. */
export const DMA_TOUCH_BY_DRIVER: u32 = 2;

// @ts-ignore: decorator
@unmanaged class DmaMapped {
  /** One u16 a page frame; 0 until dma_mapped_init. */
  counts: usize;
  pages: u32;
}

const mapped = changetype<DmaMapped>(memory.data(8, 8));
/** DMA_TOUCH_* bits. */
const touching = memory.data(4, 4);

/** Boot CPU, before any device is driven. */
export function dma_mapped_init(): void {
  const bytes = boot_params().ram_pages * <u32>sizeof<u16>();
  mapped.counts = alloc_pages(get_order(bytes));
  if (mapped.counts == 0) return;
  memory.fill(mapped.counts, 0, bytes);
  mapped.pages = boot_params().ram_pages;
}

/** Where the counts lie, u16 for each page frame from 0 on; 0 if there are none. */
export function dma_mapped_counts(): usize { return mapped.counts; }
/** Page frames that have one. */
export function dma_mapped_pages(): u32 { return mapped.pages; }

// @ts-ignore: decorator
@inline function last_pfn(address: usize, size: u32): u32 { return <u32>((address + max<u32>(size, 1) - 1) >> PAGE_SHIFT); }

/** `size` bytes at `address` are mapped for writing once more (1) or once less (-1). */
export function dma_mapped_add(address: usize, size: u32, change: i32): void {
  if (mapped.counts == 0) return;
  const last = last_pfn(address, size);
  for (let pfn = <u32>(address >> PAGE_SHIFT); pfn <= last; pfn++) {
    atomic.add<u16>(mapped.counts + (pfn << 1), <u16>change);
  }
}

/** Who touches from now on, or does not any more. */
export function dma_set_touching(who: u32, on: bool): void {
  if (on) atomic.or<u32>(touching, who);
  else atomic.and<u32>(touching, ~who);
}

// @ts-ignore: decorator
@inline export function dma_touching(who: u32): bool { return (load<u32>(touching) & who) != 0; }

/** One store to each page of `size` bytes at `address`, which changes nothing whoever else stores there. */
export function dma_touch(address: usize, size: u32): void {
  const last = last_pfn(address, size);
  for (let pfn = <u32>(address >> PAGE_SHIFT); pfn <= last; pfn++) {
    atomic.add<u32>(max<usize>(address, <usize>pfn << PAGE_SHIFT) & ~3, 0);
  }
}
