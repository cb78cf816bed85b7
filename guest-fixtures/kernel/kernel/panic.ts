// The end: say why, stop the other CPUs, tell whoever wants to know, stop.
import { local_irq_disable } from '../asm/irqflags';
import { boot_params } from '../asm/setup';
import { scnprintf } from '../lib/vsprintf';
import { str } from '../lib/string';
import { NotifierBlock, NotifierHead, notifier_call_chain, notifier_chain_register } from './notifier';
import { this_cpu } from './percpu';
import { console_flush_on_panic, pr_emerg } from './printk';
import { smp_send_stop, stop_this_cpu } from './smp';

/** CPU number + 1 of the first CPU that panicked. */
const panic_cpu = memory.data(4, 4);
const message = memory.data(512, 16);
const panic_notifier_list = changetype<NotifierHead>(memory.data(4, 4));

/** Has `call` called when everything has been said, with interrupts off and the other CPUs stopped. */
export function panic_notifier_register(block: NotifierBlock, call: (event: u32, data: usize) => void): void {
  notifier_chain_register(panic_notifier_list, block, call);
}

/** Stops the machine with a message in printk's format. Does not return. */
export function panic(format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0): void {
  local_irq_disable();
  const cpu = this_cpu().cpu;
  if (atomic.cmpxchg<u32>(panic_cpu, 0, cpu + 1) != 0) stop_this_cpu();
  smp_send_stop();
  const length = scnprintf(message, 511, format, a, b, c, d, e, f);
  store<u8>(message + length, 0);
  console_flush_on_panic();
  pr_emerg('Kernel panic - not syncing: %S', message);
  pr_emerg('CPU: %u Command line: %S', cpu, boot_params().command_line);
  pr_emerg('---[ end Kernel panic - not syncing: %S ]---', message);
  notifier_call_chain(panic_notifier_list, 0, message);
  stop_this_cpu();
}

/** The kernel's own assertion: panics with `what` if `condition` holds. */
// @ts-ignore: decorator
@inline export function BUG_ON(condition: bool, what: string): void {
  if (condition) panic('kernel BUG: %s', str(what));
}
