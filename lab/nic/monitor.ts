/** The monitor of a served virtual function: what its host's administrator does to it, while a guest of another VMM has it. */

import { boolean, optional, string, struct } from '../../vmm/monitor/arguments.js';
import { announceArguments, announced, rxFilterOf } from '../../vmm/monitor/network-commands.js';
import { QmpError } from '../../vmm/monitor/protocol.js';
import type { NicProcess } from '../../vmm/vfio-user/nic-process.js';
import {
  command,
  NOTHING,
  type ProcessControl,
  type ProcessMonitorAddress,
  serveProcessMonitor,
  withCommon,
} from '../monitor/process-monitor.js';

export interface NicControl extends ProcessControl {
  readonly nic: NicProcess;
}

/** The commands of a client that has negotiated. */
export const COMMANDS = withCommon<NicControl>([
  command('query-nic', NOTHING, ({ nic }) => nic.report()),
  command('query-rx-filter', NOTHING, ({ nic }) => nic.network.rxFilters().map(rxFilterOf)),
  command('set_link', struct({ name: string(64), up: boolean() }), ({ nic }, { name, up }) => {
    if (!nic.network.setLink(name, up)) throw new QmpError(`Device '${name}' not found`, 'DeviceNotFound');
  }),
  command('announce-self', announceArguments, ({ nic }, args) => announced(nic.network, args)),
  // What `ip link set PF vf 0 …` sets, by its words.
  command(
    'set-vf',
    struct({ trust: optional(boolean()), spoofchk: optional(boolean()), query_rss: optional(boolean()) }),
    ({ nic }, { trust, spoofchk, query_rss: rssQuery }) =>
      nic.setPolicy({
        ...(trust === undefined ? {} : { trusted: trust }),
        ...(spoofchk === undefined ? {} : { spoofCheck: spoofchk }),
        ...(rssQuery === undefined ? {} : { rssQuery }),
      }),
  ),
  command('reset-pf', NOTHING, ({ nic }) => nic.resetHost()),
]);

/** Serves the monitor, as `serveProcessMonitor` does. */
export const serveNicMonitor = (control: NicControl, address: ProcessMonitorAddress): Promise<() => void> =>
  serveProcessMonitor('nic', COMMANDS, control, address);
