/**
 * A switch port on a socket that speaks QEMU's `-netdev stream`. What the socket can't take at once waits in the
 * encoder's fixed pool of blocks; beyond it, frames are refused and counted, as by any switch.
 */
import type { Socket } from 'node:net';
import type { LinkOptions } from '../../devices/ethernet/link.js';
import { FrameStreamEncoder, FrameStreamParser } from '../../devices/ethernet/stream-framing.js';
import type { EthernetSwitch, SwitchPort } from '../../devices/ethernet/switch.js';
import { reasonOf } from '../../vmm/sockets/listening.js';

export class StreamPort {
  readonly port: SwitchPort;
  readonly #socket: Socket;
  readonly #parser: FrameStreamParser;
  readonly #encoder: FrameStreamEncoder;
  #flushing = false;
  #end: string | undefined;

  private constructor(
    socket: Socket,
    port: SwitchPort,
    encoder: FrameStreamEncoder,
    onEnd: (port: StreamPort) => void,
  ) {
    this.port = port;
    this.#socket = socket;
    this.#encoder = encoder;
    this.#parser = new FrameStreamParser(port.receive);
    socket.on('data', (chunk) => {
      if (!this.#parser.push(chunk))
        this.#close('it sent a length that is no frame’s: it does not speak -netdev stream');
    });
    socket.on('error', (error) => {
      this.#end ??= reasonOf(error);
    });
    socket.on('close', () => {
      this.#end ??= this.#parser.isWithinFrame ? 'closed within a frame' : 'closed';
      onEnd(this);
    });
  }

  /** Plugs `socket` into `network`; undefined if no port is free. `onEnd` is called once the socket is closed. */
  static attach(
    socket: Socket,
    network: EthernetSwitch,
    options: LinkOptions & { readonly name: string },
    onEnd: (port: StreamPort) => void,
  ): StreamPort | undefined {
    const written = (): void => encoder.written();
    const encoder = new FrameStreamEncoder((bytes) => socket.write(bytes, written));
    const deliver = (bytes: Uint8Array, at: number, length: number): boolean =>
      stream.#deliver(bytes, at, length);
    const port = network.addPort({ ...options, deliver });
    if (port === undefined) return undefined;
    socket.setNoDelay(true);
    const stream = new StreamPort(socket, port, encoder, onEnd);
    return stream;
  }

  /** Why the port is gone; undefined while it is not. */
  get end(): string | undefined {
    return this.#end;
  }

  /** Frames too long for any station, which were skipped. */
  get giants(): number {
    return this.#parser.giants;
  }

  close(): void {
    this.#close('unplugged');
  }

  #close(why: string): void {
    this.#end ??= why;
    this.#socket.destroy();
  }

  /** Frames of one turn of the event loop go out together. */
  #deliver(bytes: Uint8Array, at: number, length: number): boolean {
    if (this.#end !== undefined || !this.#encoder.add(bytes, at, length)) return false;
    if (!this.#flushing) {
      this.#flushing = true;
      queueMicrotask(this.#flush);
    }
    return true;
  }

  readonly #flush = (): void => {
    this.#flushing = false;
    if (this.#end === undefined) this.#encoder.flush();
  };
}
