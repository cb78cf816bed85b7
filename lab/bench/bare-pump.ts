/**
 * The yardstick of `ferry bench transfer`: what bare Node reaches when one process pumps bytes to another, socket to
 * socket, with the same memory, connections and threads as the data plane, and nothing else to do. One worker thread
 * a connection; the sender writes pieces of 1 MiB straight from memory, the receiver reads into one
 * buffer, or into memory.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { builtFile } from '../../vmm/built.js';

const PIECE_BYTES = 2 ** 20;
/** Small enough to stay in the cache, large enough for few calls: the fastest of 64 KiB to 1 MiB, by trial. */
const READ_BYTES = 256 * 1024;

interface SenderData {
  readonly role: 'send';
  readonly memory: SharedArrayBuffer;
  readonly from: number;
  readonly lengthBytes: number;
}

interface ReceiverData {
  readonly role: 'receive';
  readonly port: number;
  readonly lengthBytes: number;
  /** Where it goes, from `from` on, as guest RAM is read into; if absent, to a small buffer over and over. */
  readonly memory?: SharedArrayBuffer;
  readonly from: number;
}

/** Sends its share of `memory` each time it is told to; reports its port first. */
export class BareSender {
  readonly #workers: Worker[];
  readonly ports: Promise<number[]>;

  constructor(memory: SharedArrayBuffer, lengthBytes: number, connections: number) {
    const share = lengthBytes / connections;
    this.#workers = Array.from(
      { length: connections },
      (_, index) =>
        new Worker(builtFile('lab/bench/bare-pump.js'), {
          workerData: { role: 'send', memory, from: index * share, lengthBytes: share } satisfies SenderData,
        }),
    );
    this.ports = Promise.all(
      this.#workers.map(async (worker) => (await once(worker, 'message'))[0] as number),
    );
  }

  go(): void {
    for (const worker of this.#workers) worker.postMessage('go');
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

/** Counts what comes in on its connections. */
export class BareReceiver {
  readonly #workers: Worker[];
  readonly connected: Promise<unknown>;

  constructor(ports: readonly number[], lengthBytes: number, memory?: SharedArrayBuffer) {
    const share = lengthBytes / ports.length;
    this.#workers = ports.map(
      (port, index) =>
        new Worker(builtFile('lab/bench/bare-pump.js'), {
          workerData: {
            role: 'receive',
            port,
            lengthBytes: share,
            from: index * share,
            ...(memory === undefined ? {} : { memory }),
          } satisfies ReceiverData,
        }),
    );
    this.connected = this.#each();
  }

  /** Resolves when every connection has brought its share once more. */
  async received(): Promise<void> {
    await this.#each();
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #each(): Promise<unknown> {
    return Promise.all(this.#workers.map((worker) => once(worker, 'message')));
  }
}

function send({ memory, from, lengthBytes }: SenderData): void {
  const bytes = Buffer.from(memory, from, lengthBytes);
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    parentPort?.on('message', () => {
      let at = 0;
      const pump = (): void => {
        while (at < lengthBytes) {
          const piece = bytes.subarray(at, at + PIECE_BYTES);
          at += piece.length;
          if (!socket.write(piece)) {
            socket.once('drain', pump);
            return;
          }
        }
      };
      pump();
    });
  });
  server.listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as AddressInfo).port));
}

function receive({ port, lengthBytes, memory, from }: ReceiverData): void {
  let got = 0;
  const small = Buffer.alloc(READ_BYTES);
  const into = memory === undefined ? undefined : Buffer.from(memory, from, lengthBytes);
  const socket = connect({
    port,
    host: '127.0.0.1',
    noDelay: true,
    onread: {
      buffer: () => into?.subarray(got, got + PIECE_BYTES) ?? small,
      callback(count) {
        got += count;
        if (got >= lengthBytes) {
          got -= lengthBytes;
          parentPort?.postMessage('received');
        }
        return true;
      },
    },
  });
  socket.on('error', () => socket.destroy());
  socket.on('connect', () => parentPort?.postMessage('connected'));
}

if (!isMainThread) {
  const data = workerData as SenderData | ReceiverData;
  if (data.role === 'send') send(data);
  else receive(data);
}
