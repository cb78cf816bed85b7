// The end of a CPU.
import { CpuData, this_cpu } from '../kernel/percpu';
import { native_safe_halt } from './irqflags';

/** Whether this CPU has stopped: interrupts are then acknowledged and ignored. */
// @ts-ignore: decorator
@inline export function cpu_stopped(): bool { return this_cpu().stopped != 0; }

/** Stops this vCPU for good. It goes on taking interrupts, without handling any, so that none stays pending. */
export function stop_this_cpu(): void {
  const cpu: CpuData = this_cpu();
  cpu.stopped = 1;
  for (;;) native_safe_halt();
}
