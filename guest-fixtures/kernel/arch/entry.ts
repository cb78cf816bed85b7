// Interrupt entry: the machine calls irq_entry at a safepoint, with interrupts disabled.
import { generic_handle_irq } from '../kernel/irq';
import { cpu_stopped } from '../kernel/smp';
import { irq_enter, irq_exit } from '../kernel/softirq';

export function irq_entry(vector: u32): void {
  if (cpu_stopped()) return;
  irq_enter();
  generic_handle_irq(vector & 0xff);
  irq_exit();
}
