// Something is wrong: which page is it? The places are gone through from the root down, since each can be judged only
// by one that is known to be good.
import { panic } from '../../kernel/panic';
import { tty_print } from '../../kernel/printk';
import { str } from '../../lib/string';
import { ledger, page_address, table_page } from './book';
import {
  KIND_ACCOUNTS,
  KIND_BOOKS,
  KIND_BUCKETS,
  KIND_JOURNAL,
  KIND_ROOT,
  KIND_VERSIONS,
  LINES,
  LedgerPage,
  SLOTS,
  page_damage,
  slot_at,
} from './page';

/** What kind of page has number `index`, by the plan, whatever the page itself says. */
export function kind_of(index: u32): u32 {
  if (index == 0) return KIND_BOOKS;
  if (index < ledger.journal_start) return KIND_BUCKETS;
  if (index < ledger.accounts_start) return KIND_JOURNAL;
  if (index < ledger.versions_start) return KIND_ACCOUNTS;
  return index < ledger.root_start ? KIND_VERSIONS : KIND_ROOT;
}

function kind_name(index: u32): usize {
  const kind = kind_of(index);
  if (kind == KIND_BOOKS) return str('books');
  if (kind == KIND_BUCKETS) return str('bucket');
  if (kind == KIND_JOURNAL) return str('journal');
  if (kind == KIND_ACCOUNTS) return str('account');
  return kind == KIND_VERSIONS ? str('version table') : str('root');
}

/** Says which page is bad, and how it was found, and stops the machine. */
export function report(index: u32, expected: u64, how: string, detail: u64): void {
  const address = page_address(index);
  const found = changetype<LedgerPage>(address).version;
  tty_print('ledger: CORRUPT page 0x%08x expected version %u found %u', address, expected, found);
  tty_print(how, kind_name(index), index, detail);
  panic('ledger: page 0x%08x is corrupt', address);
}

// @ts-ignore: decorator
@inline function version_of(index: u32): u64 { return changetype<LedgerPage>(page_address(index)).version; }

/** Reports page `index` if it is damaged, or older than version `expected`. */
function judge(index: u32, expected: u64): void {
  const damage = page_damage(page_address(index));
  if (damage == 0) report(index, expected, 'ledger: %s page %u: its header is damaged', 0);
  if (damage == LINES) report(index, expected, 'ledger: %s page %u: its lines do not add up', 0);
  if (damage > 0) report(index, expected, 'ledger: %s page %u: line %u is damaged', damage);
  if (version_of(index) != expected) report(index, expected, 'ledger: %s page %u: its content is stale', 0);
}

/** Judges the root and its copy for version table page `table`; the root is `lead` versions ahead just now. */
export function diagnose_root(table: u32, lead: u64): void {
  const number = (table - ledger.versions_start) / SLOTS;
  const root = ledger.root_start + number;
  const mirror = ledger.mirror_start + number;
  const ahead = version_of(root);
  const behind = version_of(mirror) + lead;
  // A damaged one first: its version says nothing. Then the smaller version is the stale one.
  const mirror_good = page_damage(page_address(mirror)) < 0;
  judge(root, mirror_good && behind > ahead ? behind : ahead);
  judge(mirror, ahead - lead);
}

/** Judges what stands above version table page `table`, and the page itself. */
export function diagnose_table(table: u32): void {
  diagnose_root(table, 0);
  const number = table - ledger.versions_start;
  judge(table, load<u64>(slot_at(page_address(ledger.root_start + number / SLOTS), number % SLOTS)));
}

/** Judges data page `index` and all that vouches for it. Returns if all of them are good. */
export function diagnose(index: u32): void {
  const table = table_page(index);
  diagnose_table(table);
  judge(index, load<u64>(slot_at(page_address(table), index % SLOTS)));
}

/** Whether page `index`, of any kind, has the version that is kept for it elsewhere. */
export function version_current(index: u32): bool {
  const version = version_of(index);
  if (index >= ledger.mirror_start) return version == version_of(index - ledger.mirror_start + ledger.root_start);
  if (index >= ledger.root_start) return version == version_of(index - ledger.root_start + ledger.mirror_start);
  if (index >= ledger.versions_start) {
    const number = index - ledger.versions_start;
    const slot = number % SLOTS;
    return (
      version == load<u64>(slot_at(page_address(ledger.root_start + number / SLOTS), slot)) &&
      version == load<u64>(slot_at(page_address(ledger.mirror_start + number / SLOTS), slot))
    );
  }
  return version == load<u64>(slot_at(page_address(table_page(index)), index % SLOTS));
}

/** Judges page `index`, of any kind, and all that vouches for it. Returns if all of them are good. */
export function diagnose_any(index: u32): void {
  if (index < ledger.versions_start) {
    diagnose(index);
  } else if (index < ledger.root_start) {
    diagnose_table(index);
  } else {
    const roots = ledger.mirror_start - ledger.root_start;
    const number = (index - ledger.root_start) % roots;
    diagnose_root(ledger.versions_start + number * SLOTS, 0);
  }
}

/**
 * A record of page `index` says something that it can't, although its page checks out. The page to blame may be the one
 * that led here, so all are judged; only if each is good by itself it is this one, for what `how` says.
 */
export function report_record(index: u32, how: string, detail: u64): void {
  diagnose_any(index);
  for (let other: u32 = 0; other < ledger.pages; other++) diagnose_any(other);
  report(index, version_of(index), how, detail);
}
