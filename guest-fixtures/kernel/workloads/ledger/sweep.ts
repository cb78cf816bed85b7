// The check: page by page through the whole ledger, over and over, while transactions go on in between. Sums over all
// pages are exact nevertheless, because each transaction corrects what was already counted. The lock is held.
import {
  Account,
  Bucket,
  INITIAL_BALANCE,
  JournalRecord,
  books,
  in_ledger,
  ledger,
  page_address,
  page_index,
} from './book';
import { diagnose_any, kind_of, report_record, version_current } from './diagnose';
import {
  KIND_ACCOUNTS,
  KIND_BUCKETS,
  KIND_JOURNAL,
  LINES,
  LINE_BYTES,
  RECORDS,
  line_intact,
  page_damage,
} from './page';
import { record_write } from './versions';

/** Money on the accounts of page `index`. */
function check_accounts(index: u32): u64 {
  const first = (index - ledger.accounts_start) * RECORDS;
  let money: u64 = 0;
  for (let line: u32 = 1; line < LINES; line++) {
    const at = page_address(index) + line * LINE_BYTES;
    const account = changetype<Account>(at);
    if (account.id != first + line - 1 || account.self != <u32>at) {
      report_record(index, 'ledger: %s page %u: record %u is not the one that belongs there', line);
    }
    if (account.balance != INITIAL_BALANCE + account.credited - account.debited) {
      report_record(index, 'ledger: %s page %u: balance of account %u is not what was booked', account.id);
    }
    money += account.balance;
  }
  return money;
}

/** Walks the chain of `bucket`: every link there and back, and the number of accounts. */
function check_chain(index: u32, bucket: Bucket): void {
  let before = <u32>changetype<usize>(bucket);
  let next = bucket.first;
  let count: u32 = 0;
  while (next != 0 && count <= bucket.count) {
    if (!in_ledger(next)) report_record(page_index(before), 'ledger: %s page %u: a link leads out, to 0x%08x', next);
    const account = changetype<Account>(next);
    if (account.prev != before || account.bucket != bucket.id) {
      report_record(page_index(next), 'ledger: %s page %u: account %u does not link back', account.id);
    }
    count++;
    before = next;
    next = account.next;
  }
  if (count != bucket.count) {
    report_record(index, 'ledger: %s page %u: chain of bucket %u has another length', bucket.id);
  }
}

/** Accounts in the chains of page `index`. */
function check_buckets(index: u32): u64 {
  const first = (index - ledger.buckets_start) * RECORDS;
  let accounts: u64 = 0;
  for (let line: u32 = 1; line < LINES; line++) {
    const at = page_address(index) + line * LINE_BYTES;
    const bucket = changetype<Bucket>(at);
    if (bucket.id != first + line - 1 || bucket.self != <u32>at) {
      report_record(index, 'ledger: %s page %u: record %u is not the one that belongs there', line);
    }
    check_chain(index, bucket);
    accounts += bucket.count;
  }
  return accounts;
}

/** Every journal record holds the last transaction that belongs in its place, chained to the one before. */
function check_journal(index: u32): void {
  const sequence = books().sequence;
  const first = (index - ledger.journal_start) * RECORDS;
  let previous: u64 = 0;
  let previous_sequence: u64 = 0;
  for (let line: u32 = 1; line < LINES; line++) {
    const record = changetype<JournalRecord>(page_address(index) + line * LINE_BYTES);
    const place = first + line; // from 1, as transactions are
    const rounds = sequence < place ? 0 : (sequence - place) / ledger.journal_records;
    const expected = sequence < place ? 0 : place + rounds * ledger.journal_records;
    if (record.sequence != expected) {
      report_record(index, 'ledger: %s page %u: transaction %u is missing', expected);
    }
    if (line > 1 && expected == previous_sequence + 1 && record.previous != previous) {
      report_record(index, 'ledger: %s page %u: the chain breaks at transaction %u', expected);
    }
    previous = record.check;
    previous_sequence = expected;
  }
}

/** Checks the next page completely, and the totals after the last one. */
export function sweep_page(): void {
  const book = books();
  if (!line_intact(changetype<usize>(book)) || !version_current(0)) diagnose_any(0);
  const index = book.sweep_page;
  if (page_damage(page_address(index)) >= 0 || !version_current(index)) diagnose_any(index);
  const kind = kind_of(index);
  let money = book.swept_money;
  let accounts = book.swept_accounts;
  if (kind == KIND_ACCOUNTS) money += check_accounts(index);
  else if (kind == KIND_BUCKETS) accounts += check_buckets(index);
  else if (kind == KIND_JOURNAL) check_journal(index);
  let next = index + 1;
  let epoch = book.epoch;
  if (next == ledger.pages) {
    if (money != INITIAL_BALANCE * ledger.accounts) {
      report_record(0, 'ledger: %s page %u: there is %u money in all', money);
    }
    if (accounts != ledger.accounts) report_record(0, 'ledger: %s page %u: there are %u accounts in all', accounts);
    next = 0;
    epoch++;
    money = 0;
    accounts = 0;
  }
  record_write(
    changetype<usize>(book), book.sequence, book.journal_check, <u64>next | (<u64>epoch << 32), money, accounts, 0, 0,
  );
}
