// The end: say why, stop the other CPUs, tell the machine, stop.
import { apic_send_ipi_others } from '../arch/apic';
import { local_irq_disable } from '../arch/irqflags';
import { stop_this_cpu } from '../arch/process';
import { boot_params } from '../arch/setup';
import { machine_crash } from '../drivers/power/power';
import { scnprintf } from '../lib/vsprintf';
import { str } from '../lib/string';
import { this_cpu } from './percpu';
import { console_flush_on_panic, pr_emerg } from './printk';

/** Vector on which a CPU stops for good; REBOOT_VECTOR in Linux. */
export const REBOOT_VECTOR: u32 = 0xf8;

/** CPU number + 1 of the first CPU that panicked. */
const panic_cpu = memory.data(4, 4);
const message = memory.data(512, 16);

/** Stops the machine with a message in printk's format. Does not return. */
export function panic(format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0): void {
  local_irq_disable();
  const cpu = this_cpu().cpu;
  if (atomic.cmpxchg<u32>(panic_cpu, 0, cpu + 1) != 0) stop_this_cpu();
  if (boot_params().vcpus > 1) apic_send_ipi_others(REBOOT_VECTOR);
  const length = scnprintf(message, 511, format, a, b, c, d, e, f);
  store<u8>(message + length, 0);
  console_flush_on_panic();
  pr_emerg('Kernel panic - not syncing: %S', message);
  pr_emerg('CPU: %u Command line: %S', cpu, boot_params().command_line);
  pr_emerg('---[ end Kernel panic - not syncing: %S ]---', message);
  machine_crash();
  stop_this_cpu();
}

/** The kernel's own assertion: panics with `what` if `condition` holds. */
// @ts-ignore: decorator
@inline export function BUG_ON(condition: bool, what: string): void {
  if (condition) panic('kernel BUG: %s', str(what));
}
