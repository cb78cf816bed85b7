/** One vCPU's thread, from the machine's side. */
import { MessageChannel, Worker } from 'node:worker_threads';
import type { AtomicBitmap } from '../../../base/bitmap.js';
import type { VcpuRecord } from '../../../migration/ports.js';
import { vmmErrors } from '../../errors.js';
import type { DriverEvents, VcpuHandle } from '../../machine/drivers.js';
import { Requests } from '../../machine/thread/requests.js';
import type { VcpuCode } from '../code.js';
import {
  countersOf,
  STATE,
  stateOf,
  THREAD_ID,
  THROTTLE,
  VCPU_STATES,
  type VcpuCounters,
  type VcpuState,
} from '../control-block.js';
import type { VcpuExtra } from '../core.js';
import type { VcpuSignals } from '../signals.js';
import type { CommandResults, FromVcpu, ToVcpu, VcpuCommand, VcpuThreadData } from './messages.js';

/** A command that has no answer after this long is announced again: the guest may have overwritten its kick word. */
const REKICK_MS = 10;

export class VcpuThread implements VcpuHandle {
  readonly index: number;
  readonly #signals: VcpuSignals;
  readonly #events: DriverEvents;
  readonly #deadlineMs: number;
  readonly #worker: Worker;
  readonly #port: MessageChannel['port1'];
  readonly #requests = new Requests();
  #online = false;

  /** `deadlineMs`: how long a guest may take to its next safepoint before it is stopped by force. */
  constructor(
    data: Omit<VcpuThreadData, 'port'>,
    signals: VcpuSignals,
    deadlineMs: number,
    events: DriverEvents,
  ) {
    this.index = data.index;
    this.#signals = signals;
    this.#deadlineMs = deadlineMs;
    this.#events = events;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const workerData: VcpuThreadData = { ...data, port: port2 };
    this.#worker = new Worker(new URL('./vcpu-worker.js', import.meta.url), {
      name: `vcpu${data.index}`,
      workerData,
      transferList: [port2],
    });
    this.#worker.on('online', () => {
      this.#online = true;
    });
    this.#worker.on('error', (error) => {
      this.#requests.close(error);
      events.failed(error);
    });
    port1.on('message', (message: FromVcpu) => this.#received(message));
  }

  get state(): VcpuState {
    return stateOf(this.#signals.block);
  }

  get threadId(): number {
    return this.#signals.block[THREAD_ID]!;
  }

  get counters(): VcpuCounters {
    return countersOf(this.#signals.block);
  }

  setCode(code: VcpuCode): Promise<void> {
    return this.#command({ op: 'code', code });
  }

  start(): Promise<void> {
    return this.#command({ op: 'start' });
  }

  pause(): Promise<void> {
    return this.#command({ op: 'pause' });
  }

  resume(): Promise<void> {
    return this.#command({ op: 'resume' });
  }

  publish(into: AtomicBitmap): Promise<CommandResults['publish']> {
    return this.#command({ op: 'publish', into: into.buffer, bits: into.length });
  }

  save(): Promise<CommandResults['save']> {
    return this.#command({ op: 'save' });
  }

  load(record: VcpuRecord, extra: VcpuExtra): Promise<void> {
    return this.#command({ op: 'load', record, extra });
  }

  throttle(percent: number): void {
    Atomics.store(this.#signals.block, THROTTLE, percent);
    this.#signals.kick();
  }

  async destroy(): Promise<void> {
    this.#requests.close(new Error('the vCPU thread was ended'));
    this.#port.close();
    await this.#worker.terminate();
  }

  async #command<Op extends VcpuCommand['op']>(
    command: VcpuCommand & { readonly op: Op },
  ): Promise<CommandResults[Op]> {
    const answer = this.#requests.request<CommandResults[Op]>((id) => {
      const message: ToVcpu = { id, command };
      this.#port.postMessage(message);
      this.#signals.command();
    });
    let waitedMs = 0;
    const watch = setInterval(() => {
      // Until the thread has come up, nothing says anything about the guest.
      if (!this.#online) return;
      waitedMs += REKICK_MS;
      this.#signals.kick();
      if (waitedMs >= this.#deadlineMs) this.#giveUp(command.op, waitedMs);
    }, REKICK_MS);
    try {
      return await answer;
    } finally {
      clearInterval(watch);
    }
  }

  #giveUp(command: string, waitedMs: number): void {
    const error = vmmErrors.error('guest-unresponsive', { vcpu: this.index, command, waitedMs });
    this.#requests.close(error);
    Atomics.store(this.#signals.block, STATE, VCPU_STATES.indexOf('crashed'));
    void this.#worker.terminate();
    this.#events.unresponsive(error);
  }

  #received(message: FromVcpu): void {
    switch (message.kind) {
      case 'reply':
        this.#requests.resolve(message.id, message.result);
        break;
      case 'refusal':
        this.#requests.reject(message.id, message.error);
        break;
      case 'crashed':
        this.#events.crashed(message.crash);
        break;
      case 'returned':
        this.#events.returned(this.index);
        break;
      case 'fault':
        this.#events.fault(this.index, message.page);
        break;
    }
  }
}
