// Changing a line of a page, with all that has to follow: the page's version in the version table, the table's in the
// root, the root's copy. Each is one line_write, each checks the page it changes against the next place.
import { in_ledger, ledger, page_address, page_index, table_page } from './book';
import { diagnose_root, report_record } from './diagnose';
import { LINE_BYTES, LedgerPage, SLOTS, line_intact, line_write, slot_at } from './page';

// @ts-ignore: decorator
@inline function version_field(page: usize): usize { return page + offsetof<LedgerPage>('version'); }

/** Stores `version` at `slot` of a version table or root page, by the rules of line_write. Returns the page's version. */
function slot_write(page: usize, slot: u32, version: u64, version_at: usize, lead: u64): u64 {
  const line = page + (1 + slot / 7) * LINE_BYTES;
  const word = slot % 7;
  return line_write(
    line, version_at, lead,
    word == 0 ? version : load<u64>(line),
    word == 1 ? version : load<u64>(line, 8),
    word == 2 ? version : load<u64>(line, 16),
    word == 3 ? version : load<u64>(line, 24),
    word == 4 ? version : load<u64>(line, 32),
    word == 5 ? version : load<u64>(line, 40),
    word == 6 ? version : load<u64>(line, 48),
  );
}

/** A change of page `index` was refused, or a link leads astray: names the page to blame. Does not return. */
function unexplained(index: u32): void {
  report_record(index, 'ledger: %s page %u: refused a change', 0);
}

/** Replaces the seven words of the line at `line` of a data page. Reports corruption, and then does not return. */
export function record_write(
  line: usize, w0: u64, w1: u64, w2: u64, w3: u64, w4: u64, w5: u64, w6: u64,
): void {
  const index = page_index(line);
  const table_index = table_page(index);
  const table = page_address(table_index);
  const table_number = table_index - ledger.versions_start;
  const root = page_address(ledger.root_start + table_number / SLOTS);
  const mirror = page_address(ledger.mirror_start + table_number / SLOTS);
  const slot = index % SLOTS;
  const table_slot = table_number % SLOTS;

  const version = line_write(line, slot_at(table, slot), 0, w0, w1, w2, w3, w4, w5, w6);
  if (version == 0) unexplained(index);
  const table_version = slot_write(table, slot, version, slot_at(root, table_slot), 0);
  if (table_version == 0) unexplained(table_index);
  const root_version = slot_write(root, table_slot, table_version, version_field(mirror), 0);
  if (root_version == 0) diagnose_root(table_index, 0);
  // The root is one version ahead of its copy now.
  const mirror_version = slot_write(mirror, table_slot, table_version, version_field(root), u64.MAX_VALUE);
  if (mirror_version == 0) diagnose_root(table_index, 1);
}

/** Before links in the line at `line` are followed: the line is in the ledger and intact, or its page is reported. */
export function record_verify(line: usize, from: usize): void {
  if (!in_ledger(line)) unexplained(page_index(from));
  if (!line_intact(line)) unexplained(page_index(line));
}
