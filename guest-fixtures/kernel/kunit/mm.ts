import { boot_params } from '../asm/setup';
import { PAGE_BYTES } from '../generated/abi';
import { random_below } from '../lib/random';
import {
  MAX_ORDER,
  alloc_contig_pages,
  alloc_pages,
  free_contig_pages,
  free_pages,
  nr_free_pages,
} from '../mm/page_alloc';
import { kfree, kmalloc } from '../mm/slab';
import { expect } from './test';

const state = memory.data(8, 8);
const SLOTS: u32 = 256;
const slots = memory.data(256 * 8, 8);

function test_page_alloc(): void {
  const before = nr_free_pages();
  const one = alloc_pages(0);
  const block = alloc_pages(5);
  expect(one >= boot_params().data_end && (one & (PAGE_BYTES - 1)) == 0, 'page_alloc: pages lie above the kernel');
  expect((block & ((PAGE_BYTES << 5) - 1)) == 0, 'page_alloc: blocks are aligned to their size');
  expect(nr_free_pages() == before - 33, 'page_alloc: allocated pages are counted');
  free_pages(one, 0);
  free_pages(block, 5);
  expect(nr_free_pages() == before, 'page_alloc: freed pages are counted');

  let largest: u32 = 0;
  while (alloc_pages(MAX_ORDER) != 0) largest++;
  let rest: u32 = 0;
  while (alloc_pages(0) != 0) rest++;
  expect((largest << MAX_ORDER) + rest == before && nr_free_pages() == 0, 'page_alloc: every page can be allocated');
  expect(alloc_pages(0) == 0 && alloc_contig_pages(1) == 0, 'page_alloc: 0 without memory');
}

function test_contig(): void {
  const before = nr_free_pages();
  const pages: u32 = 2500;
  const range = alloc_contig_pages(pages);
  expect(range != 0 && nr_free_pages() == before - pages, 'page_alloc: long ranges take what they need');
  const other = alloc_contig_pages(pages);
  const bytes = pages * PAGE_BYTES;
  expect(other >= range + bytes || range >= other + bytes, 'page_alloc: long ranges are disjoint');
  free_contig_pages(range, pages);
  free_contig_pages(other, pages);
  expect(nr_free_pages() == before, 'page_alloc: long ranges come back');
  const first = alloc_pages(MAX_ORDER);
  expect(first != 0, 'page_alloc: freed neighbours merge into large blocks');
  free_pages(first, MAX_ORDER);
}

/** Random kmalloc and kfree; every object is filled with its own byte and checked before it is freed. */
function test_slab(): void {
  const before = nr_free_pages();
  let intact = true;
  let aligned = true;
  let zeroed = true;
  for (let round: u32 = 0; round < 4000; round++) {
    const slot = slots + (random_below(state, SLOTS) << 3);
    const object = load<u32>(slot);
    const size = load<u32>(slot, 4);
    if (object != 0) {
      for (let i: u32 = 0; i < size; i++) if (load<u8>(object + i) != <u8>(object >> 5)) intact = false;
      kfree(object);
      store<u32>(slot, 0);
      continue;
    }
    const bytes: u32 = 1 + random_below(state, 1 << (3 + random_below(state, 11)));
    const fresh = kmalloc(bytes);
    const alignment: u32 = bytes <= 32 ? 32 : bytes >= 4096 ? 4096 : 1 << (32 - clz(bytes - 1));
    if ((fresh & (alignment - 1)) != 0) aligned = false;
    for (let i: u32 = 0; i < bytes; i++) if (load<u8>(fresh + i) != 0) zeroed = false;
    memory.fill(fresh, <u8>(fresh >> 5), bytes);
    store<u32>(slot, <u32>fresh);
    store<u32>(slot, bytes, 4);
  }
  for (let i: u32 = 0; i < SLOTS; i++) {
    kfree(load<u32>(slots + (i << 3)));
    store<u32>(slots + (i << 3), 0);
  }
  expect(intact, 'slab: objects keep their content until they are freed');
  expect(aligned, 'slab: objects are aligned to their size');
  expect(zeroed, 'slab: objects are zeroed');
  expect(nr_free_pages() == before, 'slab: empty slabs are given back');
}

export function test_mm(): void {
  store<u64>(state, 7);
  test_contig();
  test_slab();
}

/** Leaves no memory, so it comes last. */
export function test_mm_exhaustion(): void {
  test_page_alloc();
}

/** For the test that this ends in a panic. */
export function free_twice(): void {
  const page = alloc_pages(0);
  free_pages(page, 0);
  free_pages(page, 0);
}

/** Likewise. */
export function kfree_foreign(): void {
  kfree(alloc_pages(0) + 64);
}
