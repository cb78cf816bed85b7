/** A vCPU of a deterministic machine: between two slices its guest is always unwound, so every command is done when its turn has come. */

import type { ReservedRange } from '../../base/abi/reserved-range.js';
import type { AtomicBitmap } from '../../base/bitmap.js';
import { InvariantError } from '../../base/errors.js';
import type { AccessWidth } from '../../base/mmio.js';
import type { VcpuRecord } from '../../migration/ports.js';
import type { MmioBus } from '../machine/mmio-bus.js';
import type { GuestRam } from '../ram/guest-ram.js';
import {
  countersOf,
  pendingOf,
  START,
  stateOf,
  type VcpuCounters,
  type VcpuPending,
  type VcpuState,
} from '../threads/control-block.js';
import type { VcpuSignals } from '../threads/signals.js';
import type { VirtualClock } from '../threads/virtual-clock.js';
import type { VcpuCode } from '../vcpu/code.js';
import { VcpuCore, type VcpuExtra, type VcpuPorts } from '../vcpu/core.js';
import type { DirtyPublisher } from '../vcpu/dirty-publisher.js';
import type { VcpuEvents, VcpuHandle } from '../vcpu/handle.js';
import type { Runner } from './runner.js';

export interface VcpuParts {
  readonly index: number;
  readonly ram: GuestRam;
  readonly range: ReservedRange;
  /** Of all vCPUs, this one's among them. */
  readonly signals: readonly VcpuSignals[];
  readonly clock: VirtualClock;
  readonly bus: MmioBus;
  readonly publisher: DirtyPublisher;
  readonly runner: Runner;
  readonly events: VcpuEvents;
  /** Resolves when it gets to what it is asked next. */
  readonly turn: () => Promise<void>;
}

export class DeterministicVcpu implements VcpuHandle, VcpuPorts {
  readonly index: number;
  readonly threadId = 0;
  readonly #parts: VcpuParts;
  readonly #signals: VcpuSignals;
  readonly #core: VcpuCore;
  #paused = false;
  #throttle = 0;
  /** Safepoints that end the slice. */
  #budget = 0;
  /** Throttled: not to run before this time. */
  #notBefore = 0;

  constructor(parts: VcpuParts) {
    this.index = parts.index;
    this.#parts = parts;
    this.#signals = parts.signals[parts.index]!;
    this.#core = new VcpuCore(parts.index, parts.ram, parts.range, this.#signals, this);
    // Set for good, so that every safepoint leaves the guest and is counted.
    this.#signals.kickSelf();
  }

  get state(): VcpuState {
    return stateOf(this.#signals.block);
  }

  get counters(): VcpuCounters {
    return countersOf(this.#signals.block);
  }

  get pending(): VcpuPending {
    return pendingOf(this.#signals.block);
  }

  // For the runner.

  takeStart(): void {
    if (!this.#paused && Atomics.exchange(this.#signals.block, START, 0) === 1) this.#core.start();
  }

  /** When it can run, as far as is known now; Infinity if only someone else can make it. */
  readyAt(now: number): number {
    const core = this.#core;
    if (this.#paused || !core.runnable) return Infinity;
    if (!core.halted || core.wakes()) return this.#notBefore;
    if (core.timerDeadline < 0) return Infinity;
    return Math.max(this.#notBefore, now + core.timerDeadline - this.#parts.clock.now());
  }

  /** Runs until `budget` safepoints have passed or the guest halts. */
  runSlice(budget: number): void {
    const { runner, events } = this.#parts;
    const begun = runner.now();
    this.#budget = budget;
    this.#signals.setState('running');
    const outcome = this.#core.run();
    if (outcome.kind === 'crashed') runner.defer(() => events.crashed(outcome.crash));
    else if (outcome.kind === 'returned') runner.defer(() => events.returned(this.index));
    const share = this.#throttle / (100 - this.#throttle);
    this.#notBefore = runner.now() + Math.ceil((runner.now() - begun) * share);
    this.#showState();
  }

  // For the machine.

  async setCode(code: VcpuCode): Promise<void> {
    await this.#parts.turn();
    this.#core.setCode(code);
  }

  async start(): Promise<void> {
    await this.#parts.turn();
    this.#core.start();
    this.#parts.runner.wake();
  }

  async pause(): Promise<void> {
    await this.#parts.turn();
    this.#paused = true;
    this.#showState();
  }

  async resume(): Promise<void> {
    await this.#parts.turn();
    this.#paused = false;
    this.#showState();
    this.#parts.runner.wake();
  }

  async publish(into: AtomicBitmap): Promise<{ readonly pages: number; readonly costNs: number }> {
    await this.#parts.turn();
    return { pages: this.#parts.publisher.publish(into), costNs: 0 };
  }

  async save(): Promise<{ readonly record: VcpuRecord; readonly extra: VcpuExtra }> {
    await this.#parts.turn();
    if (Atomics.exchange(this.#signals.block, START, 0) === 1) this.#core.start();
    return this.#core.save();
  }

  async load(record: VcpuRecord, extra: VcpuExtra): Promise<void> {
    await this.#parts.turn();
    this.#core.load(record, extra);
  }

  throttle(percent: number): void {
    this.#throttle = percent;
  }

  // Ports of the core.

  now(): number {
    return this.#parts.clock.now();
  }

  mmioRead(address: number, width: AccessWidth): number {
    return this.#parts.bus.read(address, width);
  }

  mmioWrite(address: number, width: AccessWidth, value: number): void {
    this.#parts.bus.write(address, width, value);
  }

  timerChanged(): void {
    // The runner asks for the deadline when the guest halts; while it runs, it looks at every safepoint.
  }

  attend(): boolean {
    this.#signals.acceptPosts();
    return this.#parts.runner.safepoint() >= this.#budget;
  }

  idle(): boolean {
    return false;
  }

  pageFault(page: number): void {
    throw new InvariantError(`page ${page} can't be waited for in one thread`);
  }

  post(target: number, vector: number): void {
    this.#parts.signals[target]!.post(vector);
  }

  startVcpu(target: number): void {
    this.#parts.signals[target]!.requestStart();
  }

  #showState(): void {
    const core = this.#core;
    if (core.crashed) this.#signals.setState('crashed');
    else if (this.#paused) this.#signals.setState('paused');
    else if (!core.runnable) this.#signals.setState('off');
    else this.#signals.setState(core.halted ? 'halted' : 'running');
  }
}
