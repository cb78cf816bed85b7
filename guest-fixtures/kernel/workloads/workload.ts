// Which workload the command line asks for.
import { panic } from '../kernel/panic';
import { param_count, param_flag, param_items } from '../kernel/params';
import { pr_info } from '../kernel/printk';
import { start_edu } from './edu';
import { start_idle } from './idle';
import { start_ledger } from './ledger/ledger';
import { start_udp_echo } from './net/udp_echo';
import { start_udp_stream } from './net/udp_stream';
import { have_netdev } from '../net/core/dev';
import { start_resources } from './resources';
import { start_stress } from './stress';

/** How often the command line asks for the workload `name`, of which there are `unasked` if it asks for none. */
function wanted(name: string, unasked: u32 = 0): u32 {
  const count = param_flag('workload') ? param_count('workload', name) : unasked;
  if (count != 0) pr_info('Run %s as workload', changetype<usize>(name));
  return count;
}

/** Starts what `workload=` names: one workload, or several separated by commas; `idle` without any. */
export function run_init_workload(): void {
  const mixed = wanted('mixed');
  const ledger = wanted('ledger');
  const stress = wanted('stress');
  const echo = wanted('udp-echo');
  const stream = wanted('udp-stream');
  const edu = wanted('edu');
  const resources = wanted('resources');
  const idle = wanted('idle', 1);
  if (mixed + ledger + stress + echo + stream + edu + resources + idle != max<u32>(param_items('workload'), 1)) {
    panic(
      'No working workload found. Pass workload=idle, stress, ledger, edu, udp-echo, udp-stream, resources or mixed to the kernel.',
    );
  }
  // In company of memory workloads there is traffic if there is a network.
  const traffic = mixed != 0 && have_netdev();
  const dirties = mixed != 0 || stress != 0;
  if (mixed != 0 || ledger != 0) start_ledger(dirties);
  if (dirties) start_stress();
  if (traffic || stream != 0) start_udp_stream();
  if (traffic || stream != 0 || echo != 0) start_udp_echo();
  if (edu != 0) start_edu();
  if (resources != 0) start_resources();
  if (idle != 0) start_idle();
}
