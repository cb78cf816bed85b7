// More than one CPU: bringing them up and interrupting them.
import { apic_send_ipi, apic_start_cpu } from '../arch/apic';
import { stop_this_cpu } from '../arch/process';
import { boot_params } from '../arch/setup';
import { RESCHEDULE_VECTOR } from '../generated/abi';
import { str } from '../lib/string';
import { request_irq } from './irq';
import { REBOOT_VECTOR } from './panic';
import { CpuData, per_cpu, setup_per_cpu_area, this_cpu } from './percpu';
import { pr_err, pr_info } from './printk';
import { msleep } from './sched';
import { NSEC_PER_SEC, ktime_get } from './time';

/** States of CpuData.online. */
const CPU_OFFLINE: u32 = 0;
const CPU_ONLINE: u32 = 1;
const CPU_GIVEN_UP: u32 = 2;

const CPU_UP_TIMEOUT: u64 = 5 * NSEC_PER_SEC;

// @ts-ignore: decorator
@inline function online_word(cpu: u32): usize { return changetype<usize>(per_cpu(cpu)) + offsetof<CpuData>('online'); }

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

/** The sender has set need_resched or queued the work already; the interrupt ends the halt. */
function reschedule_interrupt(_data: usize): void {
  const cpu = this_cpu();
  atomic.store<u32>(changetype<usize>(cpu) + offsetof<CpuData>('need_resched'), 1);
}

function reboot_interrupt(_data: usize): void {
  stop_this_cpu();
}

/** Boot CPU: the vectors that CPUs send each other. */
export function native_smp_prepare_cpus(): void {
  request_irq(RESCHEDULE_VECTOR, reschedule_interrupt, str('reschedule'), 0);
  request_irq(REBOOT_VECTOR, reboot_interrupt, str('reboot'), 0);
}

/** Boot CPU: starts the others. One that does not come up is left out for good: which CPUs there are is settled then. */
export function smp_init(): void {
  const cpus = boot_params().vcpus;
  if (cpus > 1) pr_info('smp: Bringing up secondary CPUs ...');
  for (let cpu: u32 = 1; cpu < cpus; cpu++) {
    setup_per_cpu_area(cpu);
    apic_start_cpu(cpu);
    const deadline = ktime_get() + CPU_UP_TIMEOUT;
    while (!cpu_online(cpu) && ktime_get() < deadline) msleep(1);
    if (atomic.cmpxchg<u32>(online_word(cpu), CPU_OFFLINE, CPU_GIVEN_UP) == CPU_OFFLINE) {
      pr_err('smpboot: do_boot_cpu failed: CPU%u did not come up', cpu);
    }
  }
  pr_info('smp: Brought up 1 node, %u CPU%s', num_online_cpus(), num_online_cpus() == 1 ? str('') : str('s'));
}
