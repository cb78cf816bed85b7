/**
 * One vCPU's thread, which never returns to its event loop: outside the guest it waits on the doorbell, inside it is
 * brought out by kicks. Commands come through a message port that is read synchronously.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { AtomicBitmap } from '../../../base/bitmap.js';
import { FerryError, invariant } from '../../../base/errors.js';
import type { AccessWidth } from '../../../base/mmio.js';
import type { GuestRam } from '../../ram/guest-ram.js';
import { COMMANDS, DOORBELL, START, THROTTLE } from '../../threads/control-block.js';
import type { MmioRequester } from '../../threads/mmio-mailbox.js';
import type { VcpuSignals } from '../../threads/signals.js';
import type { VirtualClock } from '../../threads/virtual-clock.js';
import type { Outcome, VcpuCore, VcpuPorts } from '../core.js';
import type { DirtyPublisher } from '../dirty-publisher.js';
import type { Alarm } from './alarms.js';
import type { FromVcpu, ToVcpu, VcpuCommand } from './messages.js';

/** A throttled vCPU is looked at when it has run for its share of so many ns; then it pays for what it really ran. */
const THROTTLE_SLICE_NS = 10e6;
const NS_PER_MS = 1e6;

export interface LoopParts {
  readonly port: MessagePort;
  readonly signals: VcpuSignals;
  readonly peers: readonly VcpuSignals[];
  readonly ram: GuestRam;
  readonly clock: VirtualClock;
  readonly hostNow: () => number;
  readonly mmio: MmioRequester;
  readonly publisher: DirtyPublisher;
  readonly alarm: Alarm;
  readonly presentMap: number;
}

export class VcpuLoop implements VcpuPorts {
  readonly #parts: LoopParts;
  readonly #block: Int32Array;
  #core: VcpuCore | undefined;
  /** Commands that wait until the guest is unwound. */
  readonly #waiting: ToVcpu[] = [];
  #paused = false;
  /** DOORBELL as it was before this thread last looked for work. */
  #seen = 0;
  /** Host times: when the timer is due, and when a throttled vCPU is to be looked at. */
  #timerAt = Infinity;
  #runUntil = Infinity;
  /** Throttling: host time at which the running part of the slice began, and how long the guest was halted since. */
  #sliceFrom = 0;
  #haltedNs = 0;

  constructor(parts: LoopParts) {
    this.#parts = parts;
    this.#block = parts.signals.block;
  }

  run(core: VcpuCore): never {
    this.#core = core;
    for (;;) {
      this.#seen = Atomics.load(this.#block, DOORBELL);
      this.#receive();
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        this.#carryOut(next);
      }
      if (!this.#paused) {
        this.#takeStart();
        if (core.runnable) {
          this.#parts.signals.setState('running');
          this.#finish(core.run());
          continue;
        }
      }
      this.#showState();
      Atomics.wait(this.#block, DOORBELL, this.#seen);
    }
  }

  // Ports of the core.

  now(): number {
    return this.#parts.clock.now();
  }

  mmioRead(address: number, width: AccessWidth): number {
    return this.#parts.mmio.read(address, width);
  }

  mmioWrite(address: number, width: AccessWidth, value: number): void {
    this.#parts.mmio.write(address, width, value);
  }

  timerChanged(deadlineNs: number): void {
    const { clock, hostNow, signals } = this.#parts;
    this.#timerAt = deadlineNs < 0 ? Infinity : clock.hostTimeOf(deadlineNs);
    if (this.#timerAt <= hostNow()) signals.kickSelf();
    this.#setAlarm();
  }

  attend(): boolean {
    this.#throttle();
    this.#seen = Atomics.load(this.#block, DOORBELL);
    this.#parts.signals.acknowledge();
    this.#receive();
    return this.#waiting.length > 0;
  }

  idle(): boolean {
    const from = this.#parts.hostNow();
    const timeout = (this.#timerAt - from) / NS_PER_MS;
    if (timeout > 0) {
      Atomics.wait(this.#block, DOORBELL, this.#seen, timeout === Infinity ? undefined : timeout);
      this.#haltedNs += this.#parts.hostNow() - from;
    }
    return true;
  }

  pageFault(page: number): void {
    const { ram, presentMap } = this.#parts;
    this.#send({ kind: 'fault', page });
    for (;;) {
      const seen = Atomics.load(this.#block, DOORBELL);
      if (ram.u8[presentMap + page] !== 0) return;
      Atomics.wait(this.#block, DOORBELL, seen);
    }
  }

  post(target: number, vector: number): void {
    this.#parts.peers[target]!.post(vector);
  }

  startVcpu(target: number): void {
    this.#parts.peers[target]!.requestStart();
  }

  /** Takes the messages announced so far; carries out at once what may happen inside the guest. */
  #receive(): void {
    while (Atomics.load(this.#block, COMMANDS) > 0) {
      const received = receiveMessageOnPort(this.#parts.port) as { message: ToVcpu } | undefined;
      invariant(received !== undefined, 'a command is posted before it is announced');
      Atomics.sub(this.#block, COMMANDS, 1);
      const { message } = received;
      if (message.command.op === 'publish' && this.#waiting.length === 0) this.#carryOut(message);
      else this.#waiting.push(message);
    }
  }

  #carryOut({ id, command }: ToVcpu): void {
    try {
      const result = this.#execute(command);
      this.#send({ kind: 'reply', id, result });
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      this.#send({ kind: 'refusal', id, error: error.toJSON() });
    }
  }

  #execute(command: VcpuCommand): Extract<FromVcpu, { kind: 'reply' }>['result'] {
    const core = this.#core!;
    switch (command.op) {
      case 'code':
        core.setCode(command.code);
        return undefined;
      case 'start':
        core.start();
        return undefined;
      case 'pause':
        this.#paused = true;
        this.#parts.alarm.set(Infinity);
        this.#takeStart();
        this.#showState();
        return core.variant === undefined ? undefined : core.save();
      case 'resume':
        this.#paused = false;
        core.rearmTimer();
        return undefined;
      case 'publish': {
        const begun = this.#parts.hostNow();
        const pages = this.#parts.publisher.publish(new AtomicBitmap(command.bits, command.into));
        return { pages, costNs: this.#parts.hostNow() - begun };
      }
      case 'save':
        this.#takeStart();
        return core.save();
      case 'load':
        core.load(command.record, command.extra);
        return undefined;
    }
  }

  #finish(outcome: Outcome): void {
    if (outcome.kind === 'unwound') return;
    this.#parts.alarm.set(Infinity);
    this.#showState();
    if (outcome.kind === 'crashed') this.#send({ kind: 'crashed', crash: outcome.crash });
    else if (outcome.kind === 'returned') this.#send({ kind: 'returned' });
  }

  #takeStart(): void {
    if (Atomics.exchange(this.#block, START, 0) === 1) this.#core!.start();
  }

  #showState(): void {
    const core = this.#core!;
    this.#parts.signals.setState(core.crashed ? 'crashed' : this.#paused ? 'paused' : 'off');
  }

  /** Auto-converge: sleeps through what the guest shall not have; a command or another percentage ends it early. */
  #throttle(): void {
    const percent = Atomics.load(this.#block, THROTTLE);
    const { hostNow } = this.#parts;
    if (percent === 0) {
      if (this.#runUntil === Infinity) return;
      this.#runUntil = Infinity;
      this.#setAlarm();
      return;
    }
    let now = hostNow();
    if (this.#runUntil === Infinity) this.#beginSlice(now, percent);
    if (now < this.#runUntil) return;
    // Alarms and safepoints come late by more than a small share is long, so the sleep is for what was really run.
    const ran = Math.max(0, now - this.#sliceFrom - this.#haltedNs);
    const until = now + (ran * percent) / (100 - percent);
    for (;;) {
      const seen = Atomics.load(this.#block, DOORBELL);
      if (now >= until || Atomics.load(this.#block, COMMANDS) > 0) break;
      if (Atomics.load(this.#block, THROTTLE) !== percent) break;
      Atomics.wait(this.#block, DOORBELL, seen, (until - now) / NS_PER_MS);
      now = hostNow();
    }
    this.#beginSlice(now, percent);
  }

  #beginSlice(now: number, percent: number): void {
    this.#sliceFrom = now;
    this.#haltedNs = 0;
    this.#runUntil = now + (THROTTLE_SLICE_NS * (100 - percent)) / 100;
    this.#setAlarm();
  }

  #setAlarm(): void {
    this.#parts.alarm.set(Math.min(this.#timerAt, this.#runUntil));
  }

  #send(message: FromVcpu): void {
    this.#parts.port.postMessage(message);
  }
}
