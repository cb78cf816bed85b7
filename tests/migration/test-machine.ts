/**
 * A small honest machine for tests of the flows: RAM, a guest that really writes pages through a dirty log as virtual
 * time goes by, registers that are its whole state. What its RAM must be after any number of steps can be computed from
 * nothing but that number, so a survivor is judged against the truth, not against the other side.
 */
import { AtomicBitmap, popCount } from '../../base/bitmap.js';
import type { Cancel, Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import type { FaultPlan } from '../../base/fault.js';
import { microseconds, PAGE_BYTES } from '../../base/units.js';
import type {
  DestinationMachine,
  HarvestReport,
  MachineDescription,
  MachineState,
  SourceMachine,
} from '../../migration/ports.js';
import { type DeviceShape, TestDevice } from './test-device.js';
import { refused } from './test-errors.js';

export interface GuestShape {
  readonly pages: number;
  /** The guest writes within the first so many pages; the rest stays zero. */
  readonly workingSet: number;
  /** Steps (one word written each) per slice of 100 microseconds at full speed. */
  readonly stepsPerSlice: number;
  /** The device assigned to it, if any. The guest then leaves every second word alone. */
  readonly device?: DeviceShape;
  /** More of them, each with pages of its own. */
  readonly otherDevices?: readonly DeviceShape[];
}

export const smallGuest: GuestShape = { pages: 128, workingSet: 90, stepsPerSlice: 2 };

const SLICE = microseconds(100);
const RUN_MAX_STEPS = 50_000_000;

export class TestMachine implements SourceMachine, DestinationMachine {
  readonly shape: GuestShape;
  readonly ram: Uint8Array;
  readonly log: AtomicBitmap;
  /** Of host writes. */
  readonly hostLog: AtomicBitmap;
  readonly device: TestDevice | undefined;
  readonly #otherDevices: readonly TestDevice[] = [];
  readonly deviceDirtied: AtomicBitmap | undefined;
  readonly #scheduler: Scheduler;
  readonly #words: Int32Array;
  #steps = 0;
  #x = 0x12345678;
  #running = false;
  #logging = false;
  #throttle = 0;
  #credit = 0;
  #nextSlice: Cancel = () => undefined;
  #gone = false;
  /** What became of it, for checks. */
  readonly calls: string[] = [];
  /** Set to make a call fail. */
  failing: Partial<
    Record<'accept' | 'prepareCode' | 'load' | 'run' | 'resume' | 'pause' | 'harvest' | 'stopDirtyLog', Error>
  > = {};
  /** How long each takes, in microseconds. */
  readonly takesUs = { pause: 20, load: 100, run: 10 };
  /** What `description` says instead. */
  describedAs: Partial<MachineDescription> = {};
  /** Changes the state between load and read-back, as a defective device would. */
  distort: (state: MachineState) => MachineState = (state) => state;
  #loaded: MachineState | undefined;

  constructor(scheduler: Scheduler, shape: GuestShape = smallGuest, faults?: FaultPlan) {
    this.#scheduler = scheduler;
    this.shape = shape;
    this.ram = new Uint8Array(new SharedArrayBuffer(shape.pages * PAGE_BYTES));
    this.#words = new Int32Array(this.ram.buffer);
    this.log = new AtomicBitmap(shape.pages);
    this.hostLog = new AtomicBitmap(shape.pages);
    if (shape.device === undefined) return;
    const { ram, hostLog } = this;
    const vcpusRun = (): boolean => this.#running;
    const around = { scheduler, ram, log: hostLog, vcpusRun, faults };
    this.device = new TestDevice(around, shape.device);
    this.#otherDevices = (shape.otherDevices ?? []).map(
      (other, i) => new TestDevice(around, other, `vf${i + 1}`),
    );
    this.deviceDirtied = new AtomicBitmap(shape.pages);
  }

  get devices(): readonly TestDevice[] {
    return this.device === undefined ? [] : [this.device, ...this.#otherDevices];
  }

  get description(): MachineDescription {
    return {
      ramBytes: this.ram.length,
      vcpus: 1,
      migratedPages: this.shape.pages,
      imageGpa: 0,
      imageBytes: 0,
      imageHash: '',
      devices: [{ name: 'console', version: 1 }],
      ...this.describedAs,
    };
  }

  get steps(): number {
    return this.#steps;
  }

  get running(): boolean {
    return this.#running;
  }

  get throttled(): number {
    return this.#throttle;
  }

  /** Runs the guest for the first time. */
  start(): void {
    this.#go();
  }

  #go(): void {
    invariant(!this.#running && !this.#gone, 'this machine must not run');
    this.#running = true;
    for (const device of this.devices) device.start();
    this.#scheduleSlice();
  }

  #halt(): void {
    this.#running = false;
    for (const device of this.devices) device.halt();
    this.#nextSlice();
  }

  #scheduleSlice(): void {
    this.#nextSlice = this.#scheduler.after(SLICE, () => {
      this.#credit += (this.shape.stepsPerSlice * (100 - this.#throttle)) / 100;
      for (; this.#credit >= 1; this.#credit--) this.#step();
      this.#scheduleSlice();
    });
  }

  #step(): void {
    invariant(this.#steps < RUN_MAX_STEPS, 'the test guest runs on without end');
    const word = nextWord(this);
    if (this.#logging) this.log.set(word >>> 10);
    this.#words[word] = this.#steps;
  }

  /** Advances the generator; the registers are all the state there is. */
  advance(): number {
    this.#steps++;
    let x = this.#x;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#x = x;
    return x >>> 0;
  }

  /** What RAM is after `steps` steps of the guest and `writes` of each of its devices, computed from the beginning. */
  static truth(shape: GuestShape, steps: number, writes: readonly number[] = []): Uint8Array {
    const never = { after: () => () => undefined } as unknown as Scheduler;
    const machine = new TestMachine(never, shape);
    while (machine.steps < steps) machine.#step();
    machine.devices.forEach((device, i) => {
      TestDevice.truth(device.shape, writes[i] ?? 0, machine.ram);
    });
    return machine.ram;
  }

  // The source's part

  async startDirtyLog(): Promise<void> {
    await this.#scheduler.sleep(microseconds(200));
    this.#logging = true;
    this.hostLog.clear();
    this.deviceDirtied?.clear();
    this.calls.push('startDirtyLog');
  }

  async stopDirtyLog(): Promise<void> {
    this.#logging = false;
    this.log.clear();
    this.calls.push('stopDirtyLog');
    this.#fail('stopDirtyLog');
  }

  async harvest(into: AtomicBitmap): Promise<HarvestReport> {
    await this.#scheduler.sleep(microseconds(30));
    this.#fail('harvest');
    invariant(this.#logging, 'harvest without a log');
    const pages = { cpuPages: 0, devicePages: 0, bothPages: 0 };
    for (let word = 0; word < into.words.length; word++) {
      const [cpu, device] = [this.log.exchangeWord(word), this.hostLog.exchangeWord(word)];
      this.deviceDirtied?.orWord(word, device);
      const added = (cpu | device) & ~Atomics.or(into.words, word, cpu | device);
      pages.cpuPages += popCount(added & ~device);
      pages.devicePages += popCount(added & ~cpu);
      pages.bothPages += popCount(added & cpu & device);
    }
    return { ...pages, cost: microseconds(30) };
  }

  throttle(percent: number): void {
    this.#throttle = percent;
  }

  async pause(): Promise<void> {
    this.calls.push('pause');
    await this.#scheduler.sleep(microseconds(this.takesUs.pause));
    this.#fail('pause');
    this.#halt();
  }

  async resume(): Promise<void> {
    this.calls.push('resume');
    this.#fail('resume');
    if (!this.#running) this.#go();
  }

  relinquish(): void {
    invariant(!this.#running && !this.#gone, 'relinquished while running, or twice');
    this.#gone = true;
    this.calls.push('relinquish');
  }

  // Both

  async save(): Promise<MachineState> {
    invariant(!this.#running, 'saved while running');
    if (this.#loaded !== undefined) return this.distort(this.#loaded);
    const registers = new Uint8Array(16);
    new DataView(registers.buffer).setFloat64(0, this.#steps, true);
    new DataView(registers.buffer).setInt32(8, this.#x, true);
    return {
      vcpus: [
        {
          index: 0,
          run: 'running',
          registers,
          unwind: Uint8Array.of(1, 2, 3),
          pir: new Uint8Array(32),
          timerDeadlineNs: -1,
        },
      ],
      devices: [{ name: 'console', version: 1, state: Uint8Array.of(this.#steps & 0xff, 7) }],
      clockNs: this.#steps * 5000,
    };
  }

  // The destination's part

  async accept(description: MachineDescription): Promise<void> {
    await this.#scheduler.yield();
    this.#fail('accept');
    for (const field of ['ramBytes', 'vcpus', 'migratedPages'] as const) {
      if (description[field] === this.description[field]) continue;
      throw refused(`${field} ${description[field]}, not ${this.description[field]}`);
    }
    this.calls.push('accept');
  }

  async prepareCode(): Promise<boolean> {
    this.calls.push('prepareCode');
    await this.#scheduler.sleep(microseconds(500));
    this.#fail('prepareCode');
    return true;
  }

  rehearse(what: 'load' | 'run'): Promise<void> {
    return this.#scheduler.sleep(microseconds(this.takesUs[what]));
  }

  async load(state: MachineState, ramArrived?: Promise<void>): Promise<void> {
    await ramArrived;
    await this.rehearse('load');
    this.#fail('load');
    const { registers } = state.vcpus[0]!;
    const view = new DataView(registers.buffer, registers.byteOffset, registers.length);
    this.#steps = view.getFloat64(0, true);
    this.#x = view.getInt32(8, true);
    this.#loaded = state;
    this.calls.push('load');
  }

  async run(): Promise<void> {
    this.calls.push('run');
    await this.rehearse('run');
    this.#fail('run');
    invariant(this.#loaded !== undefined, 'run without a state');
    this.#loaded = undefined;
    this.#go();
  }

  async discard(): Promise<void> {
    invariant(!this.#running, 'discarded while running');
    this.#gone = true;
    this.calls.push('discard');
  }

  /** Ends the test's guest, so that virtual time can run out. */
  stopForGood(): void {
    for (const device of this.devices) device.stopForGood();
    this.#halt();
  }

  #fail(call: keyof TestMachine['failing']): void {
    const error = this.failing[call];
    if (error !== undefined) throw error;
  }
}

/** The word that the next step writes. */
function nextWord(machine: TestMachine): number {
  const { workingSet, device } = machine.shape;
  const word = machine.advance() % (workingSet * (PAGE_BYTES / 4));
  return device === undefined ? word : word & ~1;
}
