/**
 * A machine: RAM, vCPUs, devices and clock as one thing that boots, pauses, is saved, loaded and migrated. It is the
 * source and the destination of `migration/ports.ts`. It runs on drivers and can't tell threads from simulation.
 */
import type { CodeVariant } from '../../base/abi/image.js';
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { Cancel } from '../../base/clock.js';
import { FerryError, invariant } from '../../base/errors.js';
import { settleAll } from '../../base/settle.js';
import { type Duration, nanoseconds } from '../../base/units.js';
import type { PowerRequest } from '../../devices/power/device.js';
import type {
  AssignedDevice,
  DestinationMachine,
  HarvestReport,
  MachineDescription,
  MachineState,
  SourceMachine,
} from '../../migration/ports.js';
import type { Timeline } from '../../migration/timeline.js';
import { vmmErrors } from '../errors.js';
import type { PassthroughReport } from '../passthrough/device.js';
import { ASSIGNED_NAME, type NicOptions } from '../passthrough/records.js';
import type { VcpuCounters, VcpuState } from '../threads/control-block.js';
import type { VcpuCode } from '../vcpu/code.js';
import { explainCrash, type GuestCrash } from '../vcpu/crash.js';
import type { VcpuHandle } from '../vcpu/handle.js';
import { refuseUnlike } from './compatible.js';
import { assignedDevice } from './device-calls.js';
import { deviceRecords } from './devices.js';
import type { DriverEvents, MachineDrivers } from './drivers.js';
import { type MachineEvent, MachineEvents, type MachineRunState } from './events.js';
import { GuestCode } from './guest-code.js';
import { type Guest, guestInRam, isInRam } from './guest-in-ram.js';
import { Harvester } from './harvest.js';
import { loadImage } from './loader.js';
import { decodePlatform, encodePlatform, PLATFORM_RECORDS } from './platform-records.js';
import { rehearse } from './rehearse.js';
import { vcpusOnTimeline } from './vcpus-on-timeline.js';

export interface MachineOptions {
  /** RAM_BYTES_MIN to RAM_BYTES_MAX in steps of RAM_BYTES_STEP. */
  readonly ramBytes: number;
  /** 1 to VCPUS_MAX. */
  readonly vcpus: number;
  /** Seed for the guest's own random numbers, a 32-bit number; default 1. */
  readonly seed?: number;
  /** Share (0 to 1) of each stop that the guest's clock makes up for when it goes on; default 0: it sees none of it. */
  readonly clockCatchUp?: number;
  /** How long a guest may take to its next safepoint before it is stopped by force; default 5000 ms. */
  readonly safepointDeadlineMs?: number;
  /** A NIC whose virtual function the guest is given; none if absent. */
  readonly nic?: NicOptions;
}

export interface VcpuQuery {
  readonly index: number;
  readonly state: VcpuState;
  /** The host kernel's thread id, 0 if it has none of its own or the host does not tell. */
  readonly threadId: number;
  /** CPU time of its thread in ns; undefined where the host does not tell. */
  readonly cpuTimeNs: number | undefined;
  readonly counters: VcpuCounters;
}

export interface MachineQuery {
  readonly state: MachineRunState;
  /** The guest's own name; undefined without a guest. */
  readonly guest: string | undefined;
  /** The virtual clock. */
  readonly clockNs: number;
  readonly variant: CodeVariant | undefined;
  readonly vcpus: readonly VcpuQuery[];
}

export class Machine implements SourceMachine, DestinationMachine {
  readonly #options: MachineOptions;
  readonly #drivers: MachineDrivers;
  readonly #harvester: Harvester;
  readonly devices: readonly AssignedDevice[];
  readonly #events = new MachineEvents();
  #state: MachineRunState = 'empty';
  #guest: Guest | undefined;
  #incoming: MachineDescription | undefined;
  #variant: CodeVariant | undefined;
  #stoppedAtWallNs = 0;
  #deviceStart: Duration | undefined;
  #timeline: Timeline | undefined;
  #ended: Promise<void> | undefined;
  /** Operations that change whether vCPUs run happen one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  /** For the factories; `makeDrivers` gets where drivers report what happens by itself. */
  constructor(options: MachineOptions, makeDrivers: (events: DriverEvents) => MachineDrivers) {
    this.#options = options;
    const drivers = makeDrivers(this.#driverEvents());
    this.#drivers = { ...drivers, vcpus: vcpusOnTimeline(drivers.vcpus, () => this.#timeline) };
    this.#harvester = new Harvester(this.#drivers.vcpus, this.#drivers.ram.deviceLog);
    this.devices = options.nic === undefined ? [] : [assignedDevice(ASSIGNED_NAME, this.#drivers.devices)];
  }

  on(listener: (event: MachineEvent) => void): Cancel {
    return this.#events.on(listener);
  }

  /** From here on, until `undefined`, what the vCPUs are asked to do is put down as well. */
  observe(timeline: Timeline | undefined): void {
    this.#timeline = timeline;
  }

  /** How long the assigned device took to start the last time. */
  get deviceStart(): Duration | undefined {
    return this.#deviceStart;
  }

  get deviceDirtied(): AtomicBitmap | undefined {
    return this.devices.length === 0 ? undefined : this.#harvester.deviceDirtied;
  }

  get #hasDevice(): boolean {
    return this.devices.length > 0;
  }

  get state(): MachineRunState {
    return this.#state;
  }

  get ram(): Uint8Array {
    return this.#drivers.ram.u8;
  }

  /** The linear memory behind `ram`, for kernels of other threads. */
  get memory(): WebAssembly.Memory {
    return this.#drivers.ram.memory;
  }

  get description(): MachineDescription {
    const { ram, range } = this.#drivers;
    const guest = this.#guest;
    const { imageGpa, imageBytes, imageHash } =
      guest === undefined
        ? (this.#incoming ?? { imageGpa: 0, imageBytes: 0, imageHash: '' })
        : { ...guest, imageHash: guest.code.hash };
    return {
      ramBytes: ram.u8.length,
      vcpus: range.vcpus.length,
      migratedPages: range.firstPage,
      imageGpa,
      imageBytes,
      imageHash,
      devices: [...PLATFORM_RECORDS, ...deviceRecords(this.#options.nic !== undefined)],
    };
  }

  /** What the host knows of the assigned device; undefined without one. */
  nicReport(): Promise<PassthroughReport | undefined> {
    return this.#drivers.devices.call('report');
  }

  query(): MachineQuery {
    const { vcpus, clock } = this.#drivers;
    return {
      state: this.#state,
      guest: this.#guest?.code.image.meta.name,
      clockNs: clock.now(),
      variant: this.#variant,
      vcpus: vcpus.map(({ index, state, threadId, counters }) => ({
        index,
        state,
        threadId,
        cpuTimeNs: threadId === 0 ? undefined : this.#drivers.threadCpuNs(threadId),
        counters,
      })),
    };
  }

  /**
   * Loads `image` and starts vCPU 0, or leaves it paused at its entry. Rejects with an error of the image, or
   * `vmm/machine-option` for the command line; the machine is then as before.
   */
  boot(image: Uint8Array, commandLine = '', { paused = false } = {}): Promise<void> {
    return this.#exclusively(async () => {
      this.#require('boot', 'empty');
      await this.#drivers.devices.ready();
      const { ram, range, vcpus, clock, wallNow } = this.#drivers;
      const code = GuestCode.parse(image.slice(), this.#drivers.sha256, this.#drivers.compile, false);
      const run = await code.variant('run');
      const imageGpa = loadImage(ram, range, image, code.image, {
        commandLine,
        seed: this.#options.seed ?? 1,
        wallClockNs: wallNow(),
      });
      this.#guest = { code, imageGpa, imageBytes: code.image.totalBytes };
      this.#variant = 'run';
      this.#stoppedAtWallNs = wallNow();
      if (!paused) clock.start();
      this.#enter(paused ? 'paused' : 'running');
      const [first, ...others] = vcpus;
      await this.#prepareVcpu(first!, run, paused);
      await first!.start();
      await Promise.all(others.map((vcpu) => this.#prepareVcpu(vcpu, run, paused)));
      // In the background, so that it is there when a migration starts; whoever needs it hears of a failure.
      void code.variant('log').catch(() => undefined);
    });
  }

  // Source.

  async startDirtyLog(): Promise<void> {
    this.#require('log dirty pages', 'running', 'paused');
    this.#harvester.clear();
    await this.#swapTo('log');
    // Rehearsed: in the blackout nothing shall run for the first time.
    await this.#drivers.devices.call('save');
  }

  async stopDirtyLog(): Promise<void> {
    if (this.#variant === 'log') await this.#swapTo('run');
  }

  harvest(into: AtomicBitmap): Promise<HarvestReport> {
    return this.#harvester.harvest(into);
  }

  throttle(percent: number): void {
    invariant(Number.isInteger(percent) && percent >= 0 && percent <= 99, `throttled by ${percent} %`);
    for (const vcpu of this.#drivers.vcpus) vcpu.throttle(percent);
  }

  pause(): Promise<void> {
    return this.#exclusively(async () => {
      this.#require('pause', 'running', 'paused');
      if (this.#state === 'paused') return;
      await this.#stopVcpus();
      this.#require('pause', 'running');
      this.#enter('paused');
    });
  }

  resume(): Promise<void> {
    return this.#exclusively(async () => {
      this.#require('resume', 'paused', 'running');
      if (this.#state === 'running') return;
      await this.#startVcpus();
    });
  }

  async save(): Promise<MachineState> {
    this.#require('be saved', 'paused', 'loaded');
    const { vcpus, devices, clock } = this.#drivers;
    const records = await devices.call('save');
    // After the devices, which may have requested interrupts for what the vCPUs had asked of them before the pause.
    const saved = await Promise.all(vcpus.map((vcpu) => vcpu.save()));
    const platform = encodePlatform({
      stoppedAtWallNs: this.#stoppedAtWallNs,
      vcpus: saved.map(({ extra }) => extra),
    });
    return {
      vcpus: saved.map(({ record }) => record),
      devices: [...platform, ...records],
      clockNs: clock.now(),
    };
  }

  relinquish(): void {
    this.#require('be handed over', 'paused');
    this.#enter('released');
  }

  // Destination.

  async accept(description: MachineDescription): Promise<void> {
    await this.#exclusively(async () => {
      this.#require('accept a guest', 'empty');
      refuseUnlike(this.description, description);
      await this.#drivers.devices.ready();
      this.#incoming = description;
      this.#enter('incoming');
      // They stay so until `run`; and once they answer, their threads are up. In the blackout nothing shall run for the
      // first time.
      const { vcpus, devices } = this.#drivers;
      await Promise.all([devices.call('rehearse'), ...vcpus.map((vcpu) => vcpu.pause())]);
    });
  }

  prepareCode(): Promise<void> {
    return this.#exclusively(async () => {
      if (this.#state !== 'incoming' || this.#guest !== undefined) return;
      try {
        this.#guest = await this.#takeCode(this.#incoming!);
        await rehearse(this.#drivers, 'load');
      } catch (error) {
        // The image has not arrived whole, most likely; `load` looks again and tells.
        if (!(error instanceof FerryError)) throw error;
      }
    });
  }

  rehearse(what: 'load' | 'run'): Promise<void> {
    return this.#exclusively(async () => {
      this.#require('rehearse', 'incoming');
      await rehearse(this.#drivers, what);
    });
  }

  async load(state: MachineState, ramArrived: Promise<void> = Promise.resolve()): Promise<void> {
    await this.#exclusively(async () => {
      this.#require('load a guest', 'incoming');
      const incoming = this.#incoming!;
      const { vcpus, devices, clock } = this.#drivers;
      if (this.#guest === undefined) {
        await ramArrived;
        this.#guest = await this.#takeCode(incoming);
      }
      if (!(state.clockNs >= 0 && state.clockNs < Infinity)) {
        const problem = `the clock shows ${state.clockNs}`;
        throw vmmErrors.error('state-refused', { record: 'the machine', problem });
      }
      if (state.vcpus.length !== vcpus.length) {
        const problem = `${state.vcpus.length} vCPUs instead of ${vcpus.length}`;
        throw vmmErrors.error('state-refused', { record: 'the machine', problem });
      }
      const platform = decodePlatform(state.devices, vcpus.length);
      this.#stoppedAtWallNs = platform.stoppedAtWallNs;
      clock.set(state.clockNs);
      const loadVcpus = (): Promise<unknown> =>
        Promise.all(vcpus.map((vcpu, i) => vcpu.load(state.vcpus[i]!, platform.vcpus[i]!)));
      const loading = Promise.all([
        devices.call('restore', state.devices.slice(PLATFORM_RECORDS.length)),
        loadVcpus(),
      ]);
      // Whoever waits for it hears of a failure, below.
      loading.catch(() => undefined);
      // Looked at while the threads load.
      await ramArrived;
      const codeIsThere = isInRam(this.#guest, this.#drivers);
      await loading;
      if (!codeIsThere) {
        this.#guest = undefined;
        this.#guest = await this.#takeCode(incoming);
        await loadVcpus();
      }
      this.#harvester.clear();
      this.#enter('loaded');
    });
  }

  run(): Promise<void> {
    return this.#exclusively(async () => {
      this.#require('run', 'loaded');
      this.#incoming = undefined;
      await this.#startVcpus();
    });
  }

  /** Instead of `run`: takes the guest over as a paused one, which `resume` lets run. */
  hold(): Promise<void> {
    return this.#exclusively(async () => {
      this.#require('take over a guest', 'loaded');
      this.#incoming = undefined;
      this.#enter('paused');
    });
  }

  discard(): Promise<void> {
    return this.destroy();
  }

  /** Ends all threads; the machine is of no use afterwards. Idempotent. */
  destroy(): Promise<void> {
    if (this.#state !== 'destroyed') this.#enter('destroyed');
    this.#ended ??= this.#drivers.destroy();
    return this.#ended;
  }

  #driverEvents(): DriverEvents {
    return {
      console: ({ lines, dropped }) => {
        if (dropped > 0) this.#events.emit({ kind: 'console-dropped', lines: dropped });
        for (const line of lines) this.#events.emit({ kind: 'console', line });
      },
      power: (request) => this.#power(request),
      crashed: (crash) => this.#crashed(this.#explain(crash)),
      unresponsive: (error) => this.#crashed(error),
      returned: (vcpu) => this.#events.emit({ kind: 'vcpu-off', vcpu }),
      fault: (vcpu, page) => this.#events.emit({ kind: 'fault', vcpu, page }),
      failed: (error) => {
        if (this.#state === 'destroyed') return;
        this.#enter('failed');
        this.#events.emit({ kind: 'failed', error });
      },
    };
  }

  #power(request: PowerRequest): void {
    if (this.#state !== 'running') return;
    if (request === 'panic') {
      this.#endGuest('crashed');
      this.#events.emit({ kind: 'panic' });
      return;
    }
    this.#endGuest('off');
    this.#events.emit({ kind: request === 'off' ? 'power-off' : 'reset' });
  }

  #crashed(error: FerryError): void {
    if (this.#state === 'destroyed') return;
    if (this.#state !== 'crashed') this.#endGuest('crashed');
    this.#events.emit({ kind: 'crash', error });
  }

  /** The guest is over; what still runs of it is stopped in the background. */
  #endGuest(state: 'off' | 'crashed'): void {
    this.#enter(state);
    void this.#exclusively(() => this.#stopVcpus()).catch(() => undefined);
  }

  #explain(crash: GuestCrash): FerryError {
    const image = this.#guest?.code.image;
    const code = this.#variant === undefined ? undefined : image?.code[this.#variant];
    const { reason, where } = explainCrash(crash, code, image?.meta.functionNames ?? []);
    return vmmErrors.error('guest-crashed', { vcpu: crash.vcpu, reason, where });
  }

  async #prepareVcpu(vcpu: VcpuHandle, code: VcpuCode, paused: boolean): Promise<void> {
    if (paused) await vcpu.pause();
    await vcpu.setCode(code);
  }

  async #stopVcpus(): Promise<void> {
    const { vcpus, clock, devices, wallNow } = this.#drivers;
    await Promise.all([this.#hasDevice && devices.call('halt'), ...vcpus.map((vcpu) => vcpu.pause())]);
    clock.stop();
    this.#stoppedAtWallNs = wallNow();
  }

  async #startVcpus(): Promise<void> {
    const { vcpus, clock, wallNow } = this.#drivers;
    const stood = Math.max(0, wallNow() - this.#stoppedAtWallNs);
    clock.start(clock.now() + Math.floor(stood * (this.#options.clockCatchUp ?? 0)));
    this.#enter('running');
    try {
      await settleAll([
        ...(this.#hasDevice ? [this.#startDevice()] : []),
        ...vcpus.map((vcpu) => vcpu.resume()),
      ]);
    } catch (error) {
      // A guest runs with all of its machine, or not at all: then the next attempt begins from where this one did.
      if (this.#state === 'running') {
        await this.#stopVcpus();
        this.#enter('paused');
      }
      throw error;
    }
  }

  async #startDevice(): Promise<void> {
    const { devices, hostNow } = this.#drivers;
    const from = hostNow();
    await devices.call('start');
    this.#deviceStart = nanoseconds(hostNow() - from);
  }

  async #swapTo(variant: CodeVariant): Promise<void> {
    invariant(this.#guest !== undefined, 'a machine that runs has a guest');
    const code = await this.#guest.code.variant(variant);
    await Promise.all(this.#drivers.vcpus.map((vcpu) => vcpu.setCode(code)));
    this.#variant = variant;
  }

  /** Compiles the image in RAM and hands it to the vCPUs. */
  async #takeCode(incoming: MachineDescription): Promise<Guest> {
    const guest = guestInRam(incoming, this.#drivers);
    const run = await guest.code.variant('run');
    await Promise.all(this.#drivers.vcpus.map((vcpu) => vcpu.setCode(run)));
    this.#variant = 'run';
    return guest;
  }

  #require(operation: string, ...states: MachineRunState[]): void {
    if (states.includes(this.#state)) return;
    throw vmmErrors.error('machine-state', { operation, state: this.#state });
  }

  #enter(state: MachineRunState): void {
    const previous = this.#state;
    this.#state = state;
    if (state !== previous) this.#events.emit({ kind: 'state', state, previous });
  }

  #exclusively<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(operation);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
