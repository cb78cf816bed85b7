/**
 * The fabric's monitor: QMP's wire format, so that any QMP client can ask what the network sees, while it runs and phase
 * by phase. Commands are answered at once, in their order.
 */
import { createServer, Socket } from 'node:net';
import { FerryError } from '../../base/errors.js';
import { boolean, list, optional, type Shape, string, struct } from '../../vmm/monitor/arguments.js';
import { JsonStream } from '../../vmm/monitor/json-stream.js';
import { encodeError, encodeGreeting, encodeReturn, QmpError } from '../../vmm/monitor/protocol.js';
import { parseSocketAddress, type SocketAddress } from '../../vmm/sockets/address.js';
import { listen, unlinkSocket } from '../../vmm/sockets/listening.js';
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

/** Bytes that may wait for a client to read them; beyond that it is dropped, not waited for. */
const UNREAD_BYTES_MAX = 8 * 1024 * 1024;
const FD_MAX = 255;

interface Command {
  readonly name: string;
  readonly run: (control: FabricControl, args: unknown) => unknown;
}

function command<A>(
  name: string,
  args: Shape<A>,
  run: (control: FabricControl, args: A) => unknown,
): Command {
  return { name, run: (control, given) => run(control, args.check(given, '')) };
}

const NOTHING = struct({});

const COMMANDS: readonly Command[] = [
  command('qmp_capabilities', struct({ enable: optional(list(string(64))) }), () => ({})),
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
    serveClient(control, socket);
    return () => socket.end();
  }
  const clients = new Set<Socket>();
  const server = createServer((socket) => {
    clients.add(socket);
    socket.on('close', () => clients.delete(socket));
    serveClient(control, socket);
  });
  const listening = await listen(server, address);
  return () => {
    unlinkSocket(listening.address);
    server.close();
    for (const client of clients) client.end();
  };
}

function serveClient(control: FabricControl, socket: Socket): void {
  const send = (line: string): void => {
    if (!socket.writable) return;
    socket.write(line);
    if (socket.writableLength > UNREAD_BYTES_MAX) socket.destroy();
  };
  const stream = new JsonStream({
    value: (value, idText) => send(answer(control, value, idText)),
    error: (text) => send(encodeError(new QmpError(text), undefined)),
  });
  socket.on('data', (chunk) => stream.push(chunk));
  socket.on('error', () => socket.destroy());
  const [major, minor, micro] = VERSION.split('.').map(Number) as [number, number, number];
  send(encodeGreeting({ qemu: { major, minor, micro }, package: `vf-ferry fabric ${VERSION}` }));
}

function answer(control: FabricControl, value: unknown, idText: string | undefined): string {
  try {
    const { execute, arguments: args = {} } = (value ?? {}) as { execute?: unknown; arguments?: unknown };
    const found = COMMANDS.find(({ name }) => name === execute);
    if (found === undefined) {
      throw new QmpError(`The command ${String(execute).slice(0, 64)} has not been found`, 'CommandNotFound');
    }
    return encodeReturn(found.run(control, args), idText);
  } catch (error) {
    if (error instanceof QmpError || error instanceof FerryError) return encodeError(error, idText);
    throw error;
  }
}
