/**
 * The DMA logs of the assigned functions, and the way of their requests past them: while no function logs, requests go
 * on as if there were no logs.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { DmaPort, MsiPort, RequesterId } from '../../base/dma.js';
import type { FaultPlan } from '../../base/fault.js';
import { type Iova, PAGE_BYTES } from '../../base/units.js';
import { DmaLog } from '../../devices/vfio/dma-log.js';

/** Hands requests to the log of their function, if it runs, and else on at once; and tells of interrupts. */
export class LoggedBus implements DmaPort, MsiPort {
  readonly #next: DmaPort & MsiPort;
  readonly #running = new Map<RequesterId, DmaLog>();
  readonly #watched = new Map<RequesterId, () => void>();

  constructor(next: DmaPort & MsiPort) {
    this.#next = next;
  }

  read(requester: RequesterId, address: Iova, target: Uint8Array, at: number, length: number): boolean {
    return this.#next.read(requester, address, target, at, length);
  }

  write(requester: RequesterId, address: Iova, source: Uint8Array, at: number, length: number): void {
    this.#wayOf(requester).write(requester, address, source, at, length);
  }

  writeDescriptor(
    requester: RequesterId,
    address: Iova,
    d0: number,
    d1: number,
    d2: number,
    d3: number,
  ): void {
    this.#wayOf(requester).writeDescriptor(requester, address, d0, d1, d2, d3);
  }

  send(requester: RequesterId, address: Iova, data: number): void {
    this.#wayOf(requester).send(requester, address, data);
    if (this.#watched.size > 0) this.#watched.get(requester)?.();
  }

  /** Calls `listener` after each interrupt of `source`; undefined: no more. */
  onInterrupt(source: RequesterId, listener: (() => void) | undefined): void {
    if (listener === undefined) this.#watched.delete(source);
    else this.#watched.set(source, listener);
  }

  /** A log of what `source` writes, which does not run yet. */
  logOf(name: string, source: RequesterId, mapped: MappedMemory): FunctionLog {
    const log = new DmaLog({ name, source: { routingId: source }, next: this.#next });
    return new FunctionLog(log, mapped, (runs) => {
      if (runs) this.#running.set(source, log);
      else this.#running.delete(source);
    });
  }

  #wayOf(requester: RequesterId): DmaPort & MsiPort {
    return (this.#running.size > 0 && this.#running.get(requester)) || this.#next;
  }
}

/** What a function reaches, from address 0 on, and the machine's log of what is written there. */
export interface MappedMemory {
  readonly bytes: number;
  readonly written: AtomicBitmap;
  readonly faults: FaultPlan;
}

/** One function's log, as a migration uses it. */
export class FunctionLog {
  readonly #log: DmaLog;
  readonly #mapped: MappedMemory;
  readonly #runs: (runs: boolean) => void;
  /** What the log was given at its start. */
  #bytes = 0;

  constructor(log: DmaLog, mapped: MappedMemory, runs: (runs: boolean) => void) {
    this.#log = log;
    this.#mapped = mapped;
    this.#runs = runs;
  }

  /** Starts it on all that is mapped now; anew, if it runs. */
  start(): void {
    this.stop();
    const { bytes, faults } = this.#mapped;
    // The defect of the fault site: all but the first page counts as mapped later.
    this.#bytes = faults.strikes('nic/log-range-missed') === undefined ? bytes : PAGE_BYTES;
    this.#log.start([{ iova: 0, length: this.#bytes }]);
    this.#runs(true);
  }

  /** Names what was written since the last report in the machine's log. */
  report(): void {
    this.#log.report(0, this.#bytes, PAGE_BYTES, this.#mapped.written);
  }

  /** Harmless while it does not run. */
  stop(): void {
    this.#log.stop();
    this.#runs(false);
  }
}
