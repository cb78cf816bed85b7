/**
 * A virtio-net device under a driver that does what none may: an input is a list of steps (registers, rings and buffers as they lie
 * in memory, doorbells, frames, a machine that stands still or moves), and most inputs begin as a driver does.
 *
 * What is held to be wrong, beside exceptions: a value wider than its access, a constant that changed, work beyond what the driver
 * gave to do, a frame that no network carries, memory touched that no ring of the driver's names, or at a time when the device may
 * touch none, a used ring in which chains are missing or not shown, a state that it does not take back.
 */
import type { DmaPort, MsiPort } from '../../base/dma.js';
import { iovaOf } from '../../base/dma.js';
import type { SeededRandom } from '../../base/random.js';
import { RegisterFile } from '../../base/registers.js';
import { decodeSections } from '../../devices/pci/state.js';
import { VirtioNet } from '../../devices/virtio/net.js';
import {
  commonConfig,
  DEVICE_AT,
  MSIX_BAR,
  NET_QUEUES,
  NOTIFY_AT,
  NOTIFY_MULTIPLIER,
  QUEUE_SIZE_MAX,
  queueState,
  STRUCTURES_BAR,
  virtioBars,
} from '../../devices/virtio/registers.js';
import { type FuzzTarget, type Outcome, refusal } from './engine.js';
import { mutateBytes } from './mutate.js';
import { UsedRing } from './used-ring.js';
import { MEMORY_BYTES, STEP, STEP_BYTES, stepsOf } from './virtio-driver.js';

const MAC = [0x52, 0x54, 0, 0, 0, 1] as const;
const CONFIG_BYTES = 0x1000;
/** Ethernet without FCS, padded, and with room for a tag. */
const FRAME_BYTES_MIN = 60;
const FRAME_BYTES_MAX = 1518;
const RECEIVED_BYTES_MAX = 4000;
const BUDGET_MAX = 64;
/** Requests for a chain: its head, its descriptors, its pieces twice, and what is said of it. */
const REQUESTS_PER_CHAIN = 3 * QUEUE_SIZE_MAX + 8;
const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WRITE = 2;
/** Beyond it sums of addresses are not exact, and nobody has memory. */
const JUDGED_BELOW = 2 ** 52;

/** Addresses from `from` up to, and without, `to`. */
interface Range {
  readonly from: number;
  readonly to: number;
}

const within = (ranges: readonly Range[], from: number, to: number): boolean =>
  from >= JUDGED_BELOW || ranges.some((range) => from >= range.from && to <= range.to);
const overlaps = (ranges: readonly Range[], from: number, to: number): boolean =>
  ranges.some((range) => from < range.to && to > range.from);

/** Memory that judges each request by what the rings name. */
class JudgedMemory implements DmaPort, MsiPort {
  readonly bytes = new Uint8Array(MEMORY_BYTES);
  readonly view = new DataView(this.bytes.buffer);
  requests = 0;
  problem: string | undefined;
  /** What may be read and written in this step; undefined while the device may touch nothing. */
  reads: readonly Range[] | undefined;
  writes: readonly Range[] = [];
  /** Descriptors and rings of the driver's: who overwrites them with a frame changes what the rest of the step may touch. */
  tables: readonly Range[] = [];
  /** Used rings that lie apart from everything else that may be written. */
  rings: readonly UsedRing[] = [];
  #judges = true;

  begin(): void {
    this.requests = 0;
    this.#judges = true;
  }

  read(_requester: number, address: number, target: Uint8Array, at: number, length: number): boolean {
    this.#judge('reads', address, length);
    if (!this.#has(address, length)) return false;
    target.set(this.bytes.subarray(address, address + length), at);
    return true;
  }

  write(_requester: number, address: number, source: Uint8Array, at: number, length: number): void {
    this.#judge('writes', address, length);
    if (overlaps(this.tables, address, address + length)) this.#judges = false;
    const ring = this.#judges
      ? this.rings.find((one) => overlaps([one], address, address + length))
      : undefined;
    if (ring !== undefined) this.problem ??= ring.write(address, source, at, length);
    if (this.#has(address, length)) this.bytes.set(source.subarray(at, at + length), address);
  }

  /** The device has worked; `shows`: and must have shown the driver all that it gave back. */
  end(shows: boolean): void {
    if (this.#judges && shows) for (const ring of this.rings) this.problem ??= ring.judge();
    this.rings = [];
  }

  writeDescriptor(): void {
    this.problem ??= 'a descriptor of another device is written';
  }

  send(): void {}

  #judge(what: 'reads' | 'writes', from: number, length: number): void {
    this.requests++;
    const ranges = this.reads === undefined ? undefined : this[what];
    if (ranges === undefined) this.problem ??= `${what} memory where it may touch none`;
    else if (this.#judges && length > 0 && !within(ranges, from, from + length)) {
      this.problem ??= `${what} ${length} bytes at 0x${from.toString(16)}, which no ring names`;
    }
  }

  #has(address: number, length: number): boolean {
    return address >= 0 && address + length <= MEMORY_BYTES;
  }
}

class World {
  readonly memory = new JudgedMemory();
  readonly net: VirtioNet;
  problem: string | undefined;
  #sent = 0;
  #halted = false;
  #wireReady = true;
  readonly #banks = new RegisterFile(queueState(NET_QUEUES));
  readonly #bank = queueState(NET_QUEUES).reg;
  readonly #frame = new Uint8Array(RECEIVED_BYTES_MAX).fill(0x5a);

  constructor(tamper: (net: VirtioNet) => void) {
    this.net = new VirtioNet({
      name: 'virtio-net0',
      mac: Uint8Array.from(MAC),
      standby: false,
      send: (_bytes, _at, length) => {
        this.#sent++;
        if (length < FRAME_BYTES_MIN || length > FRAME_BYTES_MAX)
          this.#wrong(`sent a frame of ${length} bytes`);
      },
      ready: () => this.#wireReady,
      wake: () => {},
    });
    const { memory } = this;
    const upstream = { open: true, bus: 1, dma: memory, msi: memory, decodeChanged() {}, errorMessage() {} };
    this.net.transport.attach(upstream);
    tamper(this.net);
  }

  /** Does one step; what is wrong with it is in `problem`. */
  step(kind: number, detail: number, offset: number, value: number): void {
    const { net, memory } = this;
    const size = 1 << (detail % 3);
    memory.begin();
    memory.reads = undefined;
    switch (kind) {
      case STEP.memory:
        this.#store(offset, size, value);
        break;
      case STEP.write:
      case STEP.read:
        this.#bar(kind, STRUCTURES_BAR, offset, size, value);
        break;
      case STEP.writeVectors:
      case STEP.readVectors:
        this.#bar(kind === STEP.writeVectors ? STEP.write : STEP.read, MSIX_BAR, offset, size, value);
        break;
      case STEP.configWrite:
        net.transport.fn.configWrite(aligned(offset, size, CONFIG_BYTES), size, clipped(value, size));
        break;
      case STEP.configRead:
        this.#answered(net.transport.fn.configRead(aligned(offset, size, CONFIG_BYTES), size), size);
        break;
      case STEP.doorbell:
        this.#bar(STEP.write, STRUCTURES_BAR, NOTIFY_AT + (detail % 8) * NOTIFY_MULTIPLIER, 2, value);
        break;
      case STEP.frame:
        // What came is shown with the next turn.
        this.#work(1, false, () => net.receive(this.#frame, 0, 14 + (value % (RECEIVED_BYTES_MAX - 14))));
        break;
      case STEP.run:
        this.#run(1 + (value % BUDGET_MAX));
        break;
      case STEP.halt:
        if (!this.#halted) this.#work(NET_QUEUES, true, () => net.halt());
        this.#halted = true;
        break;
      case STEP.resume:
        net.resume();
        this.#halted = false;
        break;
      case STEP.link:
        net.setLink((detail & 1) === 1);
        break;
      case STEP.announce:
        net.askToAnnounce();
        break;
      case STEP.move:
        this.#move();
        break;
      case STEP.wire:
        this.#wireReady = (detail & 1) === 1;
        break;
    }
    if (memory.problem !== undefined) this.#wrong(memory.problem);
  }

  /** What nothing may have changed. */
  judgeConstants(): void {
    const read = (at: number, size: number): number =>
      this.net.transport.fn.behaviour.readBar(STRUCTURES_BAR, at, size);
    if (MAC.some((byte, i) => read(DEVICE_AT + i, 1) !== byte)) this.#wrong('it has another MAC address');
    const queues = read(commonConfig.reg.QUEUES.offset, 2);
    if (queues !== NET_QUEUES) this.#wrong(`it has ${queues} queues`);
  }

  #wrong(what: string): void {
    this.problem ??= what;
  }

  #store(offset: number, size: number, value: number): void {
    const { view } = this.memory;
    const at = aligned(offset, size, MEMORY_BYTES);
    if (size === 1) view.setUint8(at, value);
    else if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
  }

  #bar(kind: number, bar: number, offset: number, size: number, value: number): void {
    const { behaviour } = this.net.transport.fn;
    const at = aligned(offset, size, virtioBars.find(({ index }) => index === bar)!.bytes);
    if (kind === STEP.write) behaviour.writeBar(bar, at, size, clipped(value, size));
    else this.#answered(behaviour.readBar(bar, at, size), size);
  }

  #answered(value: number, size: number): void {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * size))
      this.#wrong(`${value} is read by an access of ${size} bytes`);
  }

  #run(budget: number): void {
    const sent = this.#sent;
    // Twice: commands have a budget of their own.
    this.#work(2 * budget, true, () => this.net.run(budget));
    if (this.#sent - sent > budget)
      this.#wrong(`${this.#sent - sent} frames are sent where ${budget} may be`);
    if (this.#sent > sent && !this.#wireReady) this.#wrong('a frame is sent while the cable takes none');
  }

  /** Something that touches memory, for at most so many chains; `shows`: a device that still works has shown what it gave back. */
  #work(chains: number, shows: boolean, work: () => void): void {
    const { memory, net } = this;
    if (!this.#halted && net.transport.isLive) this.#allowWhatRingsName();
    work();
    memory.end(shows && net.transport.isLive);
    const max = (chains + 2 * NET_QUEUES) * REQUESTS_PER_CHAIN;
    if (memory.requests > max) this.#wrong(`${memory.requests} requests for ${chains} chains at most`);
  }

  #allowWhatRingsName(): void {
    const { memory } = this;
    const reads: Range[] = [];
    const writes: Range[] = [];
    const tables: Range[] = [];
    const rings: UsedRing[] = [];
    const { sections } = decodeSections(this.net.transport.save().state);
    const wrong = this.#banks.restore(sections.find(([name]) => name === 'queues')![1]);
    if (wrong !== undefined) this.#wrong(wrong);
    for (let number = 0; number < NET_QUEUES; number++) {
      const banks = this.#banks;
      const { ENABLE, SIZE, DESCRIPTORS, DRIVER, DEVICE, USED } = this.#bank;
      if (banks.get(ENABLE, number) === 0) continue;
      const size = banks.get(SIZE, number);
      const range = (register: typeof DESCRIPTORS, bytes: number): Range => {
        const from = iovaOf(banks.get(register, number), banks.getHigh(register, number));
        return { from, to: from + bytes };
      };
      const table = range(DESCRIPTORS, size * DESCRIPTOR_BYTES);
      const available = range(DRIVER, 4 + 2 * size);
      reads.push(table, available);
      tables.push(table, available);
      const ring = new UsedRing(range(DEVICE, 0).from, size, banks.get(USED, number));
      rings.push(ring);
      writes.push(ring);
      for (
        let at = table.from;
        at < table.to && at + DESCRIPTOR_BYTES <= MEMORY_BYTES;
        at += DESCRIPTOR_BYTES
      ) {
        const from = iovaOf(memory.view.getUint32(at, true), memory.view.getUint32(at + 4, true));
        const to = from + memory.view.getUint32(at + 8, true);
        const writable = (memory.view.getUint16(at + 12, true) & DESCRIPTOR_WRITE) !== 0;
        (writable ? writes : reads).push({ from, to });
      }
    }
    const apart = rings.filter(
      (ring) =>
        ring.from < JUDGED_BELOW &&
        !overlaps(tables, ring.from, ring.to) &&
        !writes.some((range) => range !== ring && overlaps([range], ring.from, ring.to)),
    );
    Object.assign(memory, { reads, writes, tables, rings: apart });
  }

  /** To another host and back: it takes what it gave, and stands still until it is told to go on. */
  #move(): void {
    const { transport } = this.net;
    const saved = transport.save();
    const refused = refusal(() => transport.restore(saved));
    if (refused !== undefined) this.#wrong(`refuses what it has saved: ${refused}`);
    else if (Buffer.compare(transport.save().state, saved.state) !== 0)
      this.#wrong('saves another state than the one that it took');
    this.#halted = true;
  }
}

/** As a root complex passes it on: aligned, and not beyond the end. */
const aligned = (offset: number, size: number, bytes: number): number => (offset % bytes) & ~(size - 1);
const clipped = (value: number, size: number): number => (size === 4 ? value : value & (2 ** (8 * size) - 1));

/** `tamper` lets a test break the device on purpose. */
export function virtioTarget(tamper: (net: VirtioNet) => void = () => {}): FuzzTarget {
  return {
    name: 'virtio',
    make(random: SeededRandom) {
      const steps = stepsOf(random);
      return random.chance(0.1) ? mutateBytes(steps, random) : steps;
    },
    run(input): Outcome {
      const world = new World(tamper);
      const view = new DataView(input.buffer, input.byteOffset, input.length);
      const kinds = Object.keys(STEP).length;
      for (let at = 0; at + STEP_BYTES <= input.length && world.problem === undefined; at += STEP_BYTES) {
        const kind = view.getUint8(at) % kinds;
        world.step(kind, view.getUint8(at + 1), view.getUint16(at + 2, true), view.getUint32(at + 4, true));
        if (world.problem !== undefined) return { problem: `step ${at / STEP_BYTES}: ${world.problem}` };
      }
      world.judgeConstants();
      if (world.problem !== undefined) return { problem: world.problem };
      return world.net.transport.isLive ? 'accepted' : 'refused';
    },
  };
}
