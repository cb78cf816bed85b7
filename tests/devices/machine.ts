/** A host for device tests: memory that DMA reaches, a virtual clock, a root complex with a port and a NIC. */

import type { Cancel, Scheduler } from '../../base/clock.js';
import type { DmaPort, MsiPort } from '../../base/dma.js';
import { type Duration, type Instant, instant } from '../../base/units.js';
import type { FrameView } from '../../devices/ethernet/frame.js';
import type { BringUpStep } from '../../devices/nic82599/bring-up.js';
import { Nic82599 } from '../../devices/nic82599/device.js';
import { pfLayout } from '../../devices/nic82599/functions.js';
import { PfDriver } from '../../devices/nic82599/pf-driver/driver.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import type { VirtualFunction } from '../../devices/nic82599/vf.js';
import { enableVirtualFunctions, enumerate } from '../../devices/pci/enumerate.js';
import type { Upstream } from '../../devices/pci/function.js';
import { hostBridge } from '../../devices/pci/host-bridge.js';
import { RootComplex } from '../../devices/pci/topology.js';
import { RootPort } from '../../devices/root-port/device.js';

/** Time that moves when a test says so. */
export class TestTime implements Scheduler {
  private clock = 0;
  private timers: { at: number; callback: () => void }[] = [];

  now(): Instant {
    return instant(this.clock);
  }

  after(duration: Duration, callback: () => void): Cancel {
    const timer = { at: this.clock + duration, callback };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  sleep(duration: Duration): Promise<void> {
    return new Promise((resolve) => {
      this.after(duration, resolve);
    });
  }

  async yield(): Promise<void> {}

  /** Lets `duration` pass, with every timer at its time. */
  advance(duration: number): void {
    const end = this.clock + duration;
    for (;;) {
      const due = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.timers = this.timers.filter((other) => other !== due);
      this.clock = Math.max(this.clock, due.at);
      due.callback();
    }
    this.clock = end;
  }

  get waiting(): number {
    return this.timers.length;
  }
}

export interface Message {
  readonly requester: number;
  readonly address: number;
  readonly data: number;
}

/** Memory from address 0; what lies beyond is blocked and noted. */
export class TestMemory implements DmaPort, MsiPort {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly blocked: { requester: number; address: number; length: number; write: boolean }[] = [];
  readonly requesters = new Set<number>();
  messages: Message[] = [];
  onMessage: (message: Message) => void = () => {};
  writes = 0;

  constructor(memory: number | Uint8Array) {
    this.bytes = typeof memory === 'number' ? new Uint8Array(memory) : memory;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
  }

  read(requester: number, address: number, target: Uint8Array, at: number, length: number): boolean {
    this.requesters.add(requester);
    if (!this.allows(requester, address, length, false)) return false;
    target.set(this.bytes.subarray(address, address + length), at);
    return true;
  }

  write(requester: number, address: number, source: Uint8Array, at: number, length: number): void {
    this.requesters.add(requester);
    if (!this.allows(requester, address, length, true)) return;
    this.writes++;
    this.bytes.set(source.subarray(at, at + length), address);
  }

  writeDescriptor(requester: number, address: number, ...dwords: number[]): void {
    this.requesters.add(requester);
    if (!this.allows(requester, address, 16, true)) return;
    this.writes++;
    dwords.forEach((dword, i) => {
      this.view.setUint32(address + i * 4, dword, true);
    });
  }

  send(requester: number, address: number, data: number): void {
    const message = { requester, address, data };
    this.messages.push(message);
    this.onMessage(message);
  }

  private allows(requester: number, address: number, length: number, write: boolean): boolean {
    if (address >= 0 && address + length <= this.bytes.length) return true;
    this.blocked.push({ requester, address, length, write });
    return false;
  }
}

/** The way up of a function that nothing stands above: everything passes, and goes nowhere in particular. */
export const OPEN_UPSTREAM: Upstream = {
  open: true,
  bus: 0,
  dma: { read: () => false, write: () => {}, writeDescriptor: () => {} },
  msi: { send: () => {} },
  decodeChanged: () => {},
  errorMessage: () => {},
};

export const PF_MAC: MacAddress = [0x00, 0x1b, 0x21, 0x00, 0x00, 0x01];
/** Where BARs are placed. */
export const BAR_RANGE = { base: 0xf000_0000, bytes: 0x0e00_0000 };
const MSI_ADDRESS = 0xfee0_0000;
const PF_MESSAGE_DATA = 0x40;

export interface MachineOptions {
  readonly vfs?: readonly Partial<VfPolicy>[];
  readonly memoryBytes?: number;
  /** Another way to memory than straight, such as through an IOMMU. */
  readonly memory?: TestMemory;
  readonly frameBytesMax?: number;
  /** What the host hears of a driver that takes what comes. */
  readonly receiverSwitched?: (vf: number, on: boolean) => void;
  /** What the host hears of a driver's steps. */
  readonly broughtUp?: (vf: number, step: BringUpStep) => void;
}

/** Root complex, one port, one NIC with enabled virtual functions, and its driver. */
export class TestMachine {
  readonly time = new TestTime();
  readonly memory: TestMemory;
  readonly complex: RootComplex;
  readonly port: RootPort;
  readonly nic: Nic82599;
  readonly driver: PfDriver;
  readonly sent: Uint8Array[] = [];
  /** What the wire says when transmit queues ask whether it takes frames. */
  wireReady = true;
  readonly vfIds: readonly number[];
  wakeups = 0;

  constructor(options: MachineOptions = {}) {
    const policies = options.vfs ?? [{ mac: [0x52, 0x54, 0, 0, 0, 1] as const }];
    this.memory = options.memory ?? new TestMemory(options.memoryBytes ?? 0x40_0000);
    this.complex = new RootComplex(this.memory, this.memory);
    this.complex.addFunction(0, hostBridge());
    this.port = new RootPort('root-port0', { number: 1, surprise: false });
    this.complex.addPort(8, this.port);
    this.nic = new Nic82599({
      name: 'nic0',
      mac: Uint8Array.from(PF_MAC),
      scheduler: this.time,
      wire: {
        send: (frame: FrameView) => this.sent.push(frame.bytes.slice(0, frame.length)),
        ready: () => this.wireReady,
      },
      wake: () => {
        this.wakeups++;
      },
      ...(options.receiverSwitched && { receiverSwitched: options.receiverSwitched }),
      ...(options.broughtUp && { broughtUp: options.broughtUp }),
    });
    this.port.populate(this.nic);
    enumerate(this.complex, BAR_RANGE);
    this.vfIds = enableVirtualFunctions(this.complex, 1, 0, policies.length);
    const { pf } = this.nic;
    this.driver = new PfDriver({
      port: {
        read: (offset) => pf.read(offset, 4),
        write: (offset, value) => pf.write(offset, 4, value),
      },
      scheduler: this.time,
      mac: PF_MAC,
      vfs: policies,
      stopped: (vf) => this.nic.pools.at(vf).stopped,
      ...(options.frameBytesMax === undefined ? {} : { frameBytesMax: options.frameBytesMax }),
    });
    this.nic.driver = this.driver;
    // The host's PCI core: MSI-X of the physical function, vector 0.
    pf.fn.behaviour.writeBar(4, 0, 4, MSI_ADDRESS);
    pf.fn.behaviour.writeBar(4, 8, 4, PF_MESSAGE_DATA);
    pf.fn.behaviour.writeBar(4, 12, 4, 0);
    pf.fn.configWrite(pfLayout(Uint8Array.from(PF_MAC)).cap.msix.CONTROL.offset, 2, 0x8000);
    this.memory.onMessage = ({ requester }) => {
      if (requester === pf.fn.routingId) this.driver.interrupt();
    };
    this.driver.start();
    this.nic.setLink(true);
    this.memory.messages = [];
  }

  vf(n: number): VirtualFunction {
    return this.nic.vf(n);
  }

  /** Runs the NIC until it has nothing to do; fails a test that would go on forever. */
  settle(budget = 64, stepsMax = 100_000): void {
    for (let i = 0; i < stepsMax; i++) if (!this.nic.run(budget)) return;
    throw new Error('the NIC does not come to rest');
  }

  pfRead(register: { readonly offset: number; readonly stride: number }, index = 0): number {
    return this.nic.pf.read(register.offset + index * register.stride, 4);
  }

  get pfRegisters() {
    return pfRegisters;
  }
}
