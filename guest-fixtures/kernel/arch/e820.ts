// The firmware's memory map.
import {
  MEMORY_IMAGE,
  MEMORY_MAP_ENTRY_BYTES,
  MEMORY_MAP_ENTRY_SIZE,
  MEMORY_MAP_ENTRY_START,
  MEMORY_MAP_ENTRY_TYPE,
  MEMORY_USABLE,
} from '../generated/abi';
import { pr_info } from '../kernel/printk';
import { str } from '../lib/string';
import { boot_params } from './setup';

// @ts-ignore: decorator
@inline function entry_at(index: u32): usize { return boot_params().memory_map + index * MEMORY_MAP_ENTRY_SIZE; }

export function e820_start(index: u32): u64 { return load<u32>(entry_at(index) + MEMORY_MAP_ENTRY_START); }

/** First address behind entry `index`. */
export function e820_end(index: u32): u64 {
  return e820_start(index) + load<u32>(entry_at(index) + MEMORY_MAP_ENTRY_BYTES);
}

export function e820_usable(index: u32): bool {
  return load<u32>(entry_at(index) + MEMORY_MAP_ENTRY_TYPE) == MEMORY_USABLE;
}

function type_name(index: u32): usize {
  const type = load<u32>(entry_at(index) + MEMORY_MAP_ENTRY_TYPE);
  if (type == MEMORY_USABLE) return str('usable');
  return type == MEMORY_IMAGE ? str('kernel image') : str('reserved');
}

export function e820_print_table(): void {
  pr_info('BIOS-provided physical RAM map:');
  for (let i: u32 = 0; i < boot_params().memory_map_entries; i++) {
    pr_info('BIOS-e820: [mem 0x%016x-0x%016x] %s', e820_start(i), e820_end(i) - 1, type_name(i));
  }
}
