// More than one CPU: which there are, and how they reach one another.
import { apic_send_ipi, apic_send_ipi_others } from '../asm/apic';
import { native_safe_halt } from '../asm/irqflags';
import { boot_params } from '../asm/setup';
import { RESCHEDULE_VECTOR } from '../generated/abi';
import { CpuData, per_cpu, this_cpu } from './percpu';

/** Vector on which a CPU stops for good. */
export const REBOOT_VECTOR: u32 = 0xf8;

/** States of CpuData.online. */
export const CPU_OFFLINE: u32 = 0;
export const CPU_ONLINE: u32 = 1;
export const CPU_GIVEN_UP: u32 = 2;

/** Where CpuData.online of `cpu` lies. */
// @ts-ignore: decorator
@inline export function online_word(cpu: u32): usize {
  return changetype<usize>(per_cpu(cpu)) + offsetof<CpuData>('online');
}

export function cpu_online(cpu: u32): bool {
  return atomic.load<u32>(online_word(cpu)) == CPU_ONLINE;
}

/** This CPU takes interrupts and work from now on; false if the boot CPU has stopped waiting for it. */
export function set_cpu_online(cpu: u32): bool {
  return atomic.cmpxchg<u32>(online_word(cpu), CPU_OFFLINE, CPU_ONLINE) == CPU_OFFLINE;
}

export function num_online_cpus(): u32 {
  let count: u32 = 0;
  for (let cpu: u32 = 0; cpu < boot_params().vcpus; cpu++) count += <u32>cpu_online(cpu);
  return count;
}

/** Makes `cpu` look at its work list. */
export function smp_send_reschedule(cpu: u32): void {
  apic_send_ipi(cpu, RESCHEDULE_VECTOR);
}

/** Stops all other CPUs for good. */
export function smp_send_stop(): void {
  if (boot_params().vcpus > 1) apic_send_ipi_others(REBOOT_VECTOR);
}

/** Whether this CPU has stopped: interrupts are then acknowledged and ignored. */
// @ts-ignore: decorator
@inline export function cpu_stopped(): bool { return this_cpu().stopped != 0; }

/** Stops this CPU for good. It goes on taking interrupts, without handling any, so that none stays pending. */
export function stop_this_cpu(): void {
  const cpu: CpuData = this_cpu();
  cpu.stopped = 1;
  for (;;) native_safe_halt();
}
