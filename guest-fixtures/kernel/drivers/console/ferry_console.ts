// The paravirtual console: text in guest RAM is printed by naming it, a whole line for two register writes.
import { writel } from '../../asm/io';
import { boot_params } from '../../asm/setup';
import { register_console } from '../../kernel/printk';

const CONSOLE_ADDRESS: u32 = 0x04;
const CONSOLE_LENGTH: u32 = 0x08;

/** One CPU at a time, which holds the console: the two registers belong together. */
function ferry_console_write(text: usize, length: u32): void {
  const base = boot_params().console_base;
  writel(<u32>text, base + CONSOLE_ADDRESS);
  writel(length, base + CONSOLE_LENGTH);
}

/** Boot CPU, first of all. */
export function ferry_console_init(): void {
  register_console(ferry_console_write);
}
