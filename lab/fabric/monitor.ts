/** The fabric's monitor: what the network sees, asked while it runs, and phase by phase. */
import { boolean, optional, string, struct } from '../../vmm/monitor/arguments.js';
import { QmpError } from '../../vmm/monitor/protocol.js';
import {
  command,
  NOTHING,
  type ProcessControl,
  type ProcessMonitorAddress,
  serveProcessMonitor,
  withCommon,
} from '../monitor/process-monitor.js';
import { BadValue } from '../options/quantities.js';
import type { Fabric } from './fabric.js';
import { parseFlow } from './options.js';

export interface FabricControl extends ProcessControl {
  readonly fabric: Fabric;
}

/** The commands of a client that has negotiated. */
export const COMMANDS = withCommon<FabricControl>([
  command('query-report', NOTHING, ({ fabric }) => fabric.report()),
  command('next-phase', struct({ arrivals: optional(boolean()) }), ({ fabric }, { arrivals }) =>
    fabric.nextPhase({ arrivals: arrivals === true }),
  ),
  command('start-flow', struct({ flow: string(200) }), ({ fabric }, { flow }) => {
    try {
      fabric.startFlow(parseFlow(flow));
    } catch (error) {
      throw error instanceof BadValue ? new QmpError(error.message) : error;
    }
  }),
  command('stop-flows', NOTHING, ({ fabric }) => fabric.stopFlows()),
]);

/** Serves the monitor, as `serveProcessMonitor` does. */
export const serveFabricMonitor = (
  control: FabricControl,
  address: ProcessMonitorAddress,
): Promise<() => void> => serveProcessMonitor('fabric', COMMANDS, control, address);
