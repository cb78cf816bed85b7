/**
 * The cable of the NIC as a socket to a fabric, in QEMU's `-netdev stream` framing. Frames of one turn of the thread go
 * out together. A fabric that goes away takes the link down and the guest goes on without a network, as with a cable
 * that was pulled; one that comes back at the same address brings it up again.
 */
import { connect as connectSocket, type Socket } from 'node:net';
import type { FrameSink } from '../../../devices/ethernet/frame-sink.js';
import { FrameStreamEncoder, FrameStreamParser } from '../../../devices/ethernet/stream-framing.js';
import { vmmErrors } from '../../errors.js';
import type { FrameOutlet } from '../../passthrough/guest-vf.js';
import { formatSocketAddress, type SocketAddress } from '../../sockets/address.js';
import { reasonOf } from '../../sockets/listening.js';

export interface CableObserver {
  receive: FrameSink;
  /** All frames of a piece of the stream have been handed on. */
  received(): void;
  /** The socket has taken some of what waited for it. */
  room(): void;
  link(up: boolean): void;
}

/** A piece of the stream is at most this long; read into one buffer again and again. */
const READ_BYTES = 64 * 1024;
/** Blocks that wait for the socket before the NIC has to. */
const BLOCKS_WAITING_MAX = 4;
/** A fabric that went away is looked for this often. */
const RECONNECT_MS = 1000;

export class Cable {
  readonly #observer: CableObserver;
  readonly #encoder: FrameStreamEncoder;
  #socket: Socket | undefined;
  readonly #readBuffer = new Uint8Array(READ_BYTES);
  #unsent = false;

  constructor(observer: CableObserver) {
    this.#observer = observer;
    const written = (): void => {
      this.#encoder.written();
      observer.room();
    };
    this.#encoder = new FrameStreamEncoder((bytes) => this.#socket?.write(bytes, written));
  }

  /** Resolves when the cable is plugged in; rejects with `vmm/netdev-failed`. */
  connect(address: SocketAddress): Promise<void> {
    const parser = new FrameStreamParser((bytes, at, length) => this.#observer.receive(bytes, at, length));
    const onread = {
      buffer: this.#readBuffer,
      callback: (bytes: number, buffer: Uint8Array): boolean => {
        if (!parser.push(buffer, bytes)) socket.destroy();
        this.#observer.received();
        return true;
      },
    };
    const socket = connectSocket(
      address.kind === 'unix'
        ? { path: address.path, onread }
        : { host: address.host, port: address.port, onread },
    );
    return new Promise((resolve, reject) => {
      socket.once('connect', () => {
        this.#socket = socket;
        socket.setNoDelay(true);
        this.#observer.link(true);
        resolve();
      });
      socket.on('error', (error) => {
        const facts = { address: formatSocketAddress(address), reason: reasonOf(error) };
        reject(vmmErrors.error('netdev-failed', facts, error));
      });
      socket.on('close', () => {
        if (this.#socket !== socket) return;
        this.#socket = undefined;
        this.#observer.link(false);
        this.#lookFor(address);
      });
    });
  }

  /** Tries again and again; nobody waits for it. */
  #lookFor(address: SocketAddress): void {
    setTimeout(() => this.connect(address).catch(() => this.#lookFor(address)), RECONNECT_MS).unref();
  }

  /** Pulls it out for good. */
  unplug(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }

  /** Takes a frame, which goes out at the next `flush`; false if the socket has no room for it, or there is none. */
  readonly send: FrameOutlet = (bytes, at, length) => {
    if (this.#socket === undefined || !this.#encoder.add(bytes, at, length)) return false;
    this.#unsent = true;
    return true;
  };

  /** Whether the NIC may go on sending. Without a socket frames go nowhere, as fast as they come. */
  get ready(): boolean {
    return this.#socket === undefined || this.#encoder.blocksInFlight < BLOCKS_WAITING_MAX;
  }

  flush(): void {
    if (!this.#unsent) return;
    this.#unsent = false;
    this.#encoder.flush();
  }
}
