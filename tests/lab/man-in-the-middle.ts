/**
 * Stands between two real VMM processes on all connections of a migration, and alters or cuts what passes. It speaks
 * both protocols (it must: the source tells its data ports in a control message, which it rewrites), so a fault can be
 * aimed: at a control message by its kind, at a byte of a page rather than of a header.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { PAGE_BYTES } from '../../base/units.js';
import { type FrameKind, FrameSplitter } from '../../migration/frame.js';
import { decodeMessage, encodeMessage } from '../../migration/messages.js';
import { ChannelReceiver } from '../../migration/pages/channel-receiver.js';
import { DiscardSink } from '../../migration/pages/page-sink.js';

/** What to do to a migration that passes. All counts start at 1. */
export interface Tampering {
  /** Cut every connection when a message of this kind is about to pass, before it does. */
  readonly cutBefore?: FrameKind;
  /** The same right after it has passed. */
  readonly cutAfter?: FrameKind;
  /** Flip one bit of the first of these pages whose bytes pass in round 1. */
  readonly flipPage?: { readonly from: number; readonly to: number };
  /** Cut when so many bytes of page frames have passed over all data channels. */
  readonly cutAfterPageBytes?: number;
  /** Send this to the destination instead of the source's first control message. */
  readonly garbage?: Uint8Array;
}

export interface Intermediary {
  /** Where the source has to migrate to. */
  readonly address: string;
  /** Whether the tampering took place. */
  readonly done: () => boolean;
  /** Kinds of the control messages that passed, in order. */
  readonly passed: readonly FrameKind[];
  close(): void;
}

/** Pages of the largest machine: the proxy need not know the machine. */
const ANY_MACHINE_PAGES = 2 ** 20;

/** Knows which page the bytes that arrive belong to. */
class AimedSink extends DiscardSink {
  firstPage = 0;
  #view: Uint8Array = new Uint8Array(0);

  override view(firstPage: number, pageCount: number): Uint8Array {
    this.firstPage = firstPage;
    this.#view = super.view(firstPage, pageCount);
    return this.#view;
  }

  /** The page that the first byte of `target` belongs to; -1 if it is no page's. */
  pageOf(target: Uint8Array): number {
    if (target.buffer !== this.#view.buffer || this.#view.length === 0) return -1;
    return this.firstPage + Math.floor((target.byteOffset - this.#view.byteOffset) / PAGE_BYTES);
  }
}

/** Listens for one migration to the VMM at `target` (`tcp:HOST:PORT`). */
export async function standBetween(target: string, tampering: Tampering): Promise<Intermediary> {
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  const passed: FrameKind[] = [];
  let done = false;
  let pageBytes = 0;

  const cut = (): void => {
    done = true;
    for (const socket of sockets) socket.destroy();
  };
  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    return socket;
  };
  const bind = (a: Socket, b: Socket): void => {
    a.on('close', () => b.destroy());
    b.on('close', () => a.destroy());
  };
  const open = async (onConnection: (socket: Socket) => void): Promise<number> => {
    const server = createServer((socket) => onConnection(track(socket)));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as { port: number }).port;
  };

  /** Page bytes of a data channel, on their way to the destination. */
  const tamperWithPages = (chunk: Buffer, receiver: ChannelReceiver, sink: AimedSink): void => {
    let at = 0;
    while (at < chunk.length && !done) {
      const targetBytes = receiver.target();
      const length = Math.min(targetBytes.length, chunk.length - at);
      const page = sink.pageOf(targetBytes);
      const { from, to } = tampering.flipPage ?? { from: 0, to: -1 };
      const last = page + Math.floor((length - 1) / PAGE_BYTES);
      if (page >= 0 && receiver.round === 1 && page <= to && last >= from) {
        chunk[at + Math.max(0, from - page) * PAGE_BYTES] ^= 0x10;
        done = true;
      }
      targetBytes.set(chunk.subarray(at, at + length));
      receiver.filled(length);
      at += length;
    }
    pageBytes += chunk.length;
    if (tampering.cutAfterPageBytes !== undefined && pageBytes >= tampering.cutAfterPageBytes) cut();
  };

  const dataPort = (port: number): Promise<number> =>
    open((fromDestination) => {
      const toSource = track(connect(port, '127.0.0.1'));
      bind(fromDestination, toSource);
      const sink = new AimedSink();
      const receiver = new ChannelReceiver({
        channel: -1,
        token: undefined,
        migratedPages: ANY_MACHINE_PAGES,
        sink,
      });
      fromDestination.on('data', (chunk) => toSource.write(chunk));
      toSource.on('data', (chunk) => {
        tamperWithPages(chunk, receiver, sink);
        if (!fromDestination.destroyed) fromDestination.write(chunk);
      });
    });

  const [, host, port] = /^tcp:(.*):(\d+)$/.exec(target)!;
  const controlPort = await open((fromSource) => {
    const toDestination = track(connect(Number(port), host));
    bind(fromSource, toDestination);
    const relay = (from: Socket, to: Socket): void => {
      const splitter = new FrameSplitter();
      let turn = Promise.resolve();
      const pass = async (frame: Uint8Array): Promise<void> => {
        if (done && from.destroyed) return;
        const message = decodeMessage(frame);
        if (tampering.garbage !== undefined && passed.length === 0) {
          done = true;
          to.write(tampering.garbage);
          return;
        }
        if (message.kind === tampering.cutBefore) return cut();
        if (message.kind === 'data') {
          const ports = await Promise.all(message.endpoint.ports.map(dataPort));
          to.write(encodeMessage({ ...message, endpoint: { ...message.endpoint, ports } }));
        } else {
          to.write(frame);
        }
        passed.push(message.kind);
        // What was written is handed over before the connection ends.
        if (message.kind === tampering.cutAfter) to.end(cut);
      };
      from.on('data', (chunk) => {
        splitter.push(chunk, (frame) => {
          turn = turn.then(() => pass(frame));
        });
      });
    };
    relay(fromSource, toDestination);
    relay(toDestination, fromSource);
  });

  return {
    address: `tcp:127.0.0.1:${controlPort}`,
    done: () => done,
    passed,
    close() {
      for (const socket of sockets) socket.destroy();
      for (const server of servers) server.close();
    },
  };
}
