// The DMA API. This machine's devices see memory at its guest physical address and coherently with the CPUs, so a mapping
// costs nothing but the check that drivers keep to the rules (dma-debug): memory belongs to the device from map
// to unmap, and to the CPU in between only from sync_for_cpu to sync_for_device. What devices may write is counted, and touched
// where the host wants that: see dma-touch.
import { Device } from './device';
import { alloc_pages, free_pages, get_order } from '../../mm/page_alloc';
import {
  debug_dma_alloc_coherent,
  debug_dma_free_coherent,
  debug_dma_map,
  debug_dma_sync,
  debug_dma_unmap,
} from './dma-debug';

import { DMA_TOUCH_ON_UNMAP, dma_mapped_add, dma_touch, dma_touching } from './dma-touch';

export const DMA_BIDIRECTIONAL: u32 = 0;
export const DMA_TO_DEVICE: u32 = 1;
export const DMA_FROM_DEVICE: u32 = 2;

/** Bus addresses are guest physical ones. */
export type dma_addr_t = usize;

// @ts-ignore: decorator
@inline function touch_written(address: usize, size: u32, direction: u32): void {
  if (dma_touching(DMA_TOUCH_ON_UNMAP) && direction != DMA_TO_DEVICE) dma_touch(address, size);
}

/** It was mapped for writing: touched first, so that the host finds it in either place whenever it stops this CPU. */
function unmap_written(address: usize, size: u32, direction: u32): void {
  if (direction == DMA_TO_DEVICE) return;
  touch_written(address, size, direction);
  dma_mapped_add(address, size, -1);
}

export function dma_map_single(dev: Device, address: usize, size: u32, direction: u32): dma_addr_t {
  debug_dma_map(dev, address, size, direction);
  if (direction != DMA_TO_DEVICE) dma_mapped_add(address, size, 1);
  return address;
}

export function dma_unmap_single(dev: Device, address: dma_addr_t, size: u32, direction: u32): void {
  debug_dma_unmap(dev, address, size, direction);
  unmap_written(address, size, direction);
}

/** The CPU may read what the device wrote to `size` bytes at `address`, which lie in a mapping. */
export function dma_sync_single_for_cpu(dev: Device, address: dma_addr_t, size: u32, direction: u32): void {
  debug_dma_sync(dev, address, size, direction);
  touch_written(address, size, direction);
}

/** The device has the memory again. */
export function dma_sync_single_for_device(dev: Device, address: dma_addr_t, size: u32, direction: u32): void {
  debug_dma_sync(dev, address, size, direction);
}

/** Memory that CPU and device share, zeroed, aligned to whole pages; 0 without memory. */
export function dma_alloc_coherent(dev: Device, size: u32): usize {
  const address = alloc_pages(get_order(size));
  if (address == 0) return 0;
  memory.fill(address, 0, size);
  debug_dma_alloc_coherent(dev, address, size);
  dma_mapped_add(address, size, 1);
  return address;
}

export function dma_free_coherent(dev: Device, size: u32, address: usize): void {
  debug_dma_free_coherent(dev, address, size);
  unmap_written(address, size, DMA_BIDIRECTIONAL);
  free_pages(address, get_order(size));
}

/** Orders the read of a descriptor's ownership word before the reads of what the device wrote earlier. */
// @ts-ignore: decorator
@inline export function dma_rmb_load(word: usize): u32 { return atomic.load<u32>(word); }
