/** The monitor of a served virtual function: what its host's administrator does to it, while a guest of another VMM has it. */

import { type DeviceState, STATE_NAMES } from '../../devices/vfio/states.js';
import { boolean, oneOf, optional, string, struct } from '../../vmm/monitor/arguments.js';
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

/** Bytes of a function's state in one reply, and in one command, whose message may have 1 MiB. */
const STATE_BYTES_MAX = 0x8_0000;
const STATE_CHARACTERS_MAX = Math.ceil(STATE_BYTES_MAX / 3) * 4;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

function bytesOf(data: string): Uint8Array {
  if (!BASE64.test(data)) throw new QmpError("Parameter 'data' expects base64");
  return Buffer.from(data, 'base64');
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
  command('set-present', struct({ present: boolean() }), ({ nic }, { present }) => nic.setPresent(present)),
  // VFIO's migration beside a client that does not speak it.
  command('set-state', struct({ state: oneOf(...STATE_NAMES) }), ({ nic }, { state }) =>
    nic.setState(STATE_NAMES.indexOf(state) as DeviceState),
  ),
  command('read-state', NOTHING, ({ nic }) => {
    const { bytes, end } = nic.readState(STATE_BYTES_MAX);
    return { data: Buffer.from(bytes).toString('base64'), end };
  }),
  command('write-state', struct({ data: string(STATE_CHARACTERS_MAX) }), ({ nic }, { data }) =>
    nic.writeState(bytesOf(data)),
  ),
  command('log-writes', struct({ enable: boolean() }), ({ nic }, { enable }) => nic.logWrites(enable)),
  command('tell-written', NOTHING, async ({ nic }) => ({ pages: await nic.tellWritten() })),
  command('reset-pf', NOTHING, ({ nic }) => nic.resetHost()),
]);

/** Serves the monitor, as `serveProcessMonitor` does. */
export const serveNicMonitor = (control: NicControl, address: ProcessMonitorAddress): Promise<() => void> =>
  serveProcessMonitor('nic', COMMANDS, control, address);
