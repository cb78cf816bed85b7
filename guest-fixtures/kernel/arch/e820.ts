// The firmware's memory map, shown.
import { e820_end, e820_start, e820_type } from '../asm/e820';
import { boot_params } from '../asm/setup';
import { MEMORY_IMAGE, MEMORY_USABLE } from '../generated/abi';
import { pr_info } from '../kernel/printk';
import { str } from '../lib/string';

function type_name(type: u32): usize {
  if (type == MEMORY_USABLE) return str('usable');
  return type == MEMORY_IMAGE ? str('kernel image') : str('reserved');
}

export function e820_print_table(): void {
  pr_info('BIOS-provided physical RAM map:');
  for (let i: u32 = 0; i < boot_params().memory_map_entries; i++) {
    pr_info('BIOS-e820: [mem 0x%016x-0x%016x] %s', e820_start(i), e820_end(i) - 1, type_name(e820_type(i)));
  }
}
