/**
 * The guest kernel on a machine with a network: the plain machine, a root port with a virtual function of the 82599 in
 * it, the physical function and its driver on the host's side, and a traffic peer on the wire. One thread, virtual time.
 */
import { BAR_WINDOW_BASE, ECAM_BASE, ECAM_BYTES } from '../../base/abi/platform.js';
import type { Cancel, Scheduler } from '../../base/clock.js';
import type { DmaPort, MsiPort } from '../../base/dma.js';
import { type Duration, type Instant, instant } from '../../base/units.js';
import { parseIpv4, parseMac } from '../../devices/ethernet/addresses.js';
import { FrameBuffer } from '../../devices/ethernet/frame.js';
import { TrafficPeer } from '../../devices/ethernet/peer.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { Nic82599 } from '../../devices/nic82599/device.js';
import { pfLayout } from '../../devices/nic82599/functions.js';
import { PfDriver } from '../../devices/nic82599/pf-driver/driver.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import type { AssignedFunction } from '../../devices/pci/assigned-function.js';
import { enableVirtualFunctions, enumerate } from '../../devices/pci/enumerate.js';
import { hostBridge } from '../../devices/pci/host-bridge.js';
import { RootComplex } from '../../devices/pci/topology.js';
import { RootPort } from '../../devices/root-port/device.js';
import { VirtioNet } from '../../devices/virtio/net.js';
import { PlainMachine, type PlainMachineOptions } from './plain-machine.js';

export const GUEST_IP = parseIpv4('10.0.0.2')!;
export const PEER_IP = parseIpv4('10.0.0.1')!;
export const PEER_MAC = parseMac('02:00:00:00:00:99')!;
export const GUEST_MAC: MacAddress = [0x52, 0x54, 0, 0, 0, 1];
/** MAC address of the VF with the number `i`: the first has GUEST_MAC. */
export const vfMac = (i: number): MacAddress => [0x52, 0x54, 0, 0, 0, 1 + i];
const PF_MAC: MacAddress = [0x00, 0x1b, 0x21, 0x00, 0x00, 0x01];
/** Host-side BARs lie where the guest can't reach. */
const HOST_BARS = { base: 0xf000_0000, bytes: 0x0e00_0000 };
const GUEST_BARS = { base: BAR_WINDOW_BASE, bytes: 0x0400_0000 };
const INTERRUPT_RANGE = 0xfee;
const PF_VECTOR_DATA = 0x40;

/** The machine's virtual time for devices. */
class MachineTime implements Scheduler {
  readonly #machine: PlainMachine;

  constructor(machine: PlainMachine) {
    this.#machine = machine;
  }

  now(): Instant {
    return instant(this.#machine.now);
  }

  after(duration: Duration, callback: () => void): Cancel {
    let cancelled = false;
    this.#machine.at(this.#machine.now + duration, () => {
      if (!cancelled) callback();
    });
    return () => {
      cancelled = true;
    };
  }

  sleep(duration: Duration): Promise<void> {
    return new Promise((resolve) => {
      this.after(duration, resolve);
    });
  }

  async yield(): Promise<void> {}
}

export interface NicMachineOptions extends PlainMachineOptions {
  readonly vf?: Partial<VfPolicy>;
  /** Virtual functions, each below a root port of its own; 1 if absent. */
  readonly vfs?: number;
  /** Largest frame of the host, FCS included; an ordinary one if absent. */
  readonly hostFrameBytes?: number;
  /** A virtio-net device with GUEST_MAC, which hears what the first function is not ready for. */
  readonly virtio?: boolean;
  /** Whether firmware numbers buses and places BARs, or leaves that to the guest. */
  readonly firmware?: boolean;
}

/** What happens to a frame on the wire: passed on, as it is or changed, or lost. */
export type WireRule = (frame: Uint8Array) => Uint8Array | undefined;

export class NicMachine {
  readonly machine: PlainMachine;
  readonly nic: Nic82599;
  readonly driver: PfDriver;
  readonly peer: TrafficPeer;
  readonly guestComplex: RootComplex;
  /** By the VF's number. */
  readonly rootPorts: readonly RootPort[];
  readonly assigned: readonly AssignedFunction[];
  readonly virtio: VirtioNet | undefined;
  readonly virtioPort = new RootPort('virtio-port0', { number: 31, surprise: true });
  /** Frames that the guest put on the wire, and answers that reached it. */
  readonly fromGuest: Uint8Array[] = [];
  toGuestRule: WireRule = (frame) => frame;
  fromGuestRule: WireRule = (frame) => frame;
  /** Messages by vector. */
  readonly messages = new Map<number, number>();
  /** Reads and writes of the device's BARs. */
  barAccesses = 0;
  keepFrames = false;
  /** The PF's driver does not notice its interrupts. */
  pfDeaf = false;
  /** The NIC's own work stands still. */
  paused = false;
  readonly #frame = new FrameBuffer();

  constructor(module: WebAssembly.Module, options: NicMachineOptions = {}) {
    const machine = new PlainMachine(module, options);
    this.machine = machine;
    const time = new MachineTime(machine);
    const ports = this.#ports();
    const host = new RootComplex(ports, ports);
    host.addFunction(0, hostBridge());
    const hostPort = new RootPort('host-port0', { number: 1, surprise: false });
    host.addPort(8, hostPort);
    this.peer = new TrafficPeer({
      station: { mac: PEER_MAC, ip: PEER_IP },
      scheduler: time,
      sharedClock: true,
      send: (bytes, at, length) => this.toGuest(bytes.slice(at, at + length)),
    });
    this.nic = new Nic82599({
      name: 'nic0',
      mac: Uint8Array.from(PF_MAC),
      scheduler: time,
      wire: { send: (frame) => this.#wire(frame.bytes.slice(0, frame.length)) },
      wake: () => {},
    });
    hostPort.populate(this.nic);
    enumerate(host, HOST_BARS);
    const numbers = Array.from({ length: options.vfs ?? 1 }, (_, i) => i);
    enableVirtualFunctions(host, 1, 0, numbers.length);
    const { pf } = this.nic;
    this.driver = new PfDriver({
      port: {
        read: (offset) => pf.read(offset, 4),
        write: (offset, value) => pf.write(offset, 4, value),
      },
      scheduler: time,
      mac: PF_MAC,
      vfs: numbers.map((i) => (i === 0 && options.vf ? options.vf : { mac: vfMac(i) })),
      stopped: (vf) => this.nic.pools.at(vf).stopped,
      ...(options.hostFrameBytes === undefined ? {} : { frameBytesMax: options.hostFrameBytes }),
    });
    this.nic.driver = this.driver;
    pf.fn.behaviour.writeBar(4, 0, 4, 0xfee0_0000);
    pf.fn.behaviour.writeBar(4, 8, 4, PF_VECTOR_DATA);
    pf.fn.behaviour.writeBar(4, 12, 4, 0);
    pf.fn.configWrite(pfLayout(Uint8Array.from(PF_MAC)).cap.msix.CONTROL.offset, 2, 0x8000);
    this.driver.start();
    this.nic.setLink(true);

    // Of the other complex, whose functions have ids of their own.
    const messages: MsiPort = { send: (_requester, address, data) => this.#message(address, data) };
    this.guestComplex = new RootComplex(ports, messages);
    this.guestComplex.addFunction(0, hostBridge());
    this.rootPorts = numbers.map((i) => new RootPort(`root-port${i}`, { number: 1 + i, surprise: true }));
    this.assigned = numbers.map((i) =>
      assignVf(`vf${i}`, this.nic.vf(i), { route: (_vector, message) => message }),
    );
    this.rootPorts.forEach((port, i) => {
      this.guestComplex.addPort((1 + i) << 3, port);
      port.populate(this.assigned[i]!);
    });
    this.virtio = options.virtio === true ? this.#addVirtio(numbers.length > 0) : undefined;
    if (options.firmware !== false) enumerate(this.guestComplex, GUEST_BARS);
    machine.devices = {
      read: (address, width) => {
        if (address - ECAM_BASE < ECAM_BYTES) return this.guestComplex.configRead(address - ECAM_BASE, width);
        this.barAccesses++;
        return this.guestComplex.memoryRead(address, width);
      },
      write: (address, width, value) => {
        if (address - ECAM_BASE < ECAM_BYTES)
          this.guestComplex.configWrite(address - ECAM_BASE, width, value);
        else {
          this.barAccesses++;
          this.guestComplex.memoryWrite(address, width, value);
        }
      },
      run: () => {
        const more = !this.paused && this.nic.run(64);
        return this.virtio?.run(64) === true || more;
      },
    };
  }

  /** What there is most tests' only one of. */
  get port(): RootPort {
    return this.rootPorts[0]!;
  }

  /** Puts a frame on the wire towards the guest. */
  toGuest(bytes: Uint8Array): void {
    const frame = this.toGuestRule(bytes);
    if (frame === undefined) return;
    this.#frame.bytes.set(frame);
    this.#frame.length = frame.length;
    const isHeard = this.assigned[0] !== undefined && this.nic.pools.at(0).receives;
    if (!isHeard || (frame[0]! & 1) === 1) this.virtio?.receive(frame, 0, frame.length);
    this.nic.receive(this.#frame);
  }

  #addVirtio(standby: boolean): VirtioNet {
    const virtio = new VirtioNet({
      name: 'virtio-net0',
      mac: Uint8Array.from(GUEST_MAC),
      standby,
      send: (bytes, at, length) => this.#wire(bytes.slice(at, at + length)),
      ready: () => true,
      wake: () => {},
    });
    this.guestComplex.addPort(30 << 3, this.virtioPort);
    this.virtioPort.populate(virtio.transport);
    virtio.setLink(true);
    return virtio;
  }

  #wire(bytes: Uint8Array): void {
    const frame = this.fromGuestRule(bytes);
    if (frame === undefined) return;
    if (this.keepFrames) this.fromGuest.push(frame);
    this.peer.receive(frame, 0, frame.length);
  }

  /** Identity mapping of guest memory; messages of the physical function go to its driver, the VF's to the guest. */
  #ports(): DmaPort & MsiPort {
    const { u8, view } = this.machine;
    const inRam = (address: number, length: number): boolean => address >= 0 && address + length <= u8.length;
    return {
      read: (_requester, address, target, at, length) => {
        if (!inRam(address, length)) return false;
        target.set(u8.subarray(address, address + length), at);
        return true;
      },
      write: (_requester, address, source, at, length) => {
        if (inRam(address, length)) u8.set(source.subarray(at, at + length), address);
      },
      writeDescriptor: (_requester, address, ...dwords) => {
        if (!inRam(address, 16)) return;
        dwords.forEach((dword, i) => {
          view.setUint32(address + i * 4, dword, true);
        });
      },
      send: (requester, address, data) => {
        if (requester === this.nic.pf.fn.routingId) {
          if (!this.pfDeaf) this.driver.interrupt();
        } else this.#message(address, data);
      },
    };
  }

  #message(address: number, data: number): void {
    if (address >>> 20 !== INTERRUPT_RANGE) return;
    this.messages.set(data, (this.messages.get(data) ?? 0) + 1);
    this.machine.interrupt(data & 0xff);
  }
}
