// Checks on users of the DMA API, as kernel/dma/debug.c: every mapping is kept in a hash by its address, and what does
// not fit what was mapped is reported, once each kind in full and afterwards only counted.
import { Device } from './device';
import { PAGE_BYTES } from '../../generated/abi';
import { alloc_pages } from '../../mm/page_alloc';
import { kmalloc } from '../../mm/slab';
import { param_is } from '../../kernel/params';
import { pr_err, pr_info, pr_warn } from '../../kernel/printk';
import { spin_lock_irqsave, spin_unlock_irqrestore } from '../../kernel/spinlock';
import { str } from '../../lib/string';

const HASH_SIZE: u32 = 1024;
/** For one device with its rings full; more are made a page at a time. */
const PREALLOC_ENTRIES: u32 = 2048;
const MAX_ENTRIES: u32 = 65536;

const DMA_DEBUG_SINGLE: u32 = 0;
const DMA_DEBUG_COHERENT: u32 = 1;

// @ts-ignore: decorator
@unmanaged class DmaDebugEntry {
  /** Next in its bucket, or on the free list. */
  next: usize;
  dev: usize;
  address: usize;
  size: u32;
  direction: u32;
  type: u32;
}

// @ts-ignore: decorator
@unmanaged class DmaDebug {
  lock: u32;
  /** HASH_SIZE words; 0 until dma_debug_init, and again once entries ran out. */
  hash: usize;
  free: usize;
  /** Entries there are, used or free, and used ones. */
  entries: u32;
  used: u32;
  errors: u32;
}

const debug = changetype<DmaDebug>(memory.data(64, 64));

// @ts-ignore: decorator
@inline function debug_lock(): usize { return changetype<usize>(debug); }
// @ts-ignore: decorator
@inline function bucket_of(address: usize): usize {
  return debug.hash + (((<u32>address >> 11) & (HASH_SIZE - 1)) << 2);
}

/** Misuses seen since boot. */
export function dma_debug_errors(): u32 { return debug.errors; }

/** Mappings there are now: what a device that is gone must not have left behind. */
export function dma_debug_mappings(): u32 { return debug.used; }

/** Puts `count` entries at `memory` on the free list. The lock is held, or not needed yet. */
function add_free_entries(memory: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const entry = changetype<DmaDebugEntry>(memory + i * offsetof<DmaDebugEntry>());
    entry.next = debug.free;
    debug.free = changetype<usize>(entry);
  }
  debug.entries += count;
}

/** Makes more entries, a page of them; without memory, or with too many, there are none. The lock is held. */
function grow_entries(): void {
  const page = debug.entries < MAX_ENTRIES ? alloc_pages(0) : 0;
  if (page != 0) add_free_entries(page, PAGE_BYTES / <u32>offsetof<DmaDebugEntry>());
}

/** Boot CPU, once, when there is a device. `dma_debug=off` does without: the checks cost several times what the API does. */
export function dma_debug_init(): void {
  if (param_is('dma_debug', 'off')) {
    pr_info('DMA-API: debugging disabled on kernel command line');
    return;
  }
  debug.hash = kmalloc(HASH_SIZE << 2);
  add_free_entries(kmalloc(PREALLOC_ENTRIES * offsetof<DmaDebugEntry>()), PREALLOC_ENTRIES);
  pr_info('DMA-API: preallocated %u debug entries', PREALLOC_ENTRIES);
  pr_info('DMA-API: debugging enabled by kernel config');
}

function direction_name(direction: u32): usize {
  if (direction == 0) return str('DMA_BIDIRECTIONAL');
  return direction == 1 ? str('DMA_TO_DEVICE') : str('DMA_FROM_DEVICE');
}

/** Counts a misuse; true for the first ones, which are to be told in full. */
function err_printk(dev: Device, what: string): bool {
  const errors = atomic.add<u32>(changetype<usize>(debug) + offsetof<DmaDebug>('errors'), 1);
  if (errors >= 16) return false;
  pr_err('DMA-API: %s %S: %s', dev.driver_name != 0 ? dev.driver_name : str('pci'), dev.name, str(what));
  return true;
}

function add_entry(dev: Device, address: usize, size: u32, direction: u32, type: u32): void {
  if (debug.hash == 0) return;
  const flags = spin_lock_irqsave(debug_lock());
  if (debug.free == 0) grow_entries();
  const entry = changetype<DmaDebugEntry>(debug.free);
  const exhausted = debug.free == 0;
  let overlap = false;
  if (exhausted) {
    debug.hash = 0;
  } else {
    const bucket = bucket_of(address);
    for (let at = load<usize>(bucket); at != 0; at = changetype<DmaDebugEntry>(at).next) {
      if (changetype<DmaDebugEntry>(at).address == address) overlap = true;
    }
    debug.free = entry.next;
    debug.used++;
    entry.dev = changetype<usize>(dev);
    entry.address = address;
    entry.size = size;
    entry.direction = direction;
    entry.type = type;
    entry.next = load<usize>(bucket);
    store<usize>(bucket, changetype<usize>(entry));
  }
  spin_unlock_irqrestore(debug_lock(), flags);
  if (exhausted) pr_warn('DMA-API: debugging out of memory - disabling');
  if (overlap && err_printk(dev, 'device driver maps memory that is mapped already')) {
    pr_err('DMA-API: [device address=0x%016x] [size=%u bytes]', address, size);
  }
}

/** Takes the mapping that starts at `address` out of the hash: its entry, for the caller to judge and release; or 0. */
function take_entry(address: usize): usize {
  let link = bucket_of(address);
  for (let at = load<usize>(link); at != 0; at = load<usize>(link)) {
    const entry = changetype<DmaDebugEntry>(at);
    if (entry.address == address) {
      store<usize>(link, entry.next);
      return at;
    }
    link = at;
  }
  return 0;
}

function remove_entry(dev: Device, address: usize, size: u32, direction: u32, type: u32): void {
  if (debug.hash == 0) return;
  const flags = spin_lock_irqsave(debug_lock());
  const found = take_entry(address);
  let mapped_size: u32 = 0;
  let mapped_direction: u32 = 0;
  let mapped_type: u32 = 0;
  let mapped_dev: usize = 0;
  if (found != 0) {
    const entry = changetype<DmaDebugEntry>(found);
    mapped_size = entry.size;
    mapped_direction = entry.direction;
    mapped_type = entry.type;
    mapped_dev = entry.dev;
    entry.next = debug.free;
    debug.free = found;
    debug.used--;
  }
  spin_unlock_irqrestore(debug_lock(), flags);
  if (found == 0 || mapped_dev != changetype<usize>(dev)) {
    if (err_printk(dev, 'device driver tries to free DMA memory it has not allocated')) {
      pr_err('DMA-API: [device address=0x%016x] [size=%u bytes]', address, size);
    }
    return;
  }
  if (mapped_type != type) {
    err_printk(dev, 'device driver frees DMA memory with wrong function');
  }
  if (mapped_size != size && err_printk(dev, 'device driver frees DMA memory with different size')) {
    pr_err('DMA-API: [device address=0x%016x] [map size=%u bytes] [unmap size=%u bytes]', address, mapped_size, size);
  }
  if (mapped_direction != direction && err_printk(dev, 'device driver frees DMA memory with different direction')) {
    pr_err(
      'DMA-API: [device address=0x%016x] [size=%u bytes] [mapped with %s] [unmapped with %s]', address, size,
      direction_name(mapped_direction), direction_name(direction),
    );
  }
}

export function debug_dma_map(dev: Device, address: usize, size: u32, direction: u32): void {
  add_entry(dev, address, size, direction, DMA_DEBUG_SINGLE);
}

export function debug_dma_unmap(dev: Device, address: usize, size: u32, direction: u32): void {
  remove_entry(dev, address, size, direction, DMA_DEBUG_SINGLE);
}

export function debug_dma_alloc_coherent(dev: Device, address: usize, size: u32): void {
  add_entry(dev, address, size, 0, DMA_DEBUG_COHERENT);
}

export function debug_dma_free_coherent(dev: Device, address: usize, size: u32): void {
  remove_entry(dev, address, size, 0, DMA_DEBUG_COHERENT);
}

/** A sync must name a mapping's start, stay within it, and go the way that it was mapped for. */
export function debug_dma_sync(dev: Device, address: usize, size: u32, direction: u32): void {
  if (debug.hash == 0) return;
  const flags = spin_lock_irqsave(debug_lock());
  let at = load<usize>(bucket_of(address));
  while (at != 0 && changetype<DmaDebugEntry>(at).address != address) at = changetype<DmaDebugEntry>(at).next;
  let mapped_size: u32 = 0;
  let mapped_direction: u32 = 0;
  if (at != 0) {
    mapped_size = changetype<DmaDebugEntry>(at).size;
    mapped_direction = changetype<DmaDebugEntry>(at).direction;
  }
  spin_unlock_irqrestore(debug_lock(), flags);
  if (at == 0) {
    if (err_printk(dev, 'device driver tries to sync DMA memory it has not allocated')) {
      pr_err('DMA-API: [device address=0x%016x] [size=%u bytes]', address, size);
    }
    return;
  }
  if (size > mapped_size && err_printk(dev, 'device driver syncs DMA memory outside allocated range')) {
    pr_err(
      'DMA-API: [device address=0x%016x] [allocation size=%u bytes] [sync size=%u]', address, mapped_size, size,
    );
  }
  if (mapped_direction != 0 && mapped_direction != direction) {
    if (err_printk(dev, 'device driver syncs DMA memory with different direction')) {
      pr_err(
        'DMA-API: [device address=0x%016x] [size=%u bytes] [mapped with %s] [synced with %s]', address, size,
        direction_name(mapped_direction), direction_name(direction),
      );
    }
  }
}
