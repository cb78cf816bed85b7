// kmalloc: caches of equal objects, each slab a block of pages with a header before its objects; requests above the
// largest cache are whole page blocks. The page's info byte says which of the two an address belongs to.
import { PAGE_BYTES } from '../generated/abi';
import { BUG_ON, panic } from '../kernel/panic';
import { spin_lock_irqsave, spin_unlock_irqrestore } from '../kernel/spinlock';
import { INIT_LIST_HEAD, ListHead, list_add, list_del_init, list_empty } from '../lib/list';
import { MAX_ORDER, alloc_pages, free_pages, get_order, page_info } from './page_alloc';

/** Page info: a slab's page or the first page of a large block, with the block's order in the low bits. */
const PG_SLAB: u8 = 0x40;
const PG_HEAD: u8 = 0x80;
const PG_ORDER: u8 = 0x0f;

const KMALLOC_SHIFT_LOW: u32 = 5;
const KMALLOC_SHIFT_HIGH: u32 = 11;
const KMALLOC_MAX: u32 = 1 << KMALLOC_SHIFT_HIGH;

// @ts-ignore: decorator
@unmanaged class KmemCache {
  lock: u32;
  size: u32;
  order: u32;
  /** Objects of one slab. */
  objects: u32;
  /** Slabs with at least one free object. */
  partial: ListHead;
  /** Objects that somebody has. */
  active: u32;
}

/** At the start of each slab, at most 64 bytes. */
// @ts-ignore: decorator
@unmanaged class Slab extends ListHead {
  cache: KmemCache;
  /** First free object; each free object's first word points to the next. */
  free: usize;
  used: u32;
}

const SLAB_HEADER: u32 = 64;
/** Caches of 32, 64 ... 2048 bytes: 64 bytes each for the cache and its list head. */
const caches = memory.data(7 * 64, 64);

// @ts-ignore: decorator
@inline function cache_of(shift: u32): KmemCache {
  return changetype<KmemCache>(caches + (shift - KMALLOC_SHIFT_LOW) * 64);
}

export function kmem_cache_init(): void {
  for (let shift = KMALLOC_SHIFT_LOW; shift <= KMALLOC_SHIFT_HIGH; shift++) {
    const cache = cache_of(shift);
    cache.size = 1 << shift;
    // Small objects fill a page well enough; large ones share 32 KiB.
    cache.order = shift < 10 ? 0 : 3;
    cache.objects = ((PAGE_BYTES << cache.order) - max(SLAB_HEADER, cache.size)) >> shift;
    cache.partial = changetype<ListHead>(changetype<usize>(cache) + 32);
    INIT_LIST_HEAD(cache.partial);
  }
}

/** A fresh slab on the cache's partial list, or null without memory. The cache's lock is held. */
function new_slab(cache: KmemCache): Slab | null {
  const block = alloc_pages(cache.order);
  if (block == 0) return null;
  for (let page: u32 = 0; page < <u32>(1 << cache.order); page++) {
    store<u8>(page_info(block + page * PAGE_BYTES), PG_SLAB | <u8>cache.order);
  }
  const slab = changetype<Slab>(block);
  slab.cache = cache;
  slab.used = 0;
  let next: usize = 0;
  // Objects are aligned to their size: the first one lies at the header's size or its own.
  for (let i = cache.objects; i > 0; i--) {
    const object = block + max(SLAB_HEADER, cache.size) + (i - 1) * cache.size;
    store<usize>(object, next);
    next = object;
  }
  slab.free = next;
  list_add(slab, cache.partial);
  return slab;
}

function kmem_cache_alloc(cache: KmemCache): usize {
  const flags = spin_lock_irqsave(changetype<usize>(cache));
  const slab = list_empty(cache.partial) ? new_slab(cache) : changetype<Slab>(cache.partial.next);
  let object: usize = 0;
  if (slab !== null) {
    object = slab.free;
    slab.free = load<usize>(object);
    slab.used++;
    cache.active++;
    if (slab.free == 0) list_del_init(slab);
  }
  spin_unlock_irqrestore(changetype<usize>(cache), flags);
  return object;
}

function kmem_cache_free(slab: Slab, object: usize): void {
  const cache = slab.cache;
  const flags = spin_lock_irqsave(changetype<usize>(cache));
  BUG_ON(slab.used == 0, 'kfree: object is free already');
  if (slab.free == 0) list_add(slab, cache.partial);
  store<usize>(object, slab.free);
  slab.free = object;
  slab.used--;
  cache.active--;
  const empty = slab.used == 0;
  if (empty) {
    list_del_init(slab);
    for (let page: u32 = 0; page < <u32>(1 << cache.order); page++) {
      store<u8>(page_info(changetype<usize>(slab) + page * PAGE_BYTES), 0);
    }
  }
  spin_unlock_irqrestore(changetype<usize>(cache), flags);
  if (empty) free_pages(changetype<usize>(slab), cache.order);
}

/** Objects of all caches that somebody has. Larger ones are pages: see nr_free_pages. */
export function nr_slab_objects(): u32 {
  let count: u32 = 0;
  for (let shift = KMALLOC_SHIFT_LOW; shift <= KMALLOC_SHIFT_HIGH; shift++) count += cache_of(shift).active;
  return count;
}

/** Allocates `bytes`, zeroed, aligned to the next power of two; 0 without memory. */
export function try_kmalloc(bytes: u32): usize {
  let object: usize = 0;
  if (bytes <= KMALLOC_MAX) {
    const shift = bytes <= 32 ? KMALLOC_SHIFT_LOW : 32 - clz(bytes - 1);
    object = kmem_cache_alloc(cache_of(shift));
  } else if (get_order(bytes) <= MAX_ORDER) {
    object = alloc_pages(get_order(bytes));
    if (object != 0) store<u8>(page_info(object), PG_HEAD | <u8>get_order(bytes));
  }
  if (object != 0) memory.fill(object, 0, bytes);
  return object;
}

/** As try_kmalloc, for who could not go on without: panics without memory. */
export function kmalloc(bytes: u32): usize {
  const object = try_kmalloc(bytes);
  if (object == 0) panic('Out of memory: kmalloc of %u bytes failed', bytes);
  return object;
}

/** Gives back what kmalloc returned. */
export function kfree(object: usize): void {
  if (object == 0) return;
  const info = load<u8>(page_info(object));
  if (info & PG_HEAD) {
    store<u8>(page_info(object), 0);
    free_pages(object, info & PG_ORDER);
    return;
  }
  BUG_ON((info & PG_SLAB) == 0, 'kfree: address is not from kmalloc');
  const slab_bytes = PAGE_BYTES << (info & PG_ORDER);
  kmem_cache_free(changetype<Slab>(object & ~(slab_bytes - 1)), object);
}
