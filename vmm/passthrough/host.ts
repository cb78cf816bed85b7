/**
 * The host's half of a machine with an assigned virtual function: the 82599 in a root port of the host, the physical
 * function's driver, VT-d in front of guest RAM; and what the guest sees of it: a root complex of its own, with a root
 * port in whose slot the function sits.
 *
 * It is a core: time, the cable and the vCPUs' attention are arguments, and nothing in it waits. Whoever owns the
 * thread calls `run` while it has something to do.
 */
import { BAR_WINDOW_BASE, BAR_WINDOW_BYTES, ECAM_BASE, ECAM_BYTES } from '../../base/abi/platform.js';
import type { Scheduler } from '../../base/clock.js';
import type { SaveableDevice } from '../../base/device-record.js';
import type { DmaPort, MsiPort, RequesterId } from '../../base/dma.js';
import { requesterOf } from '../../base/dma.js';
import { invariant } from '../../base/errors.js';
import { FaultPlan } from '../../base/fault.js';
import type { MachineDevice, MmioRegion } from '../../base/mmio.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { Nic82599 } from '../../devices/nic82599/device.js';
import { PF_MSIX_BAR, pfLayout, pfMsixWindow, vfIdentity, vfMsix } from '../../devices/nic82599/functions.js';
import { PfDriver } from '../../devices/nic82599/pf-driver/driver.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { VirtualFunction } from '../../devices/nic82599/vf.js';
import type { AssignedFunction } from '../../devices/pci/assigned-function.js';
import { dumpTopology } from '../../devices/pci/dump.js';
import { enableAccessControl, enableVirtualFunctions, enumerate } from '../../devices/pci/enumerate.js';
import { HostBridge } from '../../devices/pci/host-bridge.js';
import { barRegion, configRegion } from '../../devices/pci/regions.js';
import { RootComplex } from '../../devices/pci/topology.js';
import { RootPort } from '../../devices/root-port/device.js';
import type { GuestRam } from '../ram/guest-ram.js';
import {
  destinationOf,
  GuestInterrupts,
  hostMessage,
  interruptSink,
  isInterrupt,
  PHYSICAL_FUNCTION_VECTOR,
} from './interrupts.js';
import { HostIommu } from './iommu.js';
import { ASSIGNED_NAME, HOST_BRIDGE_NAME, type NicOptions, ROOT_PORT_NAME } from './records.js';

/** Device 1 of bus 0, as QEMU's first root port often is. */
const PORT_DEVFN = 8;
/** The host's BARs lie in the host's address space, which no guest sees. */
const HOST_BARS = { base: 0xf000_0000, bytes: 0x0e00_0000 };
const GUEST_BARS = { base: BAR_WINDOW_BASE, bytes: BAR_WINDOW_BYTES };
const HOST_NIC_BUS = 1;
const PF_MAC: MacAddress = [0x00, 0x1b, 0x21, 0x00, 0x00, 0x01];
/** Descriptors and frames that the NIC works off in one turn. */
const BUDGET = 256;

export interface PassthroughPorts {
  readonly ram: GuestRam;
  /** The vCPUs' control blocks. */
  readonly control: SharedArrayBuffer;
  readonly vcpus: number;
  readonly scheduler: Scheduler;
  /** Makes a vCPU look at its posted interrupts. */
  kick(vcpu: number): void;
  /** Posts a vector of an emulated device to a vCPU. */
  interrupt(vcpu: number, vector: number): void;
  /** Where frames leave the host. */
  readonly send: FrameSink;
  /** Whether more may leave now; always, if absent. Whoever answers calls `run` again when it becomes true. */
  readonly wireReady?: () => boolean;
  /** `run` has something to do again. */
  wake(): void;
}

export class PassthroughHost {
  readonly iommu: HostIommu;
  readonly nic: Nic82599;
  readonly vf: VirtualFunction;
  readonly assigned: AssignedFunction;
  readonly port: RootPort;
  readonly bridge: HostBridge;
  /** Bridge and port as devices of the machine; configuration space and BAR window lie with the port. */
  readonly devices: readonly MachineDevice[];
  /** Defects on purpose. */
  readonly faults: FaultPlan;
  readonly #host: RootComplex;
  readonly #guest: RootComplex;
  readonly #driver: PfDriver;
  #faultsWait = false;

  constructor(options: NicOptions, ports: PassthroughPorts) {
    const { ram, control, vcpus, scheduler, send, wireReady, kick, wake } = ports;
    const { mac, leaves = 'small', writesInFlight = 0 } = options;
    const faults = new FaultPlan(options.faults ?? []);
    this.faults = faults;
    const interrupts = interruptSink({ kick, host: (vector) => this.#hostInterrupt(vector, wake) });
    this.iommu = new HostIommu({ ram, control, vcpus, interrupts, faults, leaves, writesInFlight });
    const { bus, interruptTable, descriptors } = this.iommu;

    this.nic = new Nic82599({
      name: 'nic0',
      mac: Uint8Array.from(PF_MAC),
      scheduler,
      wire: {
        send: ({ bytes, length }) => send(bytes, 0, length),
        ...(wireReady === undefined ? {} : { ready: wireReady }),
      },
      wake,
    });
    let hostPort: RootPort | undefined;
    this.#host = rootComplexWith('host-port0', bus, bus, (port) => {
      hostPort = port;
      port.populate(this.nic);
    });
    enumerate(this.#host, HOST_BARS);
    // Without isolation all functions of the NIC would be one IOMMU group, and the guest could be given all or none.
    enableAccessControl(this.#host, 0, PORT_DEVFN);
    invariant(hostPort?.isolates === true, 'the port above the NIC isolates its functions');
    const [source] = enableVirtualFunctions(this.#host, HOST_NIC_BUS, 0, 1);
    const vfId = requesterOf(source!);
    this.iommu.attach(vfId);
    this.#driver = this.#startPhysicalFunction(scheduler, mac);

    this.vf = this.nic.vf(0);
    const router = new GuestInterrupts(interruptTable, vfId, vfMsix.vectors, descriptors);
    this.assigned = assignVf(ASSIGNED_NAME, this.vf, router);
    const emulated = emulatedPorts(ports);
    let guestBridge: HostBridge | undefined;
    let guestPort: RootPort | undefined;
    this.#guest = rootComplexWith(ROOT_PORT_NAME, emulated, emulated, (port, bridge) => {
      guestBridge = bridge;
      guestPort = port;
      port.populate(this.assigned);
    });
    this.port = guestPort!;
    // What firmware does before the guest's kernel looks.
    enumerate(this.#guest, GUEST_BARS);
    this.bridge = guestBridge!;
    this.devices = [asMachineDevice(this.bridge, []), asMachineDevice(this.port, guestRegions(this.#guest))];
  }

  /** A frame comes in from the cable. */
  readonly receive: FrameSink = (bytes, at, length) => this.nic.receiveBytes(bytes, at, length);

  /** Lets the device work for a while; true if there is more to do. */
  run(): boolean {
    if (this.#faultsWait) {
      this.#faultsWait = false;
      this.iommu.takeFaults();
    }
    return this.nic.run(BUDGET);
  }

  /** The cable was plugged in or out. */
  setLink(up: boolean): void {
    this.nic.setLink(up);
  }

  get link(): boolean {
    return this.nic.forwarding.linkUp;
  }

  /** The station address that frames to the guest carry; undefined until it has one. */
  get address(): MacAddress | undefined {
    return this.#driver.info(0).mac;
  }

  /** The function goes on here with the state of another host's: it hears of a link that is not what it was there. */
  arrived(): void {
    this.#driver.arrived(0);
  }

  /** Configuration space in the format of `lspci -F`: the host's as domain 0000, the guest's as domain 0001. */
  dump(): string {
    const host = dumpTopology(this.#host, (fn) => (fn === this.vf.fn ? vfIdentity : undefined));
    return host + dumpTopology(this.#guest, undefined, 1);
  }

  #hostInterrupt(vector: number, wake: () => void): void {
    if (vector === PHYSICAL_FUNCTION_VECTOR) {
      this.#driver.interrupt();
      return;
    }
    // The unit is in the middle of a translation now.
    this.#faultsWait = true;
    wake();
  }

  /** As a host's kernel does it: the interrupt first, then the driver. */
  #startPhysicalFunction(scheduler: Scheduler, mac: MacAddress): PfDriver {
    const { pf } = this.nic;
    const source: RequesterId = pf.fn.routingId;
    const { address, data } = hostMessage(this.iommu.interruptTable, source);
    const { ADDRESS, ADDRESS_UPPER, DATA, CONTROL } = pfMsixWindow.reg;
    pf.fn.behaviour.writeBar(PF_MSIX_BAR, ADDRESS.offset, 4, address);
    pf.fn.behaviour.writeBar(PF_MSIX_BAR, ADDRESS_UPPER.offset, 4, 0);
    pf.fn.behaviour.writeBar(PF_MSIX_BAR, DATA.offset, 4, data);
    pf.fn.behaviour.writeBar(PF_MSIX_BAR, CONTROL.offset, 4, 0);
    const capability = pfLayout(Uint8Array.from(PF_MAC)).cap.msix.CONTROL;
    pf.fn.configWrite(capability.offset, 2, capability.fields.ENABLE.mask);
    const driver = new PfDriver({
      port: {
        read: (offset) => pf.read(offset, 4),
        write: (offset, value) => pf.write(offset, 4, value),
      },
      scheduler,
      mac: PF_MAC,
      vfs: [{ mac }],
      stopped: (vf) => this.nic.pools[vf]!.stopped,
    });
    this.nic.driver = driver;
    driver.start();
    return driver;
  }
}

function rootComplexWith(
  name: string,
  dma: DmaPort,
  msi: MsiPort,
  fill: (port: RootPort, bridge: HostBridge) => void,
): RootComplex {
  const complex = new RootComplex(dma, msi);
  const bridge = new HostBridge(HOST_BRIDGE_NAME);
  complex.addFunction(0, bridge.fn);
  const port = new RootPort(name, { number: 1, surprise: true });
  complex.addPort(PORT_DEVFN, port);
  fill(port, bridge);
  return complex;
}

/** Emulated devices reach no memory; their messages go to the vCPU that they name. */
function emulatedPorts({ interrupt }: PassthroughPorts): DmaPort & MsiPort {
  return {
    read: () => false,
    write: () => {},
    writeDescriptor: () => {},
    send: (_requester, address, data) => {
      if (isInterrupt(address)) interrupt(destinationOf(address), data & 0xff);
    },
  };
}

function asMachineDevice(device: SaveableDevice, regions: readonly MmioRegion[]): MachineDevice {
  return {
    name: device.name,
    version: device.version,
    regions,
    save: () => device.save(),
    restore: (record) => device.restore(record),
    describe: (record) => device.describe(record),
  };
}

/** Configuration and BAR window of the guest's PCI Express, on the machine's bus. */
const guestRegions = (guest: RootComplex): readonly MmioRegion[] => [
  configRegion(guest, ECAM_BASE, ECAM_BYTES),
  barRegion(guest, BAR_WINDOW_BASE, BAR_WINDOW_BYTES),
];
