// The ledger workload: a data structure that finds a single lost or stale page of its own working set, and says which.
// See page.ts for how, book.ts for what.
import { PAGE_SHIFT } from '../../generated/abi';
import { panic } from '../../kernel/panic';
import { param_flag, param_u64 } from '../../kernel/params';
import { NR_CPUS } from '../../kernel/percpu';
import { pr_info, tty_print } from '../../kernel/printk';
import { cpu_online, num_online_cpus } from '../../kernel/smp';
import { spin_lock, spin_unlock } from '../../kernel/spinlock';
import { ktime_get, per_second } from '../../kernel/time';
import { mix64 } from '../../lib/random';
import { alloc_contig_pages, nr_free_pages } from '../../mm/page_alloc';
import { kmalloc } from '../../mm/slab';
import { Pacer, pacer_account, pacer_due, pacer_init } from '../pacer';
import { start_periodic } from '../periodic';
import { status_period, tick_period, workload_seed } from '../params';
import {
  Account,
  INITIAL_BALANCE,
  PAGES_MIN,
  account_at,
  books,
  bucket_at,
  ledger,
  ledger_bytes,
  ledger_plan,
  page_address,
} from './book';
import { kind_of } from './diagnose';
import { SLOTS, page_format, slot_at } from './page';
import { sweep_page } from './sweep';
import { transaction } from './transaction';

const DEFAULT_WORKING_SET: u64 = 16 << 20;
const DEFAULT_TRANSACTIONS: u64 = 2000;
const DEFAULT_SWEEP_MS: u64 = 1000;
/** Transactions between two looks at the clock when there is no rate to keep. */
const BATCH: u32 = 16;

/** One CPU's part: its share of the transactions and of the check. */
// @ts-ignore: decorator
@unmanaged class LedgerCpu {
  transactions: Pacer;
  sweep: Pacer;
  random: u64;
  unlimited: bool;
}

// @ts-ignore: decorator
@unmanaged class LedgerStatus {
  time: u64;
  sequence: u64;
}

/**
 * Fills in all records, then seals every page. Accounts are dealt out to the chains in turn: neighbours in a chain lie
 * far apart from the start, and transactions shuffle them from there.
 */
function ledger_format(): void {
  memory.fill(ledger.base, 0, ledger_bytes());
  for (let id: u32 = 0; id < ledger.buckets; id++) {
    const bucket = bucket_at(id);
    bucket.id = id;
    bucket.self = <u32>changetype<usize>(bucket);
  }
  for (let id: u32 = 0; id < ledger.accounts; id++) {
    const account = account_at(id);
    const bucket = bucket_at(id % ledger.buckets);
    account.id = id;
    account.self = <u32>changetype<usize>(account);
    account.balance = INITIAL_BALANCE;
    account.bucket = bucket.id;
    account.prev = bucket.self;
    account.next = bucket.first;
    if (bucket.first != 0) changetype<Account>(bucket.first).prev = account.self;
    bucket.first = account.self;
    bucket.count++;
  }
  for (let index: u32 = 0; index < ledger.versions_start; index++) {
    store<u64>(slot_at(page_address(ledger.versions_start + index / SLOTS), index % SLOTS), 1);
  }
  for (let number: u32 = 0; number < ledger.root_start - ledger.versions_start; number++) {
    store<u64>(slot_at(page_address(ledger.root_start + number / SLOTS), number % SLOTS), 1);
    store<u64>(slot_at(page_address(ledger.mirror_start + number / SLOTS), number % SLOTS), 1);
  }
  for (let index: u32 = 0; index < ledger.pages; index++) page_format(page_address(index), index, kind_of(index));
}

// @ts-ignore: decorator
@inline function lock(): usize { return changetype<usize>(ledger); }

/** At most `count` transactions, one after the other. The lock is given up between them. */
function run_transactions(random: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    spin_lock(lock());
    transaction(random);
    spin_unlock(lock());
  }
}

/** Checks up to `count` pages but stops at the time `end`; returns how many. */
function run_sweep(count: u32, end: u64): u32 {
  let done: u32 = 0;
  while (done < count && ktime_get() < end) {
    spin_lock(lock());
    sweep_page();
    spin_unlock(lock());
    done++;
  }
  return done;
}

function ledger_step(context: usize): bool {
  const self = changetype<LedgerCpu>(context);
  const random = context + offsetof<LedgerCpu>('random');
  const start = ktime_get();
  const tick = tick_period();
  // A check that can't keep up may take half of the CPU, not more.
  const due = pacer_due(self.sweep, start);
  pacer_account(self.sweep, run_sweep(<u32>due, start + tick / 2));
  if (self.unlimited) {
    while (ktime_get() < start + tick) run_transactions(random, BATCH);
    return true;
  }
  const transactions = pacer_due(self.transactions, start);
  run_transactions(random, <u32>transactions);
  pacer_account(self.transactions, transactions);
  return false;
}

function ledger_status(context: usize): bool {
  const last = changetype<LedgerStatus>(context);
  const now = ktime_get();
  const sequence = books().sequence;
  const rate = per_second(sequence - last.sequence, now - last.time);
  tty_print('ledger: %u transactions/s, epoch %u, clean', rate, books().epoch);
  last.time = now;
  last.sequence = sequence;
  return false;
}

/** Working set in bytes; in company (`shared`) the plain working_set= is the other workload's. */
function working_set(shared: bool): u64 {
  const fallback = min<u64>(DEFAULT_WORKING_SET, (<u64>nr_free_pages() << PAGE_SHIFT) / 4);
  if (shared || param_flag('ledger_working_set')) return param_u64('ledger_working_set', fallback);
  return param_u64('working_set', fallback);
}

export function start_ledger(shared: bool): void {
  const bytes = working_set(shared);
  const pages = <u32>min<u64>(bytes >> PAGE_SHIFT, nr_free_pages());
  if (pages < PAGES_MIN) panic('ledger: working set of %u bytes is less than %u pages', bytes, PAGES_MIN);
  const base = alloc_contig_pages(pages);
  if (base == 0 || <u64>pages << PAGE_SHIFT < (bytes & ~4095)) {
    panic('Out of memory: ledger: working set of %u bytes does not fit %u free pages', bytes, nr_free_pages());
  }
  ledger_plan(<u32>base, pages);
  ledger_format();
  pr_info('ledger: %u accounts in %u pages at 0x%08x', ledger.accounts, ledger.pages, base);

  const vcpus = num_online_cpus();
  const transactions = param_u64('transactions', DEFAULT_TRANSACTIONS);
  const sweep_ms = max<u64>(param_u64('sweep_ms', DEFAULT_SWEEP_MS), 1);
  const sweep_rate = <f64>(<u64>ledger.pages * 1000) / <f64>sweep_ms;
  for (let cpu: u32 = 0; cpu < NR_CPUS; cpu++) {
    if (!cpu_online(cpu)) continue;
    const self = changetype<LedgerCpu>(kmalloc(offsetof<LedgerCpu>()));
    self.transactions = changetype<Pacer>(kmalloc(offsetof<Pacer>()));
    self.sweep = changetype<Pacer>(kmalloc(offsetof<Pacer>()));
    pacer_init(self.transactions, <f64>transactions / <f64>vcpus, ktime_get());
    pacer_init(self.sweep, sweep_rate / <f64>vcpus, ktime_get());
    self.random = mix64(workload_seed() ^ (<u64>(cpu + 1) << 32));
    self.unlimited = transactions == 0;
    start_periodic(cpu, 0, tick_period(), ledger_step, changetype<usize>(self));
  }
  const status = changetype<LedgerStatus>(kmalloc(offsetof<LedgerStatus>()));
  status.time = ktime_get();
  start_periodic(0, status_period(), status_period(), ledger_status, changetype<usize>(status));
}
