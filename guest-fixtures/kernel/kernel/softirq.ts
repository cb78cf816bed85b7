// Soft interrupts: what an interrupt handler puts off until interrupts are enabled again. They run at the end of the
// outermost handler, or from the idle loop, one at a time per CPU, and must not sleep.
import { local_irq_disable, local_irq_enable, local_irq_restore, local_irq_save } from '../asm/irqflags';
import { this_cpu } from './percpu';

export const TIMER_SOFTIRQ: u32 = 0;
export const NET_TX_SOFTIRQ: u32 = 1;
export const NET_RX_SOFTIRQ: u32 = 2;
export const NR_SOFTIRQS: u32 = 3;

/** Rounds before the rest is left to the idle loop, so that a flood can't keep everything else from running. */
const MAX_SOFTIRQ_RESTART = 10;

// @ts-ignore: decorator
@unmanaged class SoftirqAction {
  action: () => void;
}

const softirq_vec = memory.data(64);

// @ts-ignore: decorator
@inline function softirq_action(nr: u32): SoftirqAction { return changetype<SoftirqAction>(softirq_vec + (nr << 2)); }

export function open_softirq(nr: u32, action: () => void): void {
  softirq_action(nr).action = action;
}

/** Marks `nr` pending on this CPU. */
export function raise_softirq(nr: u32): void {
  const flags = local_irq_save();
  const cpu = this_cpu();
  cpu.softirq_pending |= 1 << nr;
  local_irq_restore(flags);
}

export function in_interrupt(): bool {
  const cpu = this_cpu();
  return cpu.hardirq_count != 0 || cpu.softirq_count != 0;
}

/** Runs what is pending. Called with interrupts disabled, returns with interrupts disabled. */
function __do_softirq(): void {
  const cpu = this_cpu();
  cpu.softirq_count = 1;
  for (let round = 0; round < MAX_SOFTIRQ_RESTART; round++) {
    const pending = cpu.softirq_pending;
    if (pending == 0) break;
    cpu.softirq_pending = 0;
    local_irq_enable();
    for (let nr: u32 = 0; nr < NR_SOFTIRQS; nr++) {
      if (pending & (1 << nr)) softirq_action(nr).action();
    }
    local_irq_disable();
  }
  cpu.softirq_count = 0;
}

/** Task context: runs pending soft interrupts, if any. */
export function do_softirq(): void {
  if (in_interrupt()) return;
  const flags = local_irq_save();
  if (this_cpu().softirq_pending != 0) __do_softirq();
  local_irq_restore(flags);
}

export function irq_enter(): void {
  const cpu = this_cpu();
  cpu.hardirq_count++;
  cpu.interrupts++;
}

/** End of a handler: the outermost one runs the soft interrupts that it raised. */
export function irq_exit(): void {
  const cpu = this_cpu();
  cpu.hardirq_count--;
  if (cpu.hardirq_count == 0 && cpu.softirq_count == 0 && cpu.softirq_pending != 0) __do_softirq();
}
