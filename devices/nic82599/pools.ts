/**
 * The pools of a NIC. Each is made when something is first done to it: most are never used, and a pool has registers of its
 * own for what its virtual function could do.
 */
import type { Pool } from './pool.js';

export class Pools {
  readonly #make: (index: number) => Pool;
  readonly #made: (Pool | undefined)[] = [];
  /** The physical function's driver was ready again after the last reset. */
  #resetDone = false;

  constructor(make: (index: number) => Pool) {
    this.#make = make;
  }

  at(index: number): Pool {
    return this.#made[index] ?? this.#first(index);
  }

  /** Undefined of a pool that is as the last reset left it. */
  find(index: number): Pool | undefined {
    return this.#made[index];
  }

  /** Reset of the whole device. */
  deviceReset(): void {
    this.#resetDone = false;
    for (const pool of this.#made) pool?.deviceReset();
  }

  /** The physical function's driver is ready again. */
  resetDone(): void {
    this.#resetDone = true;
    for (const pool of this.#made) pool?.mailbox.resetDone();
  }

  #first(index: number): Pool {
    const pool = this.#make(index);
    this.#made[index] = pool;
    pool.deviceReset();
    if (this.#resetDone) pool.mailbox.resetDone();
    return pool;
  }
}
