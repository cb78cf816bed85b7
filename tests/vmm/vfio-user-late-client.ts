/** A client's memory behind messages whose answers come when a test says so, in any order, or as errors. */

import type { MemoryMessages } from '../../vmm/vfio-user/message-memory.js';
import { COMMAND, dmaAccess } from '../../vmm/vfio-user/protocol.js';
import type { GuestFile } from './vfio-user-client.js';

export interface Pending {
  readonly command: number;
  readonly address: number;
  readonly count: number;
  /** The client reads or writes now, and says so later. */
  carryOut(): void;
  /** The client says that it was carried out, as all that it was asked before was then, whether or not it has said so. */
  answer(refused?: boolean): void;
}

export class LateClient implements MemoryMessages {
  readonly memory: GuestFile;
  readonly pending: Pending[] = [];
  /** All that was asked of it, by what. */
  readonly asked: { readonly command: number; readonly address: number; readonly count: number }[] = [];
  /** Most that waited at a time. */
  waitedMax = 0;
  #gone = false;

  constructor(memory: GuestFile) {
    this.memory = memory;
  }

  request(command: number, payload: Uint8Array, then: (answer: Uint8Array | undefined) => void): void {
    const { address, count } = dmaAccess.read(new DataView(payload.slice().buffer), 0);
    this.asked.push({ command, address, count });
    let data: Uint8Array | undefined;
    const carryOut = (): void => {
      if (data !== undefined) return;
      data = command === COMMAND.DMA_READ ? this.memory.read(address, count) : new Uint8Array(0);
      if (command === COMMAND.DMA_WRITE) this.memory.write(address, payload.subarray(dmaAccess.size));
    };
    const answer = (refused = false): void => {
      if (refused) data = new Uint8Array(0);
      else for (const other of this.pending.slice(0, this.pending.indexOf(one) + 1)) other.carryOut();
      this.pending.splice(this.pending.indexOf(one), 1);
      if (this.#gone) return;
      then(refused ? undefined : Uint8Array.from(Buffer.concat([payload.slice(0, dmaAccess.size), data!])));
    };
    const one: Pending = { command, address, count, carryOut, answer };
    this.pending.push(one);
    this.waitedMax = Math.max(this.waitedMax, this.pending.length);
  }

  /** Of what waits, the requests of one kind. */
  waiting(command: number): readonly Pending[] {
    return this.pending.filter((one) => one.command === command);
  }

  /** Nothing is answered any more. */
  leaves(): void {
    this.#gone = true;
  }
}
