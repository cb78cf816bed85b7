/**
 * Stands between two real VMM processes on all connections of a migration, and does to what passes what its rules say. The
 * source migrates to the proxy's address; it tells its data ports in a control message, in which the proxy puts ports of its
 * own. So it reads the control stream, frame by frame, and a rule can be aimed: at a message by its kind, at a byte.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { invariant } from '../../../base/errors.js';
import { seededRandom } from '../../../base/random.js';
import { PAGE_BYTES } from '../../../base/units.js';
import { decodeHeader, type FrameKind, FrameSplitter } from '../../../migration/frame.js';
import { decodeMessage, encodeMessage } from '../../../migration/messages.js';
import { parseSocketAddress } from '../../../vmm/sockets/address.js';
import { afterMs } from '../../../vmm/timers.js';
import { PageFinder } from './page-finder.js';
import { type LinkFault, type LinkRule, RuleBook, type Scope, type Side } from './rule.js';
import { Way } from './way.js';

const LOOPBACK = '127.0.0.1';

/** Both directions of one connection. */
interface Connection {
  readonly ways: Readonly<Record<Side, Way>>;
}

/** What becomes of the piece that a rule struck at. */
type Piece = 'passes' | 'is lost' | 'was the last';

export class FaultProxy {
  /** Where the source has to migrate to. */
  readonly address: string;
  /** Kinds of the control messages that passed, in order. */
  readonly passed: FrameKind[] = [];
  readonly #rules: RuleBook;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #server: Server;
  readonly #doors: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #connections: Connection[] = [];
  readonly #closing = new AbortController();
  readonly #random;
  /** What holds for the whole link holds for what connects later. */
  readonly #conditions: ((way: Way) => void)[] = [];
  /** The latest message of each kind, to be heard again. */
  readonly #latest = new Map<FrameKind, Uint8Array>();
  /** Where the source listens for its data channels. */
  #dataPorts: readonly number[] = [];
  #dataBytes = 0;

  private constructor(server: Server, target: string, rules: readonly LinkRule[], seed: number) {
    const address = parseSocketAddress(target);
    invariant(address.kind === 'tcp', 'a proxy stands between TCP sockets');
    this.#target = address;
    this.#server = server;
    this.#rules = new RuleBook(rules);
    this.#random = seededRandom(seed);
    this.address = `tcp:${LOOPBACK}:${portOf(server)}`;
  }

  /** Listens for migrations to the VMM at `target` (`tcp:HOST:PORT`). `seed`: of the jitter. */
  static async open(target: string, rules: readonly LinkRule[], seed = 1): Promise<FaultProxy> {
    const server = await listening();
    const proxy = new FaultProxy(server, target, rules, seed);
    server.on('connection', (socket) => proxy.#control(socket));
    return proxy;
  }

  /** Rules that never struck. */
  get unstruck(): readonly LinkRule[] {
    return this.#rules.unstruck;
  }

  /** Ends all that passes, and listens no more. */
  close(): void {
    this.#closing.abort();
    this.#cut(this.#sockets);
    for (const server of [this.#server, ...this.#doors]) server.close();
  }

  #control(source: Socket): void {
    const { connection, sockets } = this.#join(source, this.#outgoing(this.#target), 'source');
    for (const towards of ['destination', 'source'] as const) {
      const from = sockets[towards === 'destination' ? 'source' : 'destination'];
      const splitter = new FrameSplitter();
      let at = 0;
      pump(from, connection.ways[towards], async (chunk) => {
        const frames: Uint8Array[] = [];
        splitter.push(chunk, (frame) => frames.push(frame));
        for (const frame of frames) {
          if (!(await this.#message(connection, towards, at, frame))) return false;
          at += frame.length;
        }
        return true;
      });
    }
  }

  async #data(destination: Socket, port: number): Promise<void> {
    const toSource = this.#outgoing({ host: LOOPBACK, port });
    const { connection, sockets } = this.#join(destination, toSource, 'destination');
    const finder = new PageFinder();
    let down = 0;
    let up = 0;
    pump(sockets.source, connection.ways.destination, async (chunk) => {
      for (const { at, firstPage, lastPage, round } of finder.pass(chunk)) {
        if (round !== 1) continue;
        for (const { rule, page } of this.#rules.atPages(firstPage, lastPage)) {
          const byte = at + (page - firstPage) * PAGE_BYTES;
          if ((await this.#strike(rule.does, connection, 'destination', chunk, byte)) === 'was the last')
            return false;
        }
      }
      const from = down;
      down += chunk.length;
      if (!(await this.#bytes('data', connection, 'destination', from, chunk))) return false;
      this.#dataBytes += chunk.length;
      for (const { does } of this.#rules.atDataBytes(this.#dataBytes)) {
        if ((await this.#strike(does, connection, 'destination')) === 'was the last') return false;
      }
      return true;
    });
    pump(sockets.destination, connection.ways.source, (chunk) => {
      const from = up;
      up += chunk.length;
      return this.#bytes('data', connection, 'source', from, chunk);
    });
  }

  /** Passes one control message on. False: nothing more goes this way. */
  async #message(
    connection: Connection,
    towards: Side,
    from: number,
    original: Uint8Array,
  ): Promise<boolean> {
    const { kind } = decodeHeader(original);
    this.#rules.count(kind);
    const frame = kind === 'data' ? await this.#ownDoors(original) : original;
    let passes = true;
    for (const { does } of this.#rules.atMessage(kind, 'before')) {
      const piece = await this.#strike(does, connection, towards, frame, frame.length - 1);
      if (piece === 'was the last') return false;
      passes &&= piece === 'passes';
    }
    if (!passes) return true;
    this.#latest.set(kind, frame);
    if (!(await this.#bytes('control', connection, towards, from, frame))) return false;
    this.passed.push(kind);
    for (const { does } of this.#rules.atMessage(kind, 'after')) {
      await connection.ways[towards].flushed();
      if ((await this.#strike(does, connection, towards, frame, frame.length - 1)) === 'was the last')
        return false;
    }
    return true;
  }

  /** Passes bytes on, but for what rules do to some of them. False: nothing more goes this way. */
  async #bytes(
    on: 'control' | 'data',
    connection: Connection,
    towards: Side,
    from: number,
    bytes: Uint8Array,
  ): Promise<boolean> {
    const way = connection.ways[towards];
    let at = 0;
    for (const { rule, byte } of this.#rules.atBytes(on, towards, from, bytes.length)) {
      const struck = byte - from;
      way.write(bytes.subarray(at, struck));
      at = struck;
      await way.flushed();
      if ((await this.#strike(rule.does, connection, towards, bytes, struck)) === 'was the last')
        return false;
    }
    way.write(bytes.subarray(at));
    await way.room();
    return true;
  }

  /** `bytes`: what is about to pass, or has, and `at`: the byte that was aimed at. */
  async #strike(
    fault: LinkFault,
    connection: Connection,
    towards: Side,
    bytes: Uint8Array = new Uint8Array(1),
    at = 0,
  ): Promise<Piece> {
    const way = connection.ways[towards];
    switch (fault.kind) {
      case 'delay':
        this.#impose(fault.scope, connection, way, (each) => each.delay(fault.ms, fault.jitterMs ?? 0));
        return 'passes';
      case 'limit':
        this.#impose(fault.scope, connection, way, (each) => each.limit(fault.bytesPerSecond));
        return 'passes';
      case 'stall': {
        const open = this.#opening(fault.ms);
        this.#impose(fault.scope, connection, way, (each) => each.stall(open));
        await way.room();
        return 'passes';
      }
      case 'cut':
        this.#cut(this.#ways(fault.scope, connection, way).map(({ to }) => to));
        return 'was the last';
      case 'half-open': {
        const ways = this.#ways(fault.scope, connection, way);
        const open = this.#opening(undefined);
        for (const each of ways) each.stall(open);
        for (const { ways: pair } of this.#connections) {
          if (ways.includes(pair[fault.lost])) pair[fault.lost].to.resetAndDestroy();
        }
        return 'was the last';
      }
      case 'truncate':
        way.end();
        return 'was the last';
      case 'flip':
        bytes[at]! ^= 1 << (fault.bit ?? 0);
        return 'passes';
      case 'swallow':
        return 'is lost';
      case 'again':
        way.write(fault.message === undefined ? bytes : this.#remembered(fault.message));
        return 'passes';
      case 'insert':
        way.write(fault.bytes);
        return 'passes';
      case 'stranger': {
        const port = fault.door === 'control' ? this.#target.port : this.#dataPorts[0]!;
        const stranger = this.#outgoing({ host: LOOPBACK, port });
        await new Promise<void>((said) => stranger.write(fault.says, () => said()));
        return 'passes';
      }
      case 'act':
        await fault.act();
        return 'passes';
    }
  }

  #remembered(kind: FrameKind): Uint8Array {
    const frame = this.#latest.get(kind);
    invariant(frame !== undefined, `no message \`${kind}\` has passed that could be heard again`);
    return frame;
  }

  /** Resolves after so long, or when the proxy ends. */
  #opening(ms = Number.POSITIVE_INFINITY): Promise<void> {
    return new Promise((resolve) => {
      const cancel = afterMs(ms, resolve);
      this.#closing.signal.addEventListener('abort', () => {
        cancel();
        resolve();
      });
    });
  }

  #ways(scope: Scope = 'link', connection: Connection, way: Way): Way[] {
    if (scope === 'direction') return [way];
    const connections = scope === 'link' ? this.#connections : [connection];
    return connections.flatMap(({ ways }) => [ways.destination, ways.source]);
  }

  #impose(scope: Scope = 'link', connection: Connection, way: Way, condition: (way: Way) => void): void {
    if (scope === 'link') this.#conditions.push(condition);
    for (const each of this.#ways(scope, connection, way)) condition(each);
  }

  #cut(sockets: Iterable<Socket>): void {
    for (const socket of [...sockets]) socket.destroy();
  }

  /** The message that tells the data ports, with ports here in their place. */
  async #ownDoors(frame: Uint8Array): Promise<Uint8Array> {
    const message = decodeMessage(frame);
    invariant(message.kind === 'data', 'the message of data ports');
    this.#dataPorts = message.endpoint.ports;
    const ports = await Promise.all(
      this.#dataPorts.map(async (port) => {
        const server = await listening();
        this.#doors.push(server);
        server.on('connection', (socket) => void this.#data(socket, port));
        return portOf(server);
      }),
    );
    return encodeMessage({ ...message, endpoint: { ...message.endpoint, ports } });
  }

  /** Two sockets become one connection; `accepted` is that side's. */
  #join(
    socket: Socket,
    outgoing: Socket,
    accepted: Side,
  ): { connection: Connection; sockets: Readonly<Record<Side, Socket>> } {
    this.#track(socket);
    const sockets =
      accepted === 'source'
        ? { source: socket, destination: outgoing }
        : { source: outgoing, destination: socket };
    const { signal } = this.#closing;
    const random = this.#random.fork(`connection ${this.#connections.length}`);
    const ways = {
      source: new Way(sockets.source, random.fork('to source'), signal),
      destination: new Way(sockets.destination, random.fork('to destination'), signal),
    };
    for (const condition of this.#conditions) for (const way of Object.values(ways)) condition(way);
    const connection = { ways };
    this.#connections.push(connection);
    // A connection that broke at one end breaks at the other, unless nothing passes.
    const breaks = (at: Socket, way: Way): void => {
      at.on('close', () => {
        if (!way.stalled) void way.flushed().then(() => way.to.destroy());
      });
    };
    breaks(sockets.source, ways.destination);
    breaks(sockets.destination, ways.source);
    return { connection, sockets };
  }

  #outgoing(to: { readonly host: string; readonly port: number }): Socket {
    return this.#track(connect({ host: to.host, port: to.port, allowHalfOpen: true }));
  }

  #track(socket: Socket): Socket {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => this.#sockets.delete(socket));
    return socket;
  }
}

async function listening(): Promise<Server> {
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  return server;
}

const portOf = (server: Server): number => (server.address() as { port: number }).port;

/**
 * Hands what comes from a socket to `take`, piece by piece: the next is read when that has resolved. When it resolves with
 * false nothing more is taken, and what still comes is thrown away.
 */
function pump(from: Socket, way: Way, take: (chunk: Buffer) => Promise<boolean>): void {
  let over = false;
  from.on('data', (chunk: Buffer) => {
    if (over) return;
    from.pause();
    void take(chunk).then((goesOn) => {
      over = !goesOn;
      if (!way.stalled) from.resume();
    });
  });
  from.on('end', () => {
    if (!over) way.end();
  });
}
