/**
 * Writes frames to a socket, at most two in flight: while one is with the socket, the next is being scanned and
 * hashed. Pages go from guest RAM to the socket without a copy (one gathering write a frame); a frame's buffers are
 * used again once its write has completed.
 */
import type { Socket } from 'node:net';
import { invariant } from '../../base/errors.js';
import { FrameBuffer } from '../../migration/pages/frame-buffer.js';
import type { Recording } from './recording.js';

const FRAMES_IN_FLIGHT = 2;

export class FrameWriter {
  readonly #socket: Socket;
  readonly #recording: Recording | undefined;
  readonly #onSent: (frame: FrameBuffer) => void;
  readonly #free: FrameBuffer[];
  #wake: (() => void) | undefined;
  #broken = false;

  /** `onSent` is called for each frame that was handed to the socket whole. */
  constructor(socket: Socket, recording: Recording | undefined, onSent: (frame: FrameBuffer) => void) {
    this.#socket = socket;
    this.#recording = recording;
    this.#onSent = onSent;
    this.#free = Array.from(
      { length: FRAMES_IN_FLIGHT },
      () => new FrameBuffer((bytes) => Buffer.alloc(bytes)),
    );
    socket.once('close', () => {
      this.#broken = true;
      this.#wake?.();
    });
  }

  /** A frame to fill and give to `write` or `release`, if one is free and the socket is there. */
  tryFrame(): FrameBuffer | undefined {
    return this.#broken ? undefined : this.#free.pop();
  }

  /** Resolves with such a frame; with undefined once the socket is gone. */
  async frame(): Promise<FrameBuffer | undefined> {
    await this.#until(() => this.#free.length > 0);
    return this.#broken ? undefined : this.#free.pop();
  }

  write(frame: FrameBuffer): void {
    const last = frame.pieceCount - 1;
    this.#recording?.add(frame);
    this.#socket.cork();
    for (let i = 0; i < last; i++) this.#socket.write(frame.pieces[i]!);
    this.#socket.write(frame.pieces[last]!, (error) => {
      if (error) return; // 'close' follows, and says why
      this.#onSent(frame);
      this.release(frame);
    });
    this.#socket.uncork();
  }

  release(frame: FrameBuffer): void {
    invariant(this.#free.length < FRAMES_IN_FLIGHT, 'a frame was released twice');
    this.#free.push(frame);
    this.#wake?.();
  }

  /** Resolves with true when all that was written has been handed over; with false once the socket is gone. */
  async drained(): Promise<boolean> {
    await this.#until(() => this.#free.length === FRAMES_IN_FLIGHT);
    return !this.#broken;
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!this.#broken && !condition()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#wake = undefined;
  }
}
