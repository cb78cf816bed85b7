/**
 * Writes frames to a wire, at most two in flight: while one is with the wire, the next is being scanned and hashed. Pages
 * go from guest RAM to the wire without a copy; a frame's buffers are used again once they were taken.
 */
import { invariant } from '../../base/errors.js';
import { type Allocate, FrameBuffer } from './frame-buffer.js';
import type { Wire } from './wire.js';

const FRAMES_IN_FLIGHT = 2;

export class FrameWriter {
  readonly #wire: Wire;
  readonly #onSent: (frame: FrameBuffer) => void;
  readonly #free: FrameBuffer[];
  #wake: (() => void) | undefined;
  #broken = false;

  /** `onSent` is called for each frame that was taken whole. */
  constructor(wire: Wire, allocate: Allocate | undefined, onSent: (frame: FrameBuffer) => void) {
    this.#wire = wire;
    this.#onSent = onSent;
    this.#free = Array.from({ length: FRAMES_IN_FLIGHT }, () => new FrameBuffer(allocate));
  }

  /** A frame to fill and give to `write` or `release`, if one is free and the wire is there. */
  tryFrame(): FrameBuffer | undefined {
    return this.#broken ? undefined : this.#free.pop();
  }

  /** Resolves with such a frame; with undefined once the wire is gone. */
  async frame(): Promise<FrameBuffer | undefined> {
    await this.#until(() => this.#free.length > 0);
    return this.#broken ? undefined : this.#free.pop();
  }

  write(frame: FrameBuffer): void {
    this.#wire.write(frame.pieces, frame.pieceCount, () => {
      this.#onSent(frame);
      this.release(frame);
    });
  }

  release(frame: FrameBuffer): void {
    invariant(this.#free.length < FRAMES_IN_FLIGHT, 'a frame was released twice');
    this.#free.push(frame);
    this.#wake?.();
  }

  /** Resolves with true when all that was written has been taken; with false once the wire is gone. */
  async drained(): Promise<boolean> {
    await this.#until(() => this.#free.length === FRAMES_IN_FLIGHT);
    return !this.#broken;
  }

  /** The wire is gone: nobody waits any more. */
  broken(): void {
    this.#broken = true;
    this.#wake?.();
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
