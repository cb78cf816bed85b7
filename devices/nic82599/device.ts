/**
 * The 82599: one physical function, up to 64 virtual ones, 64 pools, a switch and a wire. Intel 82599 10 GbE Controller
 *
 * It does nothing by itself: register accesses and frames come in by calls, and `run` works off what doorbells have
 * announced, a bounded amount at a time. Whoever owns the thread calls it while it says that there is more to do.
 */
import type { Scheduler } from '../../base/clock.js';
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import type { DmaPresence } from '../../base/dma.js';
import { deviceErrors } from '../errors.js';
import type { FrameView } from '../ethernet/frame.js';
import type { FrameSink } from '../ethernet/frame-sink.js';
import type { PciFunction, Upstream } from '../pci/function.js';
import { MemoryWaits } from '../pci/memory-waits.js';
import { registerSection, SectionedState, type StateSection } from '../pci/state.js';
import type { Endpoint } from '../pci/topology.js';
import type { BringUpStep } from './bring-up.js';
import { type EthernetPort, Forwarding } from './forwarding.js';
import type { SegmentFlags } from './offload.js';
import { PhysicalFunction, QUEUE_DROP, QUEUE_HIDE_VLAN } from './pf.js';
import { LINK_10G, POOLS, pfRegisters as reg } from './pf-registers.js';
import { Pool, type PoolHost } from './pool.js';
import { Pools } from './pools.js';
import { QUEUES_PER_POOL } from './registers.js';
import {
  type DriverStateKeeper,
  PF_VERSION,
  poolSections,
  refreshSection,
  type SwitchState,
  type VfStateHost,
} from './state.js';
import { TransmitEngine } from './transmit.js';
import { VirtualFunction } from './vf.js';

export interface NicOptions {
  readonly name: string;
  /** Six bytes: the physical function's address. */
  readonly mac: Uint8Array;
  readonly scheduler: Scheduler;
  readonly wire: EthernetPort;
  /** Called when `run` has something to do again. */
  wake(): void;
  /** A driver takes what comes for a virtual function, or does not any more; for who waits for it to work. */
  receiverSwitched?(vf: number, on: boolean): void;
  /** A driver has come so far with a virtual function since it reset it. */
  broughtUp?(vf: number, step: BringUpStep): void;
}

/** Descriptors and frames that one queue may use before the next has its turn. */
const SLICE = 64;
const QUEUES = POOLS * QUEUES_PER_POOL;

export class Nic82599 implements Endpoint, SaveableDevice {
  readonly name: string;
  readonly version = PF_VERSION;
  readonly pf: PhysicalFunction;
  readonly pools: Pools;
  readonly forwarding: Forwarding;
  /** What the physical function's driver knows of each VF; it binds itself here. */
  driver: DriverStateKeeper | undefined;
  private readonly options: NicOptions;
  private readonly vfs: (VirtualFunction | undefined)[] = [];
  private readonly engine = new TransmitEngine();
  private readonly waits = new MemoryWaits();
  private readonly pending = new Uint8Array(QUEUES);
  private pendingCount = 0;
  private nextQueue = 0;
  private upstream: Upstream | undefined;
  private sectioned: SectionedState | undefined;

  constructor(options: NicOptions) {
    this.name = options.name;
    this.options = options;
    this.pf = new PhysicalFunction({
      name: options.name,
      mac: options.mac,
      scheduler: options.scheduler,
      pools: () => this.pools,
      switchChanged: () => this.forwarding.tables.invalidate(),
      rssKeyChanged: () => this.forwarding.rss.invalidate(),
      transmitEnabled: () => this.kickAll(),
      vfsChanged: (before, after) => this.vfsChanged(before, after),
      deviceReset: () => this.deviceReset(),
      receiveMemory: () => this.forwarding.packetBuffer.wrapState,
    });
    const host = this.poolHost();
    this.pools = new Pools((index) => new Pool(index, host, this.pf.fn));
    const { registers } = this.pf;
    this.forwarding = new Forwarding(registers, this.pools, options.wire, this.engine.frame);
    registers.setField(reg.LINKS, reg.LINKS.fields.SPEED, LINK_10G);
    this.deviceReset();
  }

  // -------------------------------------------------------------------------------------------------------------------
  // PCI

  functions(): readonly PciFunction[] {
    const present: PciFunction[] = [this.pf.fn];
    for (let n = 0; n < this.pf.sriov.vfCount; n++) present.push(this.vf(n).fn);
    return present;
  }

  functionAt(relativeId: number): PciFunction | undefined {
    if (relativeId === 0) return this.pf.fn;
    for (let n = 0; n < this.pf.sriov.vfCount; n++) {
      if (this.pf.sriov.relativeId(n) === relativeId) return this.vf(n).fn;
    }
    return undefined;
  }

  attach(upstream: Upstream | undefined): void {
    this.upstream = upstream;
    this.pf.fn.attach(upstream);
    for (let n = 0; n < this.pf.sriov.vfCount; n++) this.vf(n).fn.attach(upstream);
    for (const fn of this.functions()) fn.refresh();
  }

  /** Hot reset: everything, virtual functions included. */
  reset(): void {
    this.pf.fn.reset('conventional');
  }

  /** Virtual function `n`; throws a FerryError if it is not enabled. */
  vf(n: number): VirtualFunction {
    const vf = this.vfs[n];
    if (vf === undefined || n >= this.pf.sriov.vfCount) {
      throw deviceErrors.error('noSuchFunction', {
        device: this.name,
        fn: n,
        count: this.pf.sriov.vfCount,
      });
    }
    return vf;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Traffic

  /** A frame arrived on the wire. Its memory is the caller's again when this returns. */
  receive({ bytes, length }: FrameView): void {
    this.forwarding.receive(bytes, 0, length);
  }

  /** The same of a frame within a larger piece of memory: `length` bytes at `bytes[at]`. */
  readonly receiveBytes: FrameSink = (bytes, at, length) => this.forwarding.receive(bytes, at, length);

  /**
   * Works off transmit queues, at most about `budget` descriptors and frames. Returns true if there is more to do now:
   * not while the wire takes nothing.
   */
  run(budget: number): boolean {
    let left = budget;
    // Tried again at each turn: a register may have been written that lets it go on.
    if (this.forwarding.packetBuffer.count > 0) left -= this.forwarding.work(left);
    while (left > 0 && this.pendingCount > 0 && this.forwarding.ready) {
      const queue = this.takePending();
      const transmit = this.pools.at(queue >>> 1).transmit[queue & 1]!;
      const slice = Math.min(left, SLICE);
      const rest = transmit.run(slice);
      left -= slice - Math.max(0, rest);
      // A slice that was used up may have left work behind it.
      if (rest <= 0) this.markPending(queue);
      if (rest === slice) left--;
    }
    return (this.pendingCount > 0 && this.forwarding.ready) || this.forwarding.hasWork;
  }

  /** Memory that may not be there yet: queues ask before they work. Undefined: all of it is there. */
  set presence(presence: DmaPresence | undefined) {
    this.waits.presence = presence;
    if (presence === undefined) this.memoryArrived(0, Number.POSITIVE_INFINITY);
  }

  /** Some of what a queue asked for in vain is there: `length` bytes at `address`, or is known to be blocked. */
  memoryArrived(address: number, length: number): void {
    for (let index = 0; index < POOLS; index++) {
      const pool = this.pools.find(index);
      if (pool === undefined) continue;
      for (let queue = 0; queue < QUEUES_PER_POOL; queue++) {
        if (pool.transmit[queue]!.awaited.arrives(address, length))
          this.markPending(index * QUEUES_PER_POOL + queue);
        if (pool.receive[queue]!.awaited.arrives(address, length)) this.retryReceive();
      }
    }
  }

  setLink(up: boolean): void {
    const { registers } = this.pf;
    if (registers.getField(reg.LINKS, reg.LINKS.fields.UP) === (up ? 1 : 0)) return;
    registers.setField(reg.LINKS, reg.LINKS.fields.UP, up ? 1 : 0);
    this.pf.linkChanged();
  }

  // -------------------------------------------------------------------------------------------------------------------
  // State of the physical function, with all pools

  private get state(): SectionedState {
    this.sectioned ??= new SectionedState(this.name, PF_VERSION, this.sections());
    return this.sectioned;
  }

  save(): DeviceRecord {
    return this.state.save();
  }

  restore(record: DeviceRecord): void {
    this.state.restore(record);
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.state.describe(record);
  }

  private sections(): readonly StateSection[] {
    const { fn, msix, registers, queueFlags } = this.pf;
    return [
      registerSection('config', fn.config),
      registerSection('msix', msix.window),
      registerSection('registers', registers),
      {
        name: 'queueFlags',
        save: () => queueFlags.slice(),
        restore(data) {
          if (data.length !== queueFlags.length)
            return `${data.length} bytes where ${queueFlags.length} belong`;
          queueFlags.set(data);
          return undefined;
        },
        describe: (data) => [...data].map((flags, queue) => [`queue${queue}`, String(flags)] as const),
      },
      ...Array.from({ length: POOLS }, (_, i) => poolSections(this.pools.at(i), `pool${i}.`)).flat(),
      refreshSection(() => {
        this.pf.sriov.refresh();
        this.forwarding.tables.invalidate();
        this.forwarding.rss.invalidate();
        fn.refresh();
      }),
    ];
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What the parts need of the whole

  private poolHost(): PoolHost {
    const nic = this;
    const { registers, causes } = this.pf;
    const flags: SegmentFlags = {
      get first() {
        return registers.getField(reg.TCP_FLAGS_LOW, reg.TCP_FLAGS_LOW.fields.FIRST);
      },
      get middle() {
        return registers.getField(reg.TCP_FLAGS_LOW, reg.TCP_FLAGS_LOW.fields.MIDDLE);
      },
      get last() {
        return registers.getField(reg.TCP_FLAGS_HIGH, reg.TCP_FLAGS_HIGH.fields.LAST);
      },
    };
    return {
      scheduler: this.options.scheduler,
      engine: this.engine,
      waits: this.waits,
      segmentFlags: flags,
      get status() {
        return registers.get(reg.STATUS);
      },
      get links() {
        return registers.get(reg.LINKS);
      },
      get receiveMemory() {
        return nic.forwarding.packetBuffer.wrapState;
      },
      mayReceive: (pool) => (registers.words[reg.VFRE.word + (pool >>> 5)]! & (1 << (pool & 31))) !== 0,
      maySend: (pool) =>
        reg.DMATXCTL.fields.TE.get(registers.words[reg.DMATXCTL.word]!) === 1 &&
        (registers.words[reg.VFTE.word + (pool >>> 5)]! & (1 << (pool & 31))) !== 0,
      hidesVlan: (pool, queue) =>
        (nic.pf.queueFlags[pool * QUEUES_PER_POOL + queue]! & QUEUE_HIDE_VLAN) !== 0,
      dropsWithoutDescriptor: (pool, queue) =>
        (nic.pf.queueFlags[pool * QUEUES_PER_POOL + queue]! & QUEUE_DROP) !== 0,
      receiveChanged: () => nic.retryReceive(),
      doorbell: (pool, queue) => nic.markPending(pool * QUEUES_PER_POOL + queue),
      emit: (pool, tag) => nic.forwarding.emit(pool, tag),
      receiverSwitched: (pool, on) => nic.options.receiverSwitched?.(pool, on),
      broughtUp: (pool, step) => nic.options.broughtUp?.(pool, step),
      ownQueueCause: (pool, queue, kind) => nic.pf.queueCause(pool * QUEUES_PER_POOL + queue, kind),
      mailboxEvent(pool, kind) {
        if (causes.set(pool, kind)) nic.pf.raiseMailbox();
      },
      mailboxRevoked: (pool) => causes.clear(pool),
      functionReset(pool) {
        nic.setPoolEnabled(pool, false, false);
        nic.forwarding.forget(nic.pools.at(pool));
        causes.clear(pool);
        causes.setReset(pool);
        nic.pf.raiseMailbox();
      },
    };
  }

  private setPoolEnabled(pool: number, receive: boolean, transmit: boolean): void {
    const { words } = this.pf.registers;
    const bit = 1 << (pool & 31);
    for (const [register, on] of [
      [reg.VFRE, receive],
      [reg.VFTE, transmit],
    ] as const) {
      const word = register.word + (pool >>> 5);
      if (on) words[word]! |= bit;
      else words[word]! &= ~bit;
    }
  }

  private deviceReset(): void {
    this.pf.resetRegisters();
    this.pools.deviceReset();
    this.forwarding.packetBuffer.clear();
    this.forwarding.tables.invalidate();
    this.forwarding.rss.invalidate();
  }

  private vfsChanged(before: number, after: number): void {
    for (let n = after; n < before; n++) {
      const vf = this.vfs[n]!;
      vf.fn.reset('conventional');
      vf.fn.attach(undefined);
      vf.pool.hasVf = false;
      vf.pool.fn = this.pf.fn;
    }
    for (let n = before; n < after; n++) {
      this.vfs[n] ??= this.makeVf(n);
      const vf = this.vfs[n]!;
      vf.pool.hasVf = true;
      vf.pool.fn = vf.fn;
      vf.fn.attach(this.upstream);
      vf.fn.reset('conventional');
    }
    for (let n = 0; n < after; n++) this.vfs[n]!.fn.relativeId = this.pf.sriov.relativeId(n);
    this.pf.updateStatus();
  }

  private makeVf(n: number): VirtualFunction {
    return new VirtualFunction({
      name: `${this.name}-vf${n}`,
      pool: this.pools.at(n),
      decoder: this.pf.sriov.decoder(n),
      governor: this.pf.errorRegisters,
      host: this.vfStateHost(n),
      masterChanged: () => {
        this.waits.forget(this.pools.at(n).fn);
        this.kick(n);
      },
    });
  }

  private vfStateHost(n: number): VfStateHost {
    const nic = this;
    const { registers, causes, queueFlags } = this.pf;
    const bitOf = (register: { readonly word: number }): number =>
      (registers.words[register.word + (n >>> 5)]! >>> (n & 31)) & 1;
    return {
      index: n,
      get driver() {
        return nic.driver;
      },
      saveSwitch: (): SwitchState => ({
        receiveEnabled: bitOf(reg.VFRE),
        transmitEnabled: bitOf(reg.VFTE),
        queueFlags: queueFlags[n * QUEUES_PER_POOL]! | (queueFlags[n * QUEUES_PER_POOL + 1]! << 4),
        request: causes.has(n, 'request') ? 1 : 0,
        acknowledge: causes.has(n, 'acknowledge') ? 1 : 0,
        reset: causes.hasReset(n) ? 1 : 0,
      }),
      restoreSwitch(state) {
        nic.setPoolEnabled(n, state.receiveEnabled === 1, state.transmitEnabled === 1);
        queueFlags[n * QUEUES_PER_POOL] = state.queueFlags & 0xf;
        queueFlags[n * QUEUES_PER_POOL + 1] = state.queueFlags >>> 4;
        causes.clear(n);
        causes.clearReset(n);
        if (state.request === 1) causes.set(n, 'request');
        if (state.acknowledge === 1) causes.set(n, 'acknowledge');
        if (state.reset === 1) causes.setReset(n);
      },
      attend() {
        const waiting = causes.has(n, 'request') || causes.has(n, 'acknowledge') || causes.hasReset(n);
        if (waiting) nic.pf.raiseMailbox();
      },
    };
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Doorbells

  private kick(pool: number): void {
    for (let queue = 0; queue < QUEUES_PER_POOL; queue++) this.markPending(pool * QUEUES_PER_POOL + queue);
  }

  private retryReceive(): void {
    if (this.forwarding.packetBuffer.count > 0 && this.forwarding.retry()) this.options.wake();
  }

  private kickAll(): void {
    for (let pool = 0; pool < POOLS; pool++) this.kick(pool);
  }

  /** Queues without work are not remembered: a flood of doorbells costs nothing later. */
  private markPending(queue: number): void {
    if (this.pending[queue] === 1) return;
    if (this.pools.find(queue >>> 1)?.transmit[queue & 1]?.hasWork !== true) return;
    this.pending[queue] = 1;
    if (this.pendingCount++ === 0) this.options.wake();
  }

  /** The next queue in turn. */
  private takePending(): number {
    let queue = this.nextQueue;
    while (this.pending[queue] === 0) queue = (queue + 1) % QUEUES;
    this.pending[queue] = 0;
    this.pendingCount--;
    this.nextQueue = (queue + 1) % QUEUES;
    return queue;
  }
}
