// The firmware's memory map, by the number of the entry.
import {
  MEMORY_MAP_ENTRY_BYTES,
  MEMORY_MAP_ENTRY_SIZE,
  MEMORY_MAP_ENTRY_START,
  MEMORY_MAP_ENTRY_TYPE,
} from '../generated/abi';
import { boot_params } from './setup';

// @ts-ignore: decorator
@inline function entry_at(index: u32): usize { return boot_params().memory_map + index * MEMORY_MAP_ENTRY_SIZE; }

export function e820_start(index: u32): u64 { return load<u32>(entry_at(index) + MEMORY_MAP_ENTRY_START); }

/** First address behind entry `index`. */
export function e820_end(index: u32): u64 {
  return e820_start(index) + load<u32>(entry_at(index) + MEMORY_MAP_ENTRY_BYTES);
}

/** MEMORY_USABLE, MEMORY_IMAGE or something else that is not ours. */
export function e820_type(index: u32): u32 { return load<u32>(entry_at(index) + MEMORY_MAP_ENTRY_TYPE); }
