/**
 * What changed about virtual functions while they stood still. What is owed to one is part of its state, and that may be on its way to
 * another host, or be compared with what was sent: so it is owed only from when the function goes on. No internal state changes in
 * `VFIO_DEVICE_STATE_STOP`: Linux's include/uapi/linux/vfio.h.
 */

/** Of a changed policy the function starts over; a link matters if it is not as the function knows it. */
export type Missed = 'link' | 'policy';

export class MissedChanges {
  readonly #missed: (Missed | undefined)[];

  constructor(vfs: number) {
    this.#missed = new Array<Missed | undefined>(vfs).fill(undefined);
  }

  has(vf: number): boolean {
    return this.#missed[vf] !== undefined;
  }

  add(vf: number, what: Missed): void {
    if (this.#missed[vf] !== 'policy') this.#missed[vf] = what;
  }

  /** What it missed, which is made up for now. */
  take(vf: number): Missed | undefined {
    const missed = this.#missed[vf];
    this.#missed[vf] = undefined;
    return missed;
  }
}
