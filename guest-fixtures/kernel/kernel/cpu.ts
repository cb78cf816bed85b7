// Bringing CPUs up.
import { apic_start_cpu } from '../asm/apic';
import { boot_params } from '../asm/setup';
import { RESCHEDULE_VECTOR } from '../generated/abi';
import { str } from '../lib/string';
import { request_irq } from './irq';
import { CpuData, setup_per_cpu_area, this_cpu } from './percpu';
import { pr_err, pr_info } from './printk';
import { msleep } from './sched';
import {
  CPU_GIVEN_UP,
  CPU_OFFLINE,
  REBOOT_VECTOR,
  cpu_online,
  num_online_cpus,
  online_word,
  stop_this_cpu,
} from './smp';
import { NSEC_PER_SEC, ktime_get } from './time';

const CPU_UP_TIMEOUT: u64 = 5 * NSEC_PER_SEC;

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
