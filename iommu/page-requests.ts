/** The page-request queue (VT-d 7.4): requests of devices for missing pages, handed to software in memory. */
import { bits, compose } from '../base/bits.js';
import type { RegisterFile } from '../base/registers.js';
import type { EventInterrupt } from './event.js';
import type { HostMemory } from './host-memory.js';
import { reg } from './registers.js';

/** 7.4.1.1 page request descriptor. */
export const pageRequestDescriptor = bits({
  TYPE: [0, 8],
  PP: [8, 1],
  RID: [16, 16],
  PASID: [32, 20],
  EXE: [52, 1],
  PRIV: [53, 1],
  R: [64, 1],
  W: [65, 1],
  LPIG: [66, 1],
  PRGI: [67, 9],
  ADDR: [76, 52],
});
export const PAGE_REQUEST_BYTES = 32;
const TYPE_PAGE_REQUEST = 1;

export interface PageRequest {
  readonly source: number;
  /** Negative for a request without PASID. */
  readonly pasid: number;
  readonly page: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly group: number;
  readonly last: boolean;
}

export class PageRequests {
  private readonly registers: RegisterFile<unknown>;
  private readonly memory: HostMemory;
  private readonly event: EventInterrupt;

  constructor(registers: RegisterFile<unknown>, memory: HostMemory, event: EventInterrupt) {
    this.registers = registers;
    this.memory = memory;
    this.event = event;
  }

  /** Queues a request; false if it could not be (full, overflowed, no queue): the device gets RESPONSE_FAILURE. */
  queue(request: PageRequest): boolean {
    const { registers } = this;
    const { PPR, PRO } = reg.PRS.fields;
    const { PQS, PQA } = reg.PQA.fields;
    const bytes = 4096 * 2 ** registers.getField(reg.PQA, PQS);
    const base = PQA.readInPlace(registers.words, reg.PQA.word);
    const tail = registers.get(reg.PQT) % bytes;
    const head = registers.get(reg.PQH) % bytes;
    const next = (tail + PAGE_REQUEST_BYTES) % bytes;
    const status = registers.get(reg.PRS);
    if (PRO.get(status) === 1) return false;
    if (next === head) {
      registers.setField(reg.PRS, PRO, 1);
      if (status === 0) this.event.raise();
      return false;
    }
    const region = this.memory.find(base + tail, PAGE_REQUEST_BYTES);
    if (region === undefined) return false;
    const words = compose(pageRequestDescriptor, PAGE_REQUEST_BYTES / 4, {
      TYPE: TYPE_PAGE_REQUEST,
      PP: request.pasid >= 0 ? 1 : 0,
      RID: request.source,
      PASID: Math.max(request.pasid, 0),
      R: request.read ? 1 : 0,
      W: request.write ? 1 : 0,
      LPIG: request.last ? 1 : 0,
      PRGI: request.group,
      ADDR: request.page,
    });
    const index = region.index(base + tail);
    for (let i = 0; i < words.length; i++) Atomics.store(region.words, index + i, words[i]! | 0);
    registers.set(reg.PQT, next);
    registers.setField(reg.PRS, PPR, 1);
    if (status === 0) this.event.raise();
    return true;
  }

  /** After software cleared bits of PRS: an event that was not sent yet is moot once none is left. */
  settle(): void {
    if (this.registers.get(reg.PRS) === 0) this.event.withdraw();
  }
}
