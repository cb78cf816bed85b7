/** One vCPU's thread, from the machine's side. */
import { MessageChannel, SHARE_ENV, Worker } from 'node:worker_threads';
import { reservedRange } from '../../../base/abi/reserved-range.js';
import type { AtomicBitmap } from '../../../base/bitmap.js';
import type { VcpuRecord } from '../../../migration/ports.js';
import { compiledOf } from '../../built.js';
import { vmmErrors } from '../../errors.js';
import { GuestRam } from '../../ram/guest-ram.js';
import {
  countersOf,
  pendingOf,
  START,
  STATE,
  stateOf,
  THREAD_ID,
  THROTTLE,
  VCPU_STATES,
  type VcpuCounters,
  type VcpuPending,
  type VcpuState,
} from '../../threads/control-block.js';
import { Requests } from '../../threads/requests.js';
import type { VcpuSignals } from '../../threads/signals.js';
import type { VcpuCode } from '../code.js';
import type { VcpuExtra } from '../core.js';
import { DirtyPublisher } from '../dirty-publisher.js';
import type { VcpuEvents, VcpuHandle } from '../handle.js';
import type { CommandResults, FromVcpu, ToVcpu, VcpuCommand, VcpuThreadData } from './messages.js';

/** A command that has no answer after this long is announced again: the guest may have overwritten its kick word. */
const REKICK_MS = 10;

export interface VcpuThreadOptions {
  /** How long a guest may take to its next safepoint before it is stopped by force. */
  readonly deadlineMs: number;
  /** Called when the thread has come up. */
  online(): void;
}

export class VcpuThread implements VcpuHandle {
  readonly index: number;
  readonly #signals: VcpuSignals;
  readonly #events: VcpuEvents;
  readonly #options: VcpuThreadOptions;
  readonly #data: Omit<VcpuThreadData, 'port'>;
  readonly #channel = new MessageChannel();
  readonly #requests = new Requests();
  #worker: Worker | undefined;
  #online = false;
  /** The thread has said that the guest is unwound, and was not told to go on: its dirty map is nobody's now. */
  #paused = false;
  /** What it said of itself when it was paused, as long as that holds. */
  #saved: CommandResults['pause'];
  #publisher: DirtyPublisher | undefined;

  /** The thread itself starts with the first command, so that a boot starts the thread that it waits for first. */
  constructor(
    data: Omit<VcpuThreadData, 'port'>,
    signals: VcpuSignals,
    options: VcpuThreadOptions,
    events: VcpuEvents,
  ) {
    this.index = data.index;
    this.#data = data;
    this.#signals = signals;
    this.#options = options;
    this.#events = events;
    this.#channel.port1.on('message', (message: FromVcpu) => this.#received(message));
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

  get pending(): VcpuPending {
    return pendingOf(this.#signals.block);
  }

  setCode(code: VcpuCode): Promise<void> {
    // Made before it is needed: a blackout has no time for that.
    if (code.variant !== 'run') this.#publisher ??= this.#makePublisher();
    this.#saved = undefined;
    return this.#command({ op: 'code', code });
  }

  start(): Promise<void> {
    this.#saved = undefined;
    return this.#command({ op: 'start' });
  }

  async pause(): Promise<void> {
    this.#saved = await this.#command({ op: 'pause' });
    this.#paused = true;
  }

  resume(): Promise<void> {
    this.#paused = false;
    this.#saved = undefined;
    return this.#command({ op: 'resume' });
  }

  /** While the vCPU is paused the map is published from here: a blackout has no time for a way there and back. */
  async publish(into: AtomicBitmap): Promise<CommandResults['publish']> {
    if (this.#paused) {
      this.#publisher ??= this.#makePublisher();
      return { pages: this.#publisher.publish(into), costNs: 0 };
    }
    return this.#command({ op: 'publish', into: into.buffer, bits: into.length });
  }

  /** Of a paused vCPU nothing changes any more but what others request of it: interrupts, and its start. */
  async save(): Promise<CommandResults['save']> {
    const { block } = this.#signals;
    if (this.#saved === undefined || Atomics.load(block, START) !== 0) return this.#command({ op: 'save' });
    const { record, extra } = this.#saved;
    return { record: { ...record, pir: this.#signals.savePir() }, extra };
  }

  load(record: VcpuRecord, extra: VcpuExtra): Promise<void> {
    this.#saved = undefined;
    return this.#command({ op: 'load', record, extra });
  }

  throttle(percent: number): void {
    Atomics.store(this.#signals.block, THROTTLE, percent);
    this.#signals.kick();
  }

  async destroy(): Promise<void> {
    this.#requests.close(new Error('the vCPU thread was ended'));
    this.#channel.port1.close();
    await this.#worker?.terminate();
  }

  #makePublisher(): DirtyPublisher {
    const { kernel, ram, vcpus, index } = this.#data;
    const { memory } = new GuestRam(ram);
    const range = reservedRange(memory.buffer.byteLength, vcpus);
    return new DirtyPublisher(new WebAssembly.Instance(kernel, { env: { memory } }), range, index);
  }

  #startWorker(): Worker {
    const { port2 } = this.#channel;
    const workerData: VcpuThreadData = { ...this.#data, port: port2 };
    const worker = new Worker(compiledOf(new URL('./vcpu-worker.js', import.meta.url)), {
      name: `vcpu${this.index}`,
      env: SHARE_ENV,
      workerData,
      transferList: [port2],
    });
    worker.on('online', () => {
      this.#online = true;
      this.#options.online();
    });
    worker.on('error', (error) => {
      this.#requests.close(error);
      this.#events.failed(error);
    });
    return worker;
  }

  async #command<Op extends VcpuCommand['op']>(
    command: VcpuCommand & { readonly op: Op },
  ): Promise<CommandResults[Op]> {
    const answer = this.#requests.request<CommandResults[Op]>((id) => {
      const message: ToVcpu = { id, command };
      this.#worker ??= this.#startWorker();
      this.#channel.port1.postMessage(message);
      this.#signals.command();
    });
    let waitedMs = 0;
    const watch = setInterval(() => {
      // Until the thread has come up, nothing says anything about the guest.
      if (!this.#online) return;
      waitedMs += REKICK_MS;
      this.#signals.insist();
      if (waitedMs >= this.#options.deadlineMs) this.#giveUp(command.op, waitedMs);
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
    void this.#worker?.terminate();
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
