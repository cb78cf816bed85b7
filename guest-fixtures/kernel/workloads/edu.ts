// Works with the edu device: pages are filled, copied by it, checked when they arrive, and checked again later, as pages that
// somebody goes on to use. A page's content follows from its address and how often it was copied to, which is kept apart.
import { PAGE_BYTES, PAGE_SHIFT } from '../generated/abi';
import { EDU_BUFFER_BYTES, edu_copy, edu_present } from '../drivers/misc/edu';
import { panic } from '../kernel/panic';
import { param_u64 } from '../kernel/params';
import { pr_info, tty_print } from '../kernel/printk';
import { ktime_get, per_second } from '../kernel/time';
import { INIT_WORK, WorkStruct, schedule_work } from '../kernel/workqueue';
import { mix64, random_below } from '../lib/random';
import { alloc_contig_pages, alloc_pages } from '../mm/page_alloc';
import { kmalloc } from '../mm/slab';
import { Pacer, pacer_account, pacer_due, pacer_init } from './pacer';
import { status_period, tick_period, workload_seed } from './params';
import { WORD_STEP, page_stamp } from './pattern';
import { start_periodic } from './periodic';

const DEFAULT_RATE: u64 = 1000;
const DEFAULT_PAGES: u64 = 256;

// @ts-ignore: decorator
@unmanaged class EduLoad extends Pacer {
  random: u64;
  /** The page that is copied from. */
  source: usize;
  /** First of those that are copied to, and the table of how often each was: one u32 a page, 0 if its content is not known. */
  pages_at: usize;
  generations: usize;
  pages: u32;
  /** The page that is being copied to, and its generation then. */
  page: u32;
  generation: u32;
  /** Copies that arrived, and such as a device that went left undone. */
  copied: u64;
  aborted: u64;
  /** Looks at what has arrived. */
  work: WorkStruct;
  /** Of the last status. */
  time: u64;
  last: u64;
}

// @ts-ignore: decorator
@inline function page_at(self: EduLoad, page: u32): usize { return self.pages_at + (<usize>page << PAGE_SHIFT); }
// @ts-ignore: decorator
@inline function generation_at(self: EduLoad, page: u32): usize { return self.generations + (page << 2); }

function fill(at: usize, first: u64): void {
  let value = first;
  for (let word: u32 = 0; word < PAGE_BYTES; word += 8) {
    store<u64>(at + word, value);
    value += WORD_STEP;
  }
}

/** Panics if the page is not as it was copied. */
function check(self: EduLoad, page: u32): void {
  const generation = load<u32>(generation_at(self, page));
  if (generation == 0) return;
  const at = page_at(self, page);
  let value = page_stamp(at, generation);
  for (let word: u32 = 0; word < PAGE_BYTES; word += 8) {
    if (load<u64>(at + word) != value) {
      tty_print('edu: CORRUPT page 0x%08x, word %u, which was copied %u times', at, word >> 3, generation);
      panic('edu: page 0x%08x is corrupt', at);
    }
    value += WORD_STEP;
  }
}

/** The next copy, if one is due, and there is a device that is free. */
function edu_next(self: EduLoad): void {
  if (pacer_due(self, ktime_get()) == 0) return;
  const page = random_below(changetype<usize>(self) + offsetof<EduLoad>('random'), self.pages);
  const to = page_at(self, page);
  const generation = load<u32>(generation_at(self, page)) + 1;
  // The page before it may still be on its way to the device.
  if (self.generation != 0) return;
  fill(self.source, page_stamp(to, generation));
  self.page = page;
  self.generation = generation;
  store<u32>(generation_at(self, page), 0);
  if (edu_copy(to, self.source, EDU_BUFFER_BYTES, edu_copied, changetype<usize>(self))) pacer_account(self, 1);
  else {
    // No device: nothing has become of the page.
    store<u32>(generation_at(self, page), generation - 1);
    self.generation = 0;
  }
}

function edu_copied(data: usize, done: bool): void {
  const self = changetype<EduLoad>(data);
  if (done) {
    store<u32>(generation_at(self, self.page), self.generation);
    self.copied++;
  } else self.aborted++;
  self.generation = 0;
  schedule_work(self.work);
}

function edu_arrived(work: WorkStruct): void {
  const self = changetype<EduLoad>(work.data);
  check(self, self.page);
  check(self, random_below(changetype<usize>(self) + offsetof<EduLoad>('random'), self.pages));
  edu_next(self);
}

function edu_step(context: usize): bool {
  edu_next(changetype<EduLoad>(context));
  return false;
}

function edu_status(context: usize): bool {
  const self = changetype<EduLoad>(context);
  const now = ktime_get();
  const rate = per_second(self.copied - self.last, now - self.time);
  tty_print('edu: %u copies/s, %u made, %u given up, clean', rate, self.copied, self.aborted);
  self.time = now;
  self.last = self.copied;
  return false;
}

export function start_edu(): void {
  if (!edu_present()) panic('edu: no device');
  const self = changetype<EduLoad>(kmalloc(offsetof<EduLoad>()));
  const rate = param_u64('edu_rate', DEFAULT_RATE);
  pacer_init(self, <f64>rate, ktime_get());
  self.random = mix64(workload_seed());
  self.pages = max<u32>(<u32>param_u64('edu_pages', DEFAULT_PAGES), 1);
  self.source = alloc_pages(0);
  self.pages_at = alloc_contig_pages(self.pages);
  const table_pages = ((self.pages << 2) + PAGE_BYTES - 1) >> PAGE_SHIFT;
  self.generations = alloc_contig_pages(table_pages);
  if (self.source == 0 || self.pages_at == 0 || self.generations == 0) panic('Out of memory: edu: %u pages', self.pages);
  memory.fill(self.generations, 0, table_pages << PAGE_SHIFT);
  self.generation = 0;
  self.copied = 0;
  self.aborted = 0;
  self.work = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
  INIT_WORK(self.work, edu_arrived, changetype<usize>(self));
  self.time = ktime_get();
  self.last = 0;
  pr_info('edu: %u copies/s to %u pages at 0x%08x', rate, self.pages, self.pages_at);
  start_periodic(0, 0, tick_period(), edu_step, changetype<usize>(self));
  start_periodic(0, status_period(), status_period(), edu_status, changetype<usize>(self));
}
