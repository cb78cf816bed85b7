// The kernel command line: words `name`, `name=value`, separated by blanks. The last of several equal names counts.
import { boot_params } from '../asm/setup';
import { in4_pton } from '../lib/inet';
import { bytes_equal, str_at, str_length } from '../lib/string';
import { panic } from './panic';
import { pr_warn } from './printk';

// @ts-ignore: decorator
@inline function at(index: u32): u32 { return load<u8>(boot_params().command_line + index); }

/** End of the word that starts at `start`. */
function word_end(start: u32): u32 {
  let end = start;
  while (at(end) > 0x20) end++;
  return end;
}

/** Start of the first word at or behind `from`; the NUL's place if there is none. */
function word_start(from: u32): u32 {
  let start = from;
  while (at(start) != 0 && at(start) <= 0x20) start++;
  return start;
}

/** Length of the name of the word from `start` to `end`. */
function name_length(start: u32, end: u32): u32 {
  let length: u32 = 0;
  while (start + length < end && at(start + length) != 0x3d) length++;
  return length;
}

/** Start of the last word named `name`, or -1. */
function find(name: string): i32 {
  let found = -1;
  for (let start = word_start(0); at(start) != 0; ) {
    const end = word_end(start);
    if (bytes_equal(boot_params().command_line + start, name_length(start, end), changetype<usize>(name))) {
      found = <i32>start;
    }
    start = word_start(end);
  }
  return found;
}

/** Start of the value of the word named `name` (its end is word_end), or -1 if the word or its value is missing. */
function find_value(name: string): i32 {
  const start = find(name);
  if (start < 0) return -1;
  const value = <u32>start + str_length(changetype<usize>(name)) + 1;
  return at(value - 1) == 0x3d ? <i32>value : -1;
}

/** Whether the word `name` is there. */
export function param_flag(name: string): bool {
  return find(name) >= 0;
}

/** Whether `name=value` is there. */
export function param_is(name: string, value: string): bool {
  const start = find_value(name);
  if (start < 0) return false;
  const length = word_end(<u32>start) - <u32>start;
  return bytes_equal(boot_params().command_line + <u32>start, length, changetype<usize>(value));
}

/** End of the item that starts at `start` in a list separated by commas, within a word that ends at `end`. */
function item_end(start: u32, end: u32): u32 {
  while (start < end && at(start) != 0x2c) start++;
  return start;
}

/** Items in `name=item,item,...`; 0 if the word or its value is missing. */
export function param_items(name: string): u32 {
  const start = find_value(name);
  if (start < 0) return 0;
  const end = word_end(<u32>start);
  let items: u32 = 1;
  for (let i = item_end(<u32>start, end); i < end; i = item_end(i + 1, end)) items++;
  return items;
}

/** How often `item` is in `name=item,item,...`. */
export function param_count(name: string, item: string): u32 {
  const first = find_value(name);
  if (first < 0) return 0;
  const end = word_end(<u32>first);
  let count: u32 = 0;
  // One step further than the end: a list that ends with a comma has an empty item behind it.
  for (let start = <u32>first; start <= end; ) {
    const stop = item_end(start, end);
    if (bytes_equal(boot_params().command_line + start, stop - start, changetype<usize>(item))) count++;
    start = stop + 1;
  }
  return count;
}

/** Shift of a size suffix, as memparse: K, M, G in either case; 0xff for anything else. */
function suffix_shift(char: u32): u32 {
  const lower = char | 0x20;
  if (lower == 0x6b) return 10;
  if (lower == 0x6d) return 20;
  return lower == 0x67 ? 30 : 0xff;
}

/** The number in `name=number`, with an optional suffix K, M or G; `fallback` if absent. Panics if it is no number. */
export function param_u64(name: string, fallback: u64): u64 {
  const start = find_value(name);
  if (start < 0) return fallback;
  let value: u64 = 0;
  let position = <u32>start;
  const end = word_end(position);
  for (; position < end && at(position) >= 0x30 && at(position) <= 0x39; position++) {
    value = value * 10 + (at(position) - 0x30);
  }
  const digits = position - <u32>start;
  if (position < end) {
    const shift = suffix_shift(at(position));
    if (shift != 0xff) value <<= shift;
    position += <u32>(shift != 0xff);
  }
  if (digits == 0 || digits > 18 || position != end) param_malformed(name);
  return value;
}

/** The address in `name=a.b.c.d`, as it lies in memory; `fallback` if absent. Panics if it is none. */
export function param_ipv4(name: string, fallback: u32): u32 {
  const start = find_value(name);
  if (start < 0) return fallback;
  const address = in4_pton(boot_params().command_line + <u32>start, word_end(<u32>start) - <u32>start);
  if (address < 0) param_malformed(name);
  return <u32>address;
}

/** Calls `setup` with each value of `name=value`, raw bytes, in their order: for a word that may be given several times. */
export function param_each(name: string, setup: (value: usize, length: u32) => void): void {
  for (let start = word_start(0); at(start) != 0; ) {
    const end = word_end(start);
    const word = boot_params().command_line + start;
    const length = name_length(start, end);
    if (bytes_equal(word, length, changetype<usize>(name)) && start + length < end) {
      setup(word + length + 1, end - start - length - 1);
    }
    start = word_start(end);
  }
}

/** The end of a kernel whose command line can't be followed. */
export function param_malformed(name: string): void {
  panic('Malformed kernel parameter: %s', changetype<usize>(name));
}

/** In one piece: adding strings up would need the compiler's allocator. */
const KNOWN = changetype<usize>(' agent behaviour dirty_rate dma_debug ip late_ms ledger_working_set loglevel module_blacklist pattern payload pcie_ports peer peer_port quiet rate rx_ring seed status_ms sweep_ms tick_us transactions tx_ring working_set workload ');

/** Whether the `length` bytes at `name` are one of the KNOWN names. */
function is_known(name: usize, length: u32): bool {
  const total = str_length(KNOWN);
  for (let i: u32 = 0; i + length + 1 < total; i++) {
    if (str_at(KNOWN, i) != 0x20 || str_at(KNOWN, i + length + 1) != 0x20) continue;
    let same: u32 = 0;
    while (same < length && str_at(KNOWN, i + 1 + same) == <u32>load<u8>(name + same)) same++;
    if (same == length) return true;
  }
  return false;
}

/** Says which words of the command line nobody reads. */
export function warn_unknown_params(): void {
  for (let start = word_start(0); at(start) != 0; ) {
    const end = word_end(start);
    const word = boot_params().command_line + start;
    if (!is_known(word, name_length(start, end))) {
      const after = at(end);
      store<u8>(boot_params().command_line + end, 0);
      pr_warn('Unknown kernel command line parameter "%S" is ignored', word);
      store<u8>(boot_params().command_line + end, <u8>after);
    }
    start = word_start(end);
  }
}
