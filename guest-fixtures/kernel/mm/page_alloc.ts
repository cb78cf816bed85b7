// The page allocator: a buddy system whose free lists are bitmaps, one per order (bit = block of that order is free).
// RAM itself is not touched: at boot only the bits of the largest blocks are set, and RAM that nobody asked for stays
// zero, as power-on left it.
import { e820_end, e820_start, e820_type } from '../asm/e820';
import { boot_params } from '../asm/setup';
import { MEMORY_USABLE, PAGE_BYTES, PAGE_SHIFT } from '../generated/abi';
import { BUG_ON, panic } from '../kernel/panic';
import { pr_info } from '../kernel/printk';
import { spin_lock_irqsave, spin_unlock_irqrestore } from '../kernel/spinlock';

/** Largest block: 4 MiB. */
export const MAX_ORDER: u32 = 10;

// @ts-ignore: decorator
@unmanaged class Zone {
  lock: u32;
  /** Page frames [0, end_pfn) have bits. */
  end_pfn: u32;
  managed_pages: u32;
  free_pages: u32;
  /** One byte a page frame: see PG_*. */
  mem_map: u32;
}

const zone = changetype<Zone>(memory.data(64, 64));
/** Per order: address of the bitmap, free blocks, word where the search for one begins. */
const free_area = memory.data(11 * 12, 64);

// @ts-ignore: decorator
@inline function area_map(order: u32): usize { return load<u32>(free_area + order * 12); }
// @ts-ignore: decorator
@inline function area_count(order: u32): usize { return free_area + order * 12 + 4; }
// @ts-ignore: decorator
@inline function area_hint(order: u32): usize { return free_area + order * 12 + 8; }

function test_block(order: u32, block: u32): bool {
  return (load<u32>(area_map(order) + ((block >> 5) << 2)) & (1 << (block & 31))) != 0;
}

function mark_free(order: u32, block: u32): void {
  const word = area_map(order) + ((block >> 5) << 2);
  store<u32>(word, load<u32>(word) | (1 << (block & 31)));
  store<u32>(area_count(order), load<u32>(area_count(order)) + 1);
  if (block >> 5 < load<u32>(area_hint(order))) store<u32>(area_hint(order), block >> 5);
}

function mark_used(order: u32, block: u32): void {
  const word = area_map(order) + ((block >> 5) << 2);
  store<u32>(word, load<u32>(word) & ~(1 << (block & 31)));
  store<u32>(area_count(order), load<u32>(area_count(order)) - 1);
}

/** The lowest free block of `order`, of which there is at least one. */
function first_free(order: u32): u32 {
  const map = area_map(order);
  let index = load<u32>(area_hint(order));
  while (load<u32>(map + (index << 2)) == 0) index++;
  store<u32>(area_hint(order), index);
  return (index << 5) + ctz(load<u32>(map + (index << 2)));
}

/** Gives back one block, merged with its buddies as far as they are free. */
function free_block(block: u32, order: u32): void {
  zone.free_pages += 1 << order;
  while (order < MAX_ORDER && test_block(order, block ^ 1)) {
    mark_used(order, block ^ 1);
    block >>= 1;
    order++;
  }
  mark_free(order, block);
}

/** Gives back page frames [start, end) in the largest aligned blocks. */
function free_range(start: u32, end: u32): void {
  while (start < end) {
    let order = start == 0 ? MAX_ORDER : min<u32>(ctz(start), MAX_ORDER);
    while (start + (1 << order) > end) order--;
    free_block(start >> order, order);
    start += 1 << order;
  }
}

/** The smallest order whose blocks hold `bytes`. */
// @ts-ignore: decorator
@inline export function get_order(bytes: u32): u32 {
  return bytes <= PAGE_BYTES ? 0 : 32 - clz((bytes - 1) >> PAGE_SHIFT);
}

/**
 * Allocates 2^order pages, aligned to their size; their content is whatever was there. Returns the address, 0 if there
 * is no such block.
 */
export function alloc_pages(order: u32): usize {
  const flags = spin_lock_irqsave(changetype<usize>(zone));
  let from = order;
  while (from <= MAX_ORDER && load<u32>(area_count(from)) == 0) from++;
  let block: u32 = 0;
  if (from <= MAX_ORDER) {
    block = first_free(from);
    mark_used(from, block);
    while (from > order) {
      from--;
      block <<= 1;
      mark_free(from, block + 1);
    }
    zone.free_pages -= 1 << order;
  }
  spin_unlock_irqrestore(changetype<usize>(zone), flags);
  return (<usize>block << order) << PAGE_SHIFT;
}

/** Gives back what alloc_pages(order) returned. */
export function free_pages(address: usize, order: u32): void {
  const pfn = <u32>(address >> PAGE_SHIFT);
  BUG_ON((address & (PAGE_BYTES - 1)) != 0 || (pfn & ((1 << order) - 1)) != 0, 'free_pages: misaligned block');
  const flags = spin_lock_irqsave(changetype<usize>(zone));
  for (let above = order; above <= MAX_ORDER; above++) {
    BUG_ON(test_block(above, pfn >> above), 'free_pages: block is free already');
  }
  free_block(pfn >> order, order);
  spin_unlock_irqrestore(changetype<usize>(zone), flags);
}

/** Allocates `count` pages in one piece, however many. Returns the address, 0 if there is no such piece. */
export function alloc_contig_pages(count: u32): usize {
  const blocks = (count + (1 << MAX_ORDER) - 1) >> MAX_ORDER;
  const flags = spin_lock_irqsave(changetype<usize>(zone));
  const end = zone.end_pfn >> MAX_ORDER;
  let run: u32 = 0;
  let block: u32 = 0;
  for (; block < end && run < blocks; block++) run = test_block(MAX_ORDER, block) ? run + 1 : 0;
  let start: u32 = 0;
  if (run == blocks) {
    for (let i = block - blocks; i < block; i++) mark_used(MAX_ORDER, i);
    start = (block - blocks) << MAX_ORDER;
    zone.free_pages -= blocks << MAX_ORDER;
    free_range(start + count, block << MAX_ORDER);
  }
  spin_unlock_irqrestore(changetype<usize>(zone), flags);
  return <usize>start << PAGE_SHIFT;
}

/** Gives back what alloc_contig_pages(count) returned. */
export function free_contig_pages(address: usize, count: u32): void {
  const flags = spin_lock_irqsave(changetype<usize>(zone));
  free_range(<u32>(address >> PAGE_SHIFT), <u32>(address >> PAGE_SHIFT) + count);
  spin_unlock_irqrestore(changetype<usize>(zone), flags);
}

/** Free pages now. */
export function nr_free_pages(): u32 {
  return zone.free_pages;
}

/** The byte that describes the page at `address` to whoever allocated it (mm/slab). */
// @ts-ignore: decorator
@inline export function page_info(address: usize): usize { return <usize>zone.mem_map + (address >> PAGE_SHIFT); }

/** Frees the part of [start, end) that lies outside [hole_start, hole_end). All in page frames. */
function free_around(start: u32, end: u32, hole_start: u32, hole_end: u32): void {
  if (start < min(end, hole_start)) free_range(start, min(end, hole_start));
  if (max(start, hole_end) < end) free_range(max(start, hole_end), end);
}

/** Boot: puts the allocator's maps behind the kernel's data and frees all other usable RAM. */
export function mem_init(): void {
  const boot = boot_params();
  const pages = boot.ram_pages;
  // RAM is zero at power-on, so the maps start out right without being written.
  let next = (boot.data_end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
  zone.end_pfn = pages;
  for (let order: u32 = 0; order <= MAX_ORDER; order++) {
    store<u32>(free_area + order * 12, next);
    next += (((pages >> order) + 63) >> 5) << 2;
  }
  zone.mem_map = next;
  next = (next + pages + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
  const image_start = boot.image >> PAGE_SHIFT;
  const image_end = (boot.image + boot.image_bytes + PAGE_BYTES - 1) >> PAGE_SHIFT;
  const kernel_end = next >> PAGE_SHIFT;
  for (let i: u32 = 0; i < boot.memory_map_entries; i++) {
    if (e820_type(i) != MEMORY_USABLE) continue;
    const start = max<u32>(<u32>((e820_start(i) + PAGE_BYTES - 1) >> PAGE_SHIFT), kernel_end);
    const end = min<u32>(<u32>(e820_end(i) >> PAGE_SHIFT), pages);
    if (start < end) free_around(start, end, image_start, image_end);
  }
  zone.managed_pages = zone.free_pages;
  if (zone.free_pages == 0) panic('Out of memory: no usable RAM in the memory map');
  const kib_shift = PAGE_SHIFT - 10;
  pr_info(
    'Memory: %uK/%uK available (%uK kernel data, %uK reserved)',
    zone.free_pages << kib_shift, pages << kib_shift, next >> 10, (pages - zone.free_pages) << kib_shift,
  );
}
