/**
 * The fabric's monitor: QMP's wire format, so that any QMP client can ask what the network sees, while it runs and phase
 * by phase. Commands are answered at once, in their order.
 */
import { Socket } from 'node:net';
import { boolean, optional, type Shape, string, struct } from '../../vmm/monitor/arguments.js';
import { MonitorListener, serveClient } from '../../vmm/monitor/listener.js';
import { Monitor, type MonitorCommands } from '../../vmm/monitor/monitor.js';
import { notFound, QmpError } from '../../vmm/monitor/protocol.js';
import { parseSocketAddress, type SocketAddress } from '../../vmm/sockets/address.js';
import { VERSION } from '../../vmm/version.js';
import { BadValue } from '../options/quantities.js';
import type { Fabric } from './fabric.js';
import { parseFlow } from './options.js';

/** Where a monitor is: at an address, or at a descriptor whose other end the fabric belongs to. */
export type FabricMonitorAddress = SocketAddress | { readonly kind: 'fd'; readonly fd: number };

/** What the monitor's clients can do besides asking. */
export interface FabricControl {
  readonly fabric: Fabric;
  quit(): void;
}

const FD_MAX = 255;
/** How long a reply under way may take when the fabric ends. */
const GRACE_MS = 500;

export interface FabricCommand {
  readonly name: string;
  readonly arguments: Shape<unknown>;
  readonly run: (control: FabricControl, args: unknown) => unknown;
}

function command<A>(
  name: string,
  args: Shape<A>,
  run: (control: FabricControl, args: A) => unknown,
): FabricCommand {
  return { name, arguments: args, run: (control, given) => run(control, args.check(given, '')) };
}

const NOTHING = struct({});

/** The commands of a client that has negotiated. */
export const COMMANDS: readonly FabricCommand[] = [
  command('query-commands', NOTHING, () => COMMANDS.map(({ name }) => ({ name }))),
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
    return {};
  }),
  command('stop-flows', NOTHING, ({ fabric }) => {
    fabric.stopFlows();
    return {};
  }),
  command('quit', NOTHING, (control) => {
    control.quit();
    return {};
  }),
];

/** `unix:PATH`, `tcp:HOST:PORT`, or `fd:N`. Throws BadValue or `vmm/bad-address`. */
export function parseFabricMonitor(text: string): FabricMonitorAddress {
  if (!text.startsWith('fd:')) return parseSocketAddress(text);
  const fd = Number(text.slice(3));
  if (!/^fd:\d{1,3}$/.test(text) || fd < 3 || fd > FD_MAX) {
    throw new BadValue(`'${text.slice(0, 40)}' is no inherited descriptor; write it like fd:3`);
  }
  return { kind: 'fd', fd };
}

/**
 * Serves the monitor. Resolves with what ends it again. When the other end of an inherited descriptor goes away,
 * `control.quit` is called. Throws `vmm/listen-failed`.
 */
export async function serveFabricMonitor(
  control: FabricControl,
  address: FabricMonitorAddress,
): Promise<() => void> {
  if (address.kind === 'fd') {
    const socket = new Socket({ fd: address.fd, readable: true, writable: true });
    socket.on('close', () => control.quit());
    serveClient(monitorOf(control), socket);
    return () => socket.end();
  }
  const listener = await MonitorListener.open(monitorOf(control), address);
  return () => void listener.close(GRACE_MS);
}

function monitorOf(control: FabricControl): Monitor {
  const [major, minor, micro] = VERSION.split('.').map(Number) as [number, number, number];
  const commands: MonitorCommands = {
    version: { qemu: { major, minor, micro }, package: `vf-ferry fabric ${VERSION}` },
    run: async (execute, args) => {
      const found = COMMANDS.find(({ name }) => name === execute);
      if (found === undefined) throw notFound(execute);
      return found.run(control, args);
    },
  };
  return new Monitor(
    commands,
    () => Date.now(),
    // Whoever watches this process for defects hears of it.
    (error) => {
      setImmediate(() => {
        throw error;
      });
    },
  );
}
