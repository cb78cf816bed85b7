// The power device: one register that says what becomes of the machine.
import { writel } from '../../asm/io';
import { boot_params } from '../../asm/setup';
import { NotifierBlock } from '../../kernel/notifier';
import { panic_notifier_register } from '../../kernel/panic';
import { stop_this_cpu } from '../../kernel/smp';

const POWER_OFF: u32 = 1;
const POWER_RESET: u32 = 2;
const POWER_PANIC: u32 = 3;

const panic_block = changetype<NotifierBlock>(memory.data(8, 8));

/** Turns the machine off. Does not return. */
export function machine_power_off(): void {
  writel(POWER_OFF, boot_params().power_base);
  stop_this_cpu();
}

/** Asks for a reset of the machine. Does not return. */
export function machine_restart(): void {
  writel(POWER_RESET, boot_params().power_base);
  stop_this_cpu();
}

/** Reports a guest panic to the machine. */
function power_panic_event(_event: u32, _message: usize): void {
  writel(POWER_PANIC, boot_params().power_base);
}

/** Boot CPU, first of all. */
export function power_init(): void {
  panic_notifier_register(panic_block, power_panic_event);
}
