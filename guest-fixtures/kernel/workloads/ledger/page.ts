// Pages of the ledger, and how one of them can be known to be stale.
//
// A page is a header line and 63 record lines of 64 bytes. Each line ends with a checksum over its other seven words
// and its own address, so that no byte lies outside a checksum and no line can pass for another. The header holds the
// sum of the lines' checksums and the page's version, which grows by one with each change.
//
// An older copy of a page passes all of that. So the version of each page is kept in a version table as well, in another
// page; the version of each version table page in the root, a third; and the root exists twice. Versions only grow:
// where two copies of one disagree, the page that holds the smaller one is the stale one.
import { PAGE_BYTES } from '../../generated/abi';

export const LINE_BYTES: u32 = 64;
export const LINES: u32 = PAGE_BYTES / LINE_BYTES;
/** Record lines of a page. */
export const RECORDS: u32 = LINES - 1;
/** Versions in one page of a version table or root: seven a line. */
export const SLOTS: u32 = RECORDS * 7;

export const KIND_BOOKS: u32 = 1;
export const KIND_BUCKETS: u32 = 2;
export const KIND_JOURNAL: u32 = 3;
export const KIND_ACCOUNTS: u32 = 4;
export const KIND_VERSIONS: u32 = 5;
export const KIND_ROOT: u32 = 6;

export const PAGE_MAGIC: u32 = 0x5247_444c; // "LDGR"

/** Line 0 of a page. */
// @ts-ignore: decorator
@unmanaged export class LedgerPage {
  magic: u32;
  kind: u32;
  /** The page's own address and number. */
  self: u32;
  index: u32;
  version: u64;
  /** Sum of the checksums of lines 1 to 63. */
  sum: u64;
  spare0: u64;
  spare1: u64;
  spare2: u64;
  check: u64;
}

const CHECK_SALT: u64 = 0x6c65_6467_6572_2131;
const CHECK_PRIME: u64 = 0x9fb2_1c65_1e98_df25;
/** Offset of a line's checksum. */
export const CHECK_AT: u32 = 56;

// @ts-ignore: decorator
@inline function absorb(check: u64, word: u64): u64 {
  const product = (check ^ word) * CHECK_PRIME;
  return product ^ (product >> 32);
}

/** Checksum of the seven words `w0` to `w6` at the address `line`. Changing any one word always changes it. */
// @ts-ignore: decorator
@inline export function words_check(line: usize, w0: u64, w1: u64, w2: u64, w3: u64, w4: u64, w5: u64, w6: u64): u64 {
  return absorb(absorb(absorb(absorb(absorb(absorb(absorb(CHECK_SALT + <u64>line, w0), w1), w2), w3), w4), w5), w6);
}

/** Checksum of the line at `line` as it is. */
// @ts-ignore: decorator
@inline export function line_check(line: usize): u64 {
  return words_check(
    line, load<u64>(line), load<u64>(line, 8), load<u64>(line, 16), load<u64>(line, 24), load<u64>(line, 32),
    load<u64>(line, 40), load<u64>(line, 48),
  );
}

// @ts-ignore: decorator
@inline export function line_intact(line: usize): bool { return load<u64>(line, CHECK_AT) == line_check(line); }

// @ts-ignore: decorator
@inline export function page_of(line: usize): LedgerPage { return changetype<LedgerPage>(line & ~(PAGE_BYTES - 1)); }

/** Address of slot `slot` of a version table or root page. */
// @ts-ignore: decorator
@inline export function slot_at(page: usize, slot: u32): usize {
  return page + (1 + slot / 7) * LINE_BYTES + (slot % 7) * 8;
}

/**
 * Replaces the line at `line`, raises its page's version and returns it; 0 if the line, the page's header or its
 * version is not as it should be, and then nothing is changed. The version has to be the one at `version_at` plus `lead`.
 *
 * The body has no call and no loop, hence no safepoint: this vCPU can't be stopped and moved between the comparison and
 * the last store. A page that went stale during a stop is therefore found here, and never overwritten with a version
 * that looks right.
 */
export function line_write(
  line: usize, version_at: usize, lead: u64,
  w0: u64, w1: u64, w2: u64, w3: u64, w4: u64, w5: u64, w6: u64,
): u64 {
  const page = page_of(line);
  const header = changetype<usize>(page);
  const old = load<u64>(line, CHECK_AT);
  const version = page.version;
  if (version != load<u64>(version_at) + lead || old != line_check(line) || !line_intact(header)) return 0;
  const check = words_check(line, w0, w1, w2, w3, w4, w5, w6);
  store<u64>(line, w0);
  store<u64>(line, w1, 8);
  store<u64>(line, w2, 16);
  store<u64>(line, w3, 24);
  store<u64>(line, w4, 32);
  store<u64>(line, w5, 40);
  store<u64>(line, w6, 48);
  store<u64>(line, check, CHECK_AT);
  page.version = version + 1;
  page.sum = page.sum + check - old;
  page.check = line_check(header);
  return version + 1;
}

/** First line of the page at `address` that fails its checksum, LINES if only the sum is wrong, -1 if all is well. */
export function page_damage(address: usize): i32 {
  const page = changetype<LedgerPage>(address);
  if (!line_intact(address) || page.magic != PAGE_MAGIC || page.self != <u32>address) return 0;
  let sum: u64 = 0;
  for (let line: u32 = 1; line < LINES; line++) {
    const at = address + line * LINE_BYTES;
    const check = line_check(at);
    if (check != load<u64>(at, CHECK_AT)) return line;
    sum += check;
  }
  return sum == page.sum ? -1 : LINES;
}

/** Start: gives the page at `address` its header and all its lines their checksums, as version 1. */
export function page_format(address: usize, index: u32, kind: u32): void {
  const page = changetype<LedgerPage>(address);
  page.magic = PAGE_MAGIC;
  page.kind = kind;
  page.self = <u32>address;
  page.index = index;
  page.version = 1;
  page.spare0 = 0;
  page.spare1 = 0;
  page.spare2 = 0;
  let sum: u64 = 0;
  for (let line: u32 = 1; line < LINES; line++) {
    const at = address + line * LINE_BYTES;
    const check = line_check(at);
    store<u64>(at, check, CHECK_AT);
    sum += check;
  }
  page.sum = sum;
  page.check = line_check(address);
}
