/**
 * The monitor of a process that is one part of a network, such as the fabric: QMP's wire format, so that any QMP client can ask.
 * Commands are answered at once, in their order.
 */
import { Socket } from 'node:net';
import { type Shape, struct } from '../../vmm/monitor/arguments.js';
import { MonitorListener, serveClient } from '../../vmm/monitor/listener.js';
import { Monitor, type MonitorCommands } from '../../vmm/monitor/monitor.js';
import { notFound } from '../../vmm/monitor/protocol.js';
import { parseSocketAddress, type SocketAddress } from '../../vmm/sockets/address.js';
import { VERSION } from '../../vmm/version.js';
import { BadValue } from '../options/quantities.js';

/** Where a monitor is: at an address, or at a descriptor whose other end the process belongs to. */
export type ProcessMonitorAddress = SocketAddress | { readonly kind: 'fd'; readonly fd: number };

/** What the monitor's clients can do to every such process. */
export interface ProcessControl {
  quit(): void;
}

export interface ProcessCommand<C> {
  readonly name: string;
  readonly arguments: Shape<unknown>;
  /** Its answer; undefined is an empty one. */
  readonly run: (control: C, args: unknown) => unknown;
}

const FD_MAX = 255;
/** How long a reply under way may take when the process ends. */
const GRACE_MS = 500;

export const NOTHING = struct({});

/** Ties the type of the checked arguments to the handler's. */
export function command<C, A>(
  name: string,
  args: Shape<A>,
  run: (control: C, args: A) => unknown,
): ProcessCommand<C> {
  return { name, arguments: args, run: (control, given) => run(control, args.check(given, '')) ?? {} };
}

/** `own` with what every such monitor has. */
export function withCommon<C extends ProcessControl>(
  own: readonly ProcessCommand<C>[],
): readonly ProcessCommand<C>[] {
  const all: readonly ProcessCommand<C>[] = [
    command('query-commands', NOTHING, () => all.map(({ name }) => ({ name }))),
    ...own,
    command('quit', NOTHING, (control) => control.quit()),
  ];
  return all;
}

/** `unix:PATH`, `tcp:HOST:PORT`, or `fd:N`. Throws BadValue or `vmm/bad-address`. */
export function parseProcessMonitor(text: string): ProcessMonitorAddress {
  if (!text.startsWith('fd:')) return parseSocketAddress(text);
  const fd = Number(text.slice(3));
  if (!/^fd:\d{1,3}$/.test(text) || fd < 3 || fd > FD_MAX) {
    throw new BadValue(`'${text.slice(0, 40)}' is no inherited descriptor; write it like fd:3`);
  }
  return { kind: 'fd', fd };
}

/**
 * Serves `commands` as the monitor of a process called `what`. Resolves with what ends it again. When the other end of an inherited
 * descriptor goes away, `control.quit` is called. Throws `vmm/listen-failed`.
 */
export async function serveProcessMonitor<C extends ProcessControl>(
  what: string,
  commands: readonly ProcessCommand<C>[],
  control: C,
  address: ProcessMonitorAddress,
): Promise<() => void> {
  const monitor = monitorOf(what, commands, control);
  if (address.kind === 'fd') {
    const socket = new Socket({ fd: address.fd, readable: true, writable: true });
    socket.on('close', () => control.quit());
    serveClient(monitor, socket);
    return () => socket.end();
  }
  const listener = await MonitorListener.open(monitor, address);
  return () => void listener.close(GRACE_MS);
}

function monitorOf<C>(what: string, commands: readonly ProcessCommand<C>[], control: C): Monitor {
  const [major, minor, micro] = VERSION.split('.').map(Number) as [number, number, number];
  const served: MonitorCommands = {
    version: { qemu: { major, minor, micro }, package: `vf-ferry ${what} ${VERSION}` },
    run: async (execute, args) => {
      const found = commands.find(({ name }) => name === execute);
      if (found === undefined) throw notFound(execute);
      return found.run(control, args);
    },
  };
  return new Monitor(
    served,
    () => Date.now(),
    // Whoever watches this process for defects hears of it.
    (error) => {
      setImmediate(() => {
        throw error;
      });
    },
  );
}
