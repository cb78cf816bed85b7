// One transaction: money from one account to another, the payer moved to another chain, a journal record. The ledger's
// lock is held. Every step reads the line it changes anew, since one line may play several parts.
import { Account, Bucket, account_at, books, bucket_at, journal_at, ledger, page_index } from './book';
import { random_below } from '../../lib/random';
import { record_verify, record_write } from './versions';

const AMOUNT_MAX: u32 = 100;

// @ts-ignore: decorator
@inline function pair(low: u32, high: u32): u64 { return <u64>low | (<u64>high << 32); }

function bucket_write(bucket: Bucket, count: u32, first: u32, sequence: u64): void {
  record_write(changetype<usize>(bucket), pair(bucket.id, count), sequence, pair(first, bucket.self), 0, 0, 0, 0);
}

/** Changes an account's place in a chain. */
function account_link(account: Account, bucket: u32, prev: u32, next: u32): void {
  record_write(
    changetype<usize>(account), pair(account.id, bucket), account.balance, account.sequence, pair(next, prev),
    pair(account.self, account.spare0), account.credited, account.debited,
  );
}

/** Changes an account's money. */
function account_book(account: Account, sequence: u64, credit: u64, debit: u64): void {
  record_write(
    changetype<usize>(account), pair(account.id, account.bucket), account.balance + credit - debit, sequence,
    pair(account.next, account.prev), pair(account.self, account.spare0), account.credited + credit,
    account.debited + debit,
  );
}

/** Takes `account` out of its chain. */
function unlink(account: Account, sequence: u64): void {
  const line = changetype<usize>(account);
  const prev = account.prev;
  const next = account.next;
  const bucket = bucket_at(account.bucket);
  record_verify(prev, line);
  record_verify(changetype<usize>(bucket), line);
  if (prev == <u32>changetype<usize>(bucket)) {
    bucket_write(bucket, bucket.count - 1, next, sequence);
  } else {
    const before = changetype<Account>(prev);
    account_link(before, before.bucket, before.prev, next);
    bucket_write(bucket, bucket.count - 1, bucket.first, sequence);
  }
  if (next != 0) {
    record_verify(next, line);
    const after = changetype<Account>(next);
    account_link(after, after.bucket, prev, after.next);
  }
}

/** Puts `account` at the head of the chain of bucket `id`. */
function link(account: Account, id: u32, sequence: u64): void {
  const self = <u32>changetype<usize>(account);
  const bucket = bucket_at(id);
  record_verify(changetype<usize>(bucket), changetype<usize>(bucket));
  const first = bucket.first;
  if (first != 0) {
    record_verify(first, changetype<usize>(bucket));
    const head = changetype<Account>(first);
    account_link(head, head.bucket, self, head.next);
  }
  bucket_write(bucket, bucket.count + 1, self, sequence);
  account_link(account, id, <u32>changetype<usize>(bucket), first);
}

// @ts-ignore: decorator
@inline function is_swept(line: usize): bool { return page_index(line) < books().sweep_page; }

/** Executes one transaction, chosen by the random state at `random`. */
export function transaction(random: usize): void {
  const from = account_at(random_below(random, ledger.accounts));
  const to = account_at(random_below(random, ledger.accounts));
  const target = random_below(random, ledger.buckets);
  const book = books();
  record_verify(changetype<usize>(book), changetype<usize>(book));
  record_verify(changetype<usize>(from), changetype<usize>(from));
  record_verify(changetype<usize>(to), changetype<usize>(to));
  const sequence = book.sequence + 1;
  const amount = min<u64>(1 + random_below(random, AMOUNT_MAX), from.balance);
  const source = from.bucket;

  unlink(from, sequence);
  link(from, target, sequence);
  account_book(from, sequence, 0, amount);
  account_book(to, sequence, amount, 0);
  const record = journal_at(sequence);
  record_write(
    changetype<usize>(record), sequence, pair(from.id, to.id), amount, from.balance, to.balance, book.journal_check,
    pair(<u32>changetype<usize>(record), 0),
  );
  // What the check has counted already has changed behind its back.
  let money = book.swept_money;
  if (is_swept(changetype<usize>(from))) money -= amount;
  if (is_swept(changetype<usize>(to))) money += amount;
  let accounts = book.swept_accounts;
  if (is_swept(changetype<usize>(bucket_at(source)))) accounts--;
  if (is_swept(changetype<usize>(bucket_at(target)))) accounts++;
  record_write(
    changetype<usize>(book), sequence, record.check, pair(book.sweep_page, book.epoch), money, accounts, 0, 0,
  );
}
