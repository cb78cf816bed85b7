// The paravirtual console: text in guest RAM is printed by naming it, a whole line for two register writes.
import { writel } from '../../arch/io';
import { boot_params } from '../../arch/setup';

const CONSOLE_ADDRESS: u32 = 0x04;
const CONSOLE_LENGTH: u32 = 0x08;

/** Most that one write to the length register prints. */
export const CONSOLE_WRITE_MAX: u32 = 4096;

/** Prints `length` (at most CONSOLE_WRITE_MAX) bytes at `text`. One CPU at a time: the two registers belong together. */
export function ferry_console_write(text: usize, length: u32): void {
  const base = boot_params().console_base;
  writel(<u32>text, base + CONSOLE_ADDRESS);
  writel(length, base + CONSOLE_LENGTH);
}
