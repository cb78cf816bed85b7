// The power device: one register that says what becomes of the machine.
import { writel } from '../../arch/io';
import { stop_this_cpu } from '../../arch/process';
import { boot_params } from '../../arch/setup';

const POWER_OFF: u32 = 1;
const POWER_PANIC: u32 = 3;

/** Turns the machine off. Does not return. */
export function machine_power_off(): void {
  writel(POWER_OFF, boot_params().power_base);
  stop_this_cpu();
}

/** Reports a guest panic to the machine. */
export function machine_crash(): void {
  writel(POWER_PANIC, boot_params().power_base);
}
