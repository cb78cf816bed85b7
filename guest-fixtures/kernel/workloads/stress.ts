// Dirties pages at a set rate over a set working set and checks every page it comes back to. A page's whole content
// follows from its address and its generation (how often it was written); the generations are kept apart, in a table.
import { PAGE_BYTES, PAGE_SHIFT } from '../generated/abi';
import { panic } from '../kernel/panic';
import { param_flag, param_is, param_u64 } from '../kernel/params';
import { NR_CPUS } from '../kernel/percpu';
import { pr_info, tty_print } from '../kernel/printk';
import { cpu_online, num_online_cpus } from '../kernel/smp';
import { ktime_get, per_second } from '../kernel/time';
import { mix64, random_below } from '../lib/random';
import { str } from '../lib/string';
import { alloc_contig_pages, nr_free_pages } from '../mm/page_alloc';
import { kmalloc } from '../mm/slab';
import { Pacer, pacer_account, pacer_due, pacer_init } from './pacer';
import { WORD_STEP, page_stamp } from './pattern';
import { start_periodic } from './periodic';
import { status_period, tick_period, workload_seed } from './params';

const DEFAULT_DIRTY_RATE: u64 = 50 << 20;
const DEFAULT_WORKING_SET: u64 = 64 << 20;
/** Pages between two looks at the clock when there is no rate to keep. */
const BATCH: u32 = 16;

/** One CPU's part: its own pages, so that CPUs never write the same one. */
// @ts-ignore: decorator
@unmanaged class StressCpu extends Pacer {
  random: u64;
  /** First page, and the table of generations: one u32 a page. */
  pages_at: usize;
  generations: usize;
  pages: u32;
  /** Next page in sequential order. */
  next: u32;
  sequential: bool;
  unlimited: bool;
  written: u64;
}

// @ts-ignore: decorator
@unmanaged class StressStatus {
  time: u64;
  written: u64;
  pages: u32;
}

const cpus = memory.data(16, 16);

// @ts-ignore: decorator
@inline function stress_cpu(cpu: u32): StressCpu { return changetype<StressCpu>(load<u32>(cpus + (cpu << 2))); }

/** Panics, saying which page is stale: generations only grow, so the smaller one is what was lost. */
function report(page: usize, table_entry: usize, word: u32): void {
  const expected = load<u32>(table_entry);
  const first = load<u64>(page);
  let found: u32 = 0;
  // Which generation wrote this page can be found again within reason.
  for (let back: i32 = -8; back < 4096; back++) {
    const generation = <i32>expected - back;
    if (generation > 0 && page_stamp(page, generation) == first) found = generation;
  }
  const bad = found > expected ? table_entry & ~(PAGE_BYTES - 1) : page;
  const newer = max(found, expected);
  const older = min(found, expected);
  tty_print('stress: CORRUPT page 0x%08x expected generation %u found %u', bad, newer, older);
  tty_print('stress: at 0x%08x, word %u of the page at 0x%08x', page + (word << 3), word, page);
  panic('stress: page 0x%08x is corrupt', bad);
}

/** Checks the page's former content and writes its next. */
function visit(page: usize, table_entry: usize): void {
  const generation = load<u32>(table_entry);
  if (generation != 0) {
    let expected = page_stamp(page, generation);
    for (let at: u32 = 0; at < PAGE_BYTES; at += 64) {
      let wrong = load<u64>(page + at) ^ expected;
      wrong |= load<u64>(page + at, 8) ^ (expected + WORD_STEP);
      wrong |= load<u64>(page + at, 16) ^ (expected + 2 * WORD_STEP);
      wrong |= load<u64>(page + at, 24) ^ (expected + 3 * WORD_STEP);
      wrong |= load<u64>(page + at, 32) ^ (expected + 4 * WORD_STEP);
      wrong |= load<u64>(page + at, 40) ^ (expected + 5 * WORD_STEP);
      wrong |= load<u64>(page + at, 48) ^ (expected + 6 * WORD_STEP);
      wrong |= load<u64>(page + at, 56) ^ (expected + 7 * WORD_STEP);
      if (wrong != 0) report(page, table_entry, at >> 3);
      expected += 8 * WORD_STEP;
    }
  }
  let value = page_stamp(page, generation + 1);
  for (let at: u32 = 0; at < PAGE_BYTES; at += 64) {
    store<u64>(page + at, value);
    store<u64>(page + at, value + WORD_STEP, 8);
    store<u64>(page + at, value + 2 * WORD_STEP, 16);
    store<u64>(page + at, value + 3 * WORD_STEP, 24);
    store<u64>(page + at, value + 4 * WORD_STEP, 32);
    store<u64>(page + at, value + 5 * WORD_STEP, 40);
    store<u64>(page + at, value + 6 * WORD_STEP, 48);
    store<u64>(page + at, value + 7 * WORD_STEP, 56);
    value += 8 * WORD_STEP;
  }
  store<u32>(table_entry, generation + 1);
}

function dirty_pages(self: StressCpu, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    let page = self.next;
    if (self.sequential) self.next = page + 1 == self.pages ? 0 : page + 1;
    else page = random_below(changetype<usize>(self) + offsetof<StressCpu>('random'), self.pages);
    visit(self.pages_at + (<usize>page << PAGE_SHIFT), self.generations + (page << 2));
    self.written++;
  }
}

function stress_step(context: usize): bool {
  const self = changetype<StressCpu>(context);
  const start = ktime_get();
  if (self.unlimited) {
    const end = start + tick_period();
    while (ktime_get() < end) dirty_pages(self, BATCH);
    return true;
  }
  const due = pacer_due(self, start);
  dirty_pages(self, <u32>due);
  pacer_account(self, due);
  return false;
}

function stress_status(context: usize): bool {
  const last = changetype<StressStatus>(context);
  const now = ktime_get();
  let written: u64 = 0;
  for (let cpu: u32 = 0; cpu < NR_CPUS; cpu++) {
    if (cpu_online(cpu)) written += stress_cpu(cpu).written;
  }
  const rate = per_second(written - last.written, now - last.time);
  tty_print('stress: %u bytes/s dirtied, pass %u, clean', rate << PAGE_SHIFT, written / last.pages);
  last.time = now;
  last.written = written;
  return false;
}

export function start_stress(): void {
  const vcpus = num_online_cpus();
  const free = <u64>nr_free_pages() << PAGE_SHIFT;
  const working_set = param_u64('working_set', min(DEFAULT_WORKING_SET, free / 4));
  const per_cpu_pages = <u32>min<u64>(working_set / vcpus >> PAGE_SHIFT, free >> PAGE_SHIFT);
  const rate = param_u64('dirty_rate', DEFAULT_DIRTY_RATE);
  const sequential = param_is('pattern', 'sequential');
  if (param_flag('pattern') && !sequential && !param_is('pattern', 'random')) {
    panic('stress: pattern= must be random or sequential');
  }
  if (per_cpu_pages == 0) panic('stress: working_set=%u is less than a page for each CPU', working_set);
  for (let cpu: u32 = 0; cpu < NR_CPUS; cpu++) {
    if (!cpu_online(cpu)) continue;
    const self = changetype<StressCpu>(kmalloc(offsetof<StressCpu>()));
    pacer_init(self, <f64>rate / <f64>(vcpus << PAGE_SHIFT), ktime_get());
    self.random = mix64(workload_seed() + cpu);
    self.pages = per_cpu_pages;
    self.pages_at = alloc_contig_pages(per_cpu_pages);
    const table_pages = ((per_cpu_pages << 2) + PAGE_BYTES - 1) >> PAGE_SHIFT;
    self.generations = alloc_contig_pages(table_pages);
    if (self.pages_at == 0 || self.generations == 0) {
      panic('Out of memory: stress: working_set=%u does not fit %u free bytes', working_set, free);
    }
    memory.fill(self.generations, 0, table_pages << PAGE_SHIFT);
    self.sequential = sequential;
    self.unlimited = rate == 0;
    store<u32>(cpus + (cpu << 2), <u32>changetype<usize>(self));
    pr_info(
      'stress: CPU%u: %u pages at 0x%08x, generations at 0x%08x', cpu, per_cpu_pages, self.pages_at, self.generations,
    );
  }
  pr_info(
    'stress: %u bytes/s, %s, working set %u bytes', rate, sequential ? str('sequential') : str('random'),
    <u64>(per_cpu_pages * vcpus) << PAGE_SHIFT,
  );
  for (let cpu: u32 = 0; cpu < NR_CPUS; cpu++) {
    if (cpu_online(cpu)) start_periodic(cpu, 0, tick_period(), stress_step, changetype<usize>(stress_cpu(cpu)));
  }
  const status = changetype<StressStatus>(kmalloc(offsetof<StressStatus>()));
  status.time = ktime_get();
  status.pages = per_cpu_pages * vcpus;
  start_periodic(0, status_period(), status_period(), stress_status, changetype<usize>(status));
}
