/**
 * A small honest device for tests of the flows: it writes RAM behind the CPU's back as virtual time goes by. Each write
 * is translated, which sets the page's dirty bit unless the translation is cached as dirty, and lands a while later, as
 * posted writes do; so clearing the bits means nothing before the cache was flushed and the writes under way landed.
 */
import { AtomicBitmap } from '../../base/bitmap.js';
import type { Cancel, Scheduler } from '../../base/clock.js';
import type { DeviceRecord } from '../../base/device-record.js';
import { invariant } from '../../base/errors.js';
import { type FaultPlan, NO_FAULTS } from '../../base/fault.js';
import { elapsed, type Instant, instant, microseconds, nanoseconds, PAGE_BYTES } from '../../base/units.js';
import type {
  AssignedDevice,
  DeviceIdentity,
  DmaTracking,
  DmaWriter,
  VfioDevice,
} from '../../migration/ports.js';
import { refused } from './test-errors.js';

export interface DeviceShape {
  /** Pages that it writes to: those that are mapped for it. */
  readonly first: number;
  readonly pages: number;
  /** Writes begun every 50 microseconds. */
  readonly writesPerBurst: number;
  /** How long a write may be on its way, microseconds. */
  readonly heldUs: number;
}

export const smallDevice: DeviceShape = { first: 70, pages: 50, writesPerBurst: 1, heldUs: 400 };

const BURST = microseconds(50);
const NAME = 'vf0';
const IDENTITY = 'TESTDEV';
const IDENTITY_BYTES = IDENTITY.length + 1;
const REST_BYTES = 16;
const AHEAD_BYTES = 300;

type State = 'stopped' | 'running' | 'quiet' | 'stop-copy' | 'resuming' | 'loaded';
type Call =
  | 'track'
  | 'readDirty'
  | 'preCopy'
  | 'quiesce'
  | 'stopCopy'
  | 'resume'
  | 'write'
  | 'load'
  | 'save'
  | 'reset';

export interface DeviceSurroundings {
  readonly scheduler: Scheduler;
  readonly ram: Uint8Array;
  /** The machine's log of host writes. */
  readonly log: AtomicBitmap;
  readonly vcpusRun: () => boolean;
  readonly faults?: FaultPlan | undefined;
}

interface Write {
  readonly word: number;
  readonly value: number;
  readonly lands: Instant;
}

export class TestDevice implements AssignedDevice, DmaWriter, VfioDevice {
  readonly name: string;
  /** As every driver takes it. */
  identity: DeviceIdentity = {
    kind: 'test:dev',
    revision: 1,
    vectors: 3,
    queues: 2,
    mac: '02:00:00:00:00:01',
  };
  readonly dma: DmaWriter = this;
  readonly vfio: VfioDevice = this;
  readonly shape: DeviceShape;
  readonly calls: string[] = [];
  /** Two devices of different models do not fit each other. */
  model = 1;
  /** Set to make a call fail. */
  failing: Partial<Record<Call, Error>> = {};
  /** What it did when the test ended it. */
  inTheEnd: State | undefined;
  /** A device that goes on writing when it was told not to. */
  neverStops = false;
  /** Changes the record that it shows of itself. */
  distort: (record: DeviceRecord) => DeviceRecord = (record) => record;
  readonly #around: DeviceSurroundings;
  readonly #generator = new Generator();
  readonly #dirtyBits: AtomicBitmap;
  readonly #cachedDirty = new Set<number>();
  readonly #underWay: Write[] = [];
  #state: State = 'stopped';
  #tracking: DmaTracking | undefined;
  #nextBurst: Cancel = () => undefined;
  #introduced = false;
  #stream: number[] = [];

  constructor(around: DeviceSurroundings, shape: DeviceShape, name = NAME) {
    this.name = name;
    this.#around = around;
    this.shape = shape;
    this.#dirtyBits = new AtomicBitmap(around.log.length);
  }

  /** Writes begun since the beginning of its life, on whatever machine. */
  get writes(): number {
    return this.#generator.count;
  }

  /** As the machine starts and stops it. */
  start(): void {
    invariant(this.#state !== 'resuming', 'started without a state');
    if (this.#state === 'running') return;
    this.#state = 'running';
    this.calls.push('run');
    this.#nextBurst();
    this.#scheduleBurst();
  }

  halt(): void {
    if (this.#state === 'running') this.#state = 'stopped';
  }

  /** Ends it, whatever it thinks of that, so that virtual time can run out. */
  stopForGood(): void {
    this.inTheEnd = this.#state;
    this.#nextBurst();
  }

  /** What RAM is after `writes` writes on top of what is in `ram`. */
  static truth(shape: DeviceShape, writes: number, ram: Uint8Array): void {
    const words = new Int32Array(ram.buffer);
    const generator = new Generator();
    while (generator.count < writes) words[generator.next(shape)] = generator.count;
  }

  async track(how: DmaTracking | undefined): Promise<void> {
    await this.#called('track', 10);
    this.#tracking = how;
    this.#dirtyBits.clear();
    this.#cachedDirty.clear();
  }

  async readDirty(): Promise<void> {
    await this.#called('readDirty', 10);
    const { faults = NO_FAULTS, log } = this.#around;
    const found = new AtomicBitmap(log.length);
    const { first, pages } = this.shape;
    if (this.#tracking === 'mapped-pages') found.setRange(first, first + pages);
    else this.#dirtyBits.drainInto(found);
    if (faults.strikes('iommu/flush-skipped') === undefined) this.#cachedDirty.clear();
    if (faults.strikes('migration/copy-before-drain') === undefined) await this.#drain();
    found.drainInto(log);
  }

  async preCopy(): Promise<Uint8Array> {
    await this.#called('preCopy', 20);
    invariant(this.#state === 'running' || this.#state === 'stopped', `preCopy of a device ${this.#state}`);
    if (this.#introduced) return new Uint8Array(AHEAD_BYTES).fill(0xaa);
    this.#introduced = true;
    return Uint8Array.of(...new TextEncoder().encode(IDENTITY), this.model);
  }

  async quiesce(): Promise<void> {
    await this.#called('quiesce', 15);
    invariant(this.#around.vcpusRun(), 'quiesced after the vCPUs were stopped');
    this.#state = 'quiet';
  }

  async stopCopy(): Promise<Uint8Array> {
    await this.#called('stopCopy', 40);
    invariant(this.#state === 'quiet' && !this.#around.vcpusRun(), `stopCopy of a device ${this.#state}`);
    this.#state = 'stop-copy';
    return this.#generator.save();
  }

  async resume(): Promise<void> {
    await this.#called('resume', 5);
    this.start();
  }

  async write(piece: Uint8Array): Promise<void> {
    await this.#called('write', 10);
    invariant(this.#state === 'stopped' || this.#state === 'resuming', `written while ${this.#state}`);
    this.#state = 'resuming';
    this.#stream.push(...piece);
    if (this.#stream.length < IDENTITY_BYTES) return;
    const model = this.#stream[IDENTITY_BYTES - 1];
    if (model !== this.model) throw refused(`device model ${model}, not ${this.model}`);
  }

  async load(): Promise<void> {
    await this.#called('load', 50);
    invariant(this.#state === 'resuming', `loaded while ${this.#state}`);
    const { length } = this.#stream;
    const ahead = length - IDENTITY_BYTES - REST_BYTES;
    if (ahead < 0 || ahead % AHEAD_BYTES !== 0) throw refused(`a device stream of ${length} bytes`);
    this.#generator.load(Uint8Array.from(this.#stream.slice(-REST_BYTES)));
    this.#state = 'loaded';
  }

  async save(): Promise<readonly DeviceRecord[]> {
    await this.#called('save', 5);
    invariant(this.#state === 'stop-copy' || this.#state === 'loaded', `saved while ${this.#state}`);
    return [this.distort({ name: this.name, version: 1, state: this.#generator.save() })];
  }

  async reset(): Promise<void> {
    await this.#called('reset', 20);
    this.#introduced = false;
    this.#state = 'stopped';
    this.start();
  }

  async #called(call: Call, us: number): Promise<void> {
    this.calls.push(call);
    await this.#around.scheduler.sleep(microseconds(us));
    const error = this.failing[call];
    if (error !== undefined) throw error;
  }

  #scheduleBurst(): void {
    this.#nextBurst = this.#around.scheduler.after(BURST, () => {
      if (this.#state !== 'running' && !this.neverStops) return;
      for (let i = 0; i < this.shape.writesPerBurst; i++) this.#begin();
      this.#scheduleBurst();
    });
  }

  #begin(): void {
    const { scheduler } = this.#around;
    const word = this.#generator.next(this.shape);
    const page = word >>> 10;
    if (this.#tracking === 'dirty-bits' && !this.#cachedDirty.has(page)) {
      this.#cachedDirty.add(page);
      this.#dirtyBits.set(page);
    }
    const held = (this.#generator.count * 7919) % (this.shape.heldUs * 1000);
    // Posted writes land in the order in which they were begun.
    const lands = instant(Math.max(scheduler.now() + held, this.#underWay.at(-1)?.lands ?? 0));
    this.#underWay.push({ word, value: this.#generator.count, lands });
    scheduler.after(elapsed(scheduler.now(), lands), () => this.#land());
  }

  #land(): void {
    const write = this.#underWay.shift()!;
    new Int32Array(this.#around.ram.buffer)[write.word] = write.value;
  }

  /** Until every write begun so far has landed. */
  async #drain(): Promise<void> {
    const { scheduler } = this.#around;
    const last = this.#underWay.at(-1);
    while (last !== undefined && this.#underWay.includes(last)) await scheduler.sleep(nanoseconds(5000));
  }
}

/** Which word comes next; all the state that the device has. */
class Generator {
  count = 0;
  #x = 0x2545f491;

  next({ first, pages }: DeviceShape): number {
    this.count++;
    let x = this.#x;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#x = x;
    // Odd words are the device's, so that what the guest writes to the same page is not lost.
    return first * (PAGE_BYTES / 4) + (((x >>> 0) % (pages * (PAGE_BYTES / 4))) | 1);
  }

  save(): Uint8Array {
    const state = new Uint8Array(REST_BYTES);
    const view = new DataView(state.buffer);
    view.setFloat64(0, this.count, true);
    view.setInt32(8, this.#x, true);
    return state;
  }

  load(state: Uint8Array): void {
    const view = new DataView(state.buffer, state.byteOffset, state.length);
    this.count = view.getFloat64(0, true);
    this.#x = view.getInt32(8, true);
  }
}
