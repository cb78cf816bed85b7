// Entry of the vCPUs that the boot CPU starts.
import { set_cpu_online } from '../kernel/smp';
import { cpu_startup_entry } from '../kernel/sched';
import { local_irq_enable } from '../asm/irqflags';
import { stop_this_cpu } from '../kernel/smp';

export function secondary_start(cpu: u32): void {
  if (!set_cpu_online(cpu)) stop_this_cpu();
  local_irq_enable();
  cpu_startup_entry();
}
