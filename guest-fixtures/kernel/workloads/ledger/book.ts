// The ledger's records and where they are.
//
//     books | buckets | journal | accounts | version tables | root | root's copy
//
// Accounts hang in the chains of buckets, at random, so that a chain leads all over the working set. Every transaction
// moves money between two accounts and one of the accounts to another chain, and is written to the journal, whose
// records are chained by checksum. Money, accounts and the length of each chain are known at any time.
import { PAGE_BYTES, PAGE_SHIFT } from '../../generated/abi';
import { LINE_BYTES, RECORDS, SLOTS } from './page';

export const INITIAL_BALANCE: u64 = 1000;
/** Accounts in an average chain. */
export const CHAIN_LENGTH: u32 = 16;
export const PAGES_MIN: u32 = 32;

/** Where things are. Set once, before the first transaction. */
// @ts-ignore: decorator
@unmanaged export class Ledger {
  lock: u32;
  base: u32;
  pages: u32;
  /** First page of each kind, by number; books is page 0. */
  buckets_start: u32;
  journal_start: u32;
  accounts_start: u32;
  versions_start: u32;
  root_start: u32;
  mirror_start: u32;
  buckets: u32;
  journal_records: u32;
  accounts: u32;
}

export const ledger = changetype<Ledger>(memory.data(64, 64));

/** Line 1 of page 0: the state that every transaction changes. */
// @ts-ignore: decorator
@unmanaged export class Books {
  /** Number of the last transaction. */
  sequence: u64;
  /** Checksum of its journal record. */
  journal_check: u64;
  /** The check in progress: next page, and how many complete ones there were. */
  sweep_page: u32;
  epoch: u32;
  /** Money in the account pages, and accounts in the bucket pages, below sweep_page. */
  swept_money: u64;
  swept_accounts: u64;
  spare0: u64;
  spare1: u64;
  check: u64;
}

// @ts-ignore: decorator
@unmanaged export class Bucket {
  id: u32;
  count: u32;
  sequence: u64;
  /** First account of the chain, 0 if there is none. */
  first: u32;
  self: u32;
  spare0: u64;
  spare1: u64;
  spare2: u64;
  spare3: u64;
  check: u64;
}

// @ts-ignore: decorator
@unmanaged export class Account {
  id: u32;
  bucket: u32;
  balance: u64;
  /** Last transaction that moved money here. */
  sequence: u64;
  /** Next account of the chain or 0; the one before, or the bucket. */
  next: u32;
  prev: u32;
  self: u32;
  spare0: u32;
  /** Since the beginning: balance = INITIAL_BALANCE + credited - debited. */
  credited: u64;
  debited: u64;
  check: u64;
}

// @ts-ignore: decorator
@unmanaged export class JournalRecord {
  sequence: u64;
  from: u32;
  to: u32;
  amount: u64;
  from_balance: u64;
  to_balance: u64;
  /** Checksum of the record before this one. */
  previous: u64;
  self: u32;
  spare0: u32;
  check: u64;
}

// @ts-ignore: decorator
@inline export function page_address(index: u32): usize { return ledger.base + (index << PAGE_SHIFT); }
// @ts-ignore: decorator
@inline export function page_index(address: usize): u32 { return (<u32>address - ledger.base) >> PAGE_SHIFT; }
// @ts-ignore: decorator
@inline export function in_ledger(address: usize): bool { return page_index(address) < ledger.pages; }

/** Line of record `number` among those that start with page `start`. */
// @ts-ignore: decorator
@inline function record_at(start: u32, number: u32): usize {
  return page_address(start + number / RECORDS) + (1 + number % RECORDS) * LINE_BYTES;
}

// @ts-ignore: decorator
@inline export function books(): Books { return changetype<Books>(ledger.base + LINE_BYTES); }
// @ts-ignore: decorator
@inline export function bucket_at(id: u32): Bucket { return changetype<Bucket>(record_at(ledger.buckets_start, id)); }
// @ts-ignore: decorator
@inline export function account_at(id: u32): Account { return changetype<Account>(record_at(ledger.accounts_start, id)); }

/** Place of transaction `sequence` (from 1) in the journal, which is a ring. */
// @ts-ignore: decorator
@inline export function journal_at(sequence: u64): JournalRecord {
  return changetype<JournalRecord>(record_at(ledger.journal_start, <u32>((sequence - 1) % ledger.journal_records)));
}

/** Where page `index` has its version, which is a page before the version tables. */
// @ts-ignore: decorator
@inline export function table_page(index: u32): u32 { return ledger.versions_start + index / SLOTS; }

/** Divides `pages` pages from `base` among the kinds. */
export function ledger_plan(base: u32, pages: u32): void {
  let data = pages;
  let tables: u32 = 0;
  let roots: u32 = 0;
  do {
    data--;
    tables = (data + SLOTS - 1) / SLOTS;
    roots = (tables + SLOTS - 1) / SLOTS;
  } while (data + tables + 2 * roots > pages);
  const bucket_pages = max<u32>(data / (CHAIN_LENGTH + 2), 1);
  const journal_pages = max<u32>(data / 16, 1);
  const account_pages = data - 1 - bucket_pages - journal_pages;
  ledger.base = base;
  ledger.pages = data + tables + 2 * roots;
  ledger.buckets_start = 1;
  ledger.journal_start = 1 + bucket_pages;
  ledger.accounts_start = ledger.journal_start + journal_pages;
  ledger.versions_start = data;
  ledger.root_start = data + tables;
  ledger.mirror_start = data + tables + roots;
  ledger.buckets = bucket_pages * RECORDS;
  ledger.journal_records = journal_pages * RECORDS;
  ledger.accounts = account_pages * RECORDS;
}

/** Bytes of RAM that the ledger takes. */
export function ledger_bytes(): u32 {
  return ledger.pages * PAGE_BYTES;
}
