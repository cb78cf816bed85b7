/**
 * The host's half of a machine with assigned devices: the 82599 in a root port of the host, the physical function's driver,
 * `edu` devices in further ports, VT-d in front of guest RAM; and what the guest sees of it: a root complex of its own, with a root
 * port for each function, in whose slot it sits. NICs of the VMM's own are at the same cable.
 *
 * It is a core: time, the cable and the vCPUs' attention are arguments, and nothing in it waits. Whoever owns the
 * thread calls `run` while it has something to do.
 */
import { BAR_WINDOW_BASE, BAR_WINDOW_BYTES, ECAM_BASE, ECAM_BYTES } from '../../base/abi/platform.js';
import type { Scheduler } from '../../base/clock.js';
import type { SaveableDevice } from '../../base/device-record.js';
import type { MsiPort } from '../../base/dma.js';
import { iovaOf, requesterOf } from '../../base/dma.js';
import { invariant } from '../../base/errors.js';
import { FaultPlan } from '../../base/fault.js';
import type { MachineDevice, MmioRegion } from '../../base/mmio.js';
import { AcpiPciHotplug } from '../../devices/acpi/pci-hotplug.js';
import { EduDevice } from '../../devices/edu/device.js';
import { deviceErrors } from '../../devices/errors.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import { Nic82599 } from '../../devices/nic82599/device.js';
import { vfIdentity } from '../../devices/nic82599/functions.js';
import { WHOLE_PART } from '../../devices/nic82599/offer.js';
import type { PfDriver } from '../../devices/nic82599/pf-driver/driver.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import { dumpTopology } from '../../devices/pci/dump.js';
import { enableAccessControl, enableVirtualFunctions, enumerate } from '../../devices/pci/enumerate.js';
import { type InjectedError, injectError } from '../../devices/pci/error-names.js';
import { HostBridge } from '../../devices/pci/host-bridge.js';
import { barRegion, configRegion } from '../../devices/pci/regions.js';
import { RootComplex } from '../../devices/pci/topology.js';
import type { GuestRam } from '../ram/guest-ram.js';
import { RamDma } from '../ram/ram-dma.js';
import { type FunctionLog, LoggedBus } from './dma-logs.js';
import type { DeviceEvent } from './events.js';
import { GuestEdu } from './guest-edu.js';
import { addPort, type GuestFunction, portDevfn } from './guest-function.js';
import { type FrameOutlet, GuestVf } from './guest-vf.js';
import {
  destinationOf,
  hostMessage,
  interruptSink,
  isInterrupt,
  PHYSICAL_FUNCTION_VECTOR,
} from './interrupts.js';
import { HostIommu } from './iommu.js';
import { NetworkControl } from './network-control.js';
import { type PciInfo, pciInfoOf } from './pci-info.js';
import { HOST_BARS, HOST_NIC_BUS, PF_MAC, startPhysicalFunction } from './physical-function.js';
import {
  ACPI_HOTPLUG_NAME,
  assignedName,
  eduName,
  eduPortName,
  HOST_BRIDGE_NAME,
  NIC_NAME,
  type NicOptions,
  rootPortName,
} from './records.js';
import { RingSnoop } from './ring-snoop.js';
import { Standby } from './standby.js';
import { Stations } from './stations.js';
import { VirtioNic } from './virtio-nic.js';

const GUEST_BARS = { base: BAR_WINDOW_BASE, bytes: BAR_WINDOW_BYTES };
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
  readonly send: FrameOutlet;
  /** Whether more may leave now; always, if absent. Whoever answers calls `run` again when it becomes true. */
  readonly wireReady?: () => boolean;
  /** `run` has something to do again. */
  wake(): void;
  /** Something that nobody asked for. */
  event(event: DeviceEvent): void;
}

export class PassthroughHost {
  readonly iommu: HostIommu;
  readonly nic: Nic82599;
  /** The NIC's, as the guest was given them. */
  readonly functions: readonly GuestVf[];
  /** `edu` devices that it was given. */
  readonly edus: readonly GuestEdu[];
  /** All that it was given, in this order. */
  readonly assigned: readonly GuestFunction[];
  /** What each of them logs of its writes. */
  readonly dmaLogs: readonly FunctionLog[];
  /** What the host reads from the rings of each of them. */
  readonly ringSnoops: readonly RingSnoop[];
  /** The VMM's own NICs, and of each function the one that is its standby. */
  readonly virtio: readonly VirtioNic[];
  readonly standbys: readonly (Standby | undefined)[];
  /** What can be done to them as stations of a network. */
  readonly network: NetworkControl;
  /** The guest's host bridge. */
  readonly bridge = new HostBridge(HOST_BRIDGE_NAME);
  /** Bridge and ports as devices of the machine; configuration space and BAR window lie with the bridge. */
  readonly devices: readonly MachineDevice[];
  /** Defects on purpose. */
  readonly faults: FaultPlan;
  readonly #host: RootComplex;
  readonly #guest: RootComplex;
  readonly #driver: PfDriver;
  readonly #stations: Stations;
  readonly #event: (event: DeviceEvent) => void;
  #faultsWait = false;

  constructor(options: NicOptions, ports: PassthroughPorts) {
    const { ram, control, vcpus, scheduler, send, wireReady, kick, wake, event } = ports;
    this.#event = event;
    const { macs, virtio = [], edus = 0, slot = 'ordinary', offer = WHOLE_PART } = options;
    const { leaves = 'small', stage = 'second', writesInFlight = 0 } = options;
    const faults = new FaultPlan(options.faults ?? []);
    this.faults = faults;
    const interrupts = interruptSink({ kick, host: (vector) => this.#hostInterrupt(vector, wake) });
    this.iommu = new HostIommu({ ram, control, vcpus, interrupts, faults, leaves, stage, writesInFlight });
    const bus = new LoggedBus(this.iommu.bus);

    this.nic = new Nic82599({
      name: NIC_NAME,
      mac: PF_MAC,
      scheduler,
      wire: {
        send: ({ bytes, length }, pool) => this.functions[pool]!.send(bytes, 0, length),
        ...(wireReady === undefined ? {} : { ready: wireReady }),
      },
      wake,
      receiverSwitched: (vf, on) => {
        const fn = this.functions?.[vf];
        if (fn === undefined) return;
        if (on) fn.host.receives();
        event({ kind: 'receiver', device: fn.assigned.name, on });
      },
      broughtUp: (vf, step) => {
        const fn = this.functions?.[vf];
        if (fn === undefined) return;
        event({ kind: 'bring-up', device: fn.assigned.name, step, at: scheduler.now() });
      },
    });
    this.#host = new RootComplex(bus, bus);
    this.#host.addFunction(0, new HostBridge(HOST_BRIDGE_NAME).fn);
    const hostEdus = Array.from(
      { length: edus },
      (_, i) => new EduDevice({ name: `host-${eduName(i)}`, wake }),
    );
    const hostPorts = [this.nic, ...hostEdus].map((device, i) => {
      const port = addPort(this.#host, `host-port${i}`, i);
      port.populate(device);
      return port;
    });
    enumerate(this.#host, HOST_BARS);
    // Without isolation all functions of the NIC would be one IOMMU group, and the guest could be given all or none.
    for (const [i, port] of hostPorts.entries()) {
      enableAccessControl(this.#host, 0, portDevfn(i));
      invariant(port.isolates, 'a port of the host isolates what is behind it');
    }
    const sources = enableVirtualFunctions(this.#host, HOST_NIC_BUS, 0, macs.length).map(requesterOf);
    const eduSources = hostEdus.map(({ fn }) => fn.routingId);
    for (const source of [...sources, ...eduSources]) this.iommu.attach(source);
    this.#driver = startPhysicalFunction(this.nic, {
      scheduler,
      message: hostMessage(this.iommu.interruptTable, this.nic.pf.fn.routingId),
      vfs: macs.map((mac) => ({ mac, queues: offer.queues })),
      filterChanged: (vf) => this.network.filterChanged(vf),
    });

    this.#guest = new RootComplex(new RamDma(ram), emulatedMessages(ports));
    this.#guest.addFunction(0, this.bridge.fn);
    const heard = (port: number, what: 'ejected' | 'changed'): void =>
      this.assigned.find((fn) => fn.portIndex === port)?.firmwareHeard(what);
    const hotplug =
      slot === 'acpi'
        ? new AcpiPciHotplug(ACPI_HOTPLUG_NAME, macs.length + virtio.length + edus, {
            interrupt: ports.interrupt,
            ejected: (port) => heard(port, 'ejected'),
            changed: (port) => heard(port, 'changed'),
          })
        : undefined;
    const place = { guest: this.#guest, iommu: this.iommu, slot, event, hotplug };
    this.functions = sources.map(
      (source, n) =>
        new GuestVf(
          n,
          this.nic.vf(n),
          offer,
          {
            scheduler,
            send,
            address: () => this.addressOf(n),
            arrived: () => this.arrived(n),
            failure: () => this.#stepFailure(n),
          },
          { ...place, port: n, portName: rootPortName(n), source },
        ),
    );
    const firstEduPort = macs.length + virtio.length;
    this.edus = hostEdus.map(
      (edu, n) =>
        new GuestEdu(n, edu, {
          ...place,
          port: firstEduPort + n,
          portName: eduPortName(n),
          source: eduSources[n]!,
        }),
    );
    this.assigned = [...this.functions, ...this.edus];
    const mapped = { bytes: this.iommu.mappedBytes, written: ram.deviceLog, faults };
    const nothing = new Uint8Array(0);
    this.ringSnoops = this.functions.map(
      ({ vf, source }) =>
        new RingSnoop(vf, {
          ram: new DataView(ram.u8.buffer, ram.u8.byteOffset, mapped.bytes),
          written: mapped.written,
          faults,
          interrupts: (look) => bus.onInterrupt(source, look),
          // A read pushes all writes before it. PCI Express 2.2.5
          drain: () => bus.read(source, iovaOf(0, 0), nothing, 0, 0),
        }),
    );
    this.dmaLogs = this.functions.map(({ assigned, source }) => bus.logOf(assigned.name, source, mapped));
    const ready = wireReady ?? (() => true);
    this.virtio = virtio.map(
      (nic, n) =>
        new VirtioNic(n, macs.length + n, nic, this.#guest, { send, event, ready, wake, scheduler }),
    );
    this.standbys = macs.map((mac, n) => {
      const own = this.virtio.find((nic) => nic.standby && nic.mac.join() === mac.join());
      return own && new Standby(own, assignedName(n), event);
    });
    this.#stations = new Stations(this.nic, this.functions, macs, this.virtio);
    const { nic, functions } = this;
    this.network = new NetworkControl({ nic, driver: this.#driver, functions, virtio: this.virtio, event });
    // What firmware does before the guest's kernel looks.
    enumerate(this.#guest, GUEST_BARS);
    this.devices = [
      asMachineDevice(this.bridge, guestRegions(this.#guest)),
      // Before the ports, whose slots it speaks of.
      ...(hotplug === undefined ? [] : [hotplug]),
      ...[...this.functions, ...this.virtio].map(({ port }) => asMachineDevice(port, [])),
      ...this.virtio.map((nic) => asMachineDevice(nic, [])),
      ...this.edus.map(({ port }) => asMachineDevice(port, [])),
    ];
  }

  /** A frame comes in from the cable. */
  readonly receive: FrameSink = (bytes, at, length) => this.#stations.receive(bytes, at, length);

  /** Lets the devices work for a while; true if there is more to do. */
  run(): boolean {
    if (this.#faultsWait) {
      this.#faultsWait = false;
      this.#takeFaults();
    }
    let more = this.nic.run(BUDGET);
    for (const { net } of this.virtio) if (net.run(BUDGET)) more = true;
    for (const { edu } of this.edus) if (edu.run()) more = true;
    return more;
  }

  /** The station address that frames to function `index` carry; undefined until it has one. */
  addressOf(index: number): MacAddress | undefined {
    return this.#driver.info(index).mac;
  }

  /** The function goes on here with the state of another host's: it hears of a link that is not what it was there. */
  arrived(index: number): void {
    this.#driver.arrived(index);
  }

  /** A fault on purpose: what function `index` fails with at a step between states of VFIO. */
  #stepFailure(index: number): Error | undefined {
    if (this.faults.strikes('nic/step-fails') === undefined) return undefined;
    const device = assignedName(index);
    const problem = 'the hardware does not answer';
    return deviceErrors.error('vfioRefused', {
      device,
      request: 'a step to another state',
      problem,
      errno: 'EIO',
    });
  }

  /** What the guest has made of its PCI Express. */
  pci(): readonly PciInfo[] {
    return pciInfoOf(this.#guest);
  }

  /**
   * The assigned device of that name has an error, one of ERROR_NAMES. Undefined if there is none of either name, or the device
   * does not answer now.
   */
  injectError(device: string, error: string): (InjectedError & Pick<PciInfo, 'bus' | 'devfn'>) | undefined {
    const fn = this.assigned.find(({ assigned }) => assigned.name === device);
    if (fn?.port.endpoint === undefined) return undefined;
    const { routingId } = fn.assigned.fn;
    const injected = injectError(fn.assigned.aer, error);
    return injected && { ...injected, bus: routingId >>> 8, devfn: routingId & 0xff };
  }

  /** Configuration space in the format of `lspci -F`: the host's as domain 0000, the guest's as domain 0001. */
  dump(): string {
    const host = dumpTopology(this.#host, (fn) =>
      this.functions.some(({ vf }) => vf.fn === fn) ? vfIdentity : undefined,
    );
    return host + dumpTopology(this.#guest, undefined, 1);
  }

  #takeFaults(): void {
    const counts = (): readonly number[] =>
      this.functions.map(({ source }) => this.iommu.faultsOf(source).count);
    const before = counts();
    this.iommu.takeFaults();
    for (const [index, count] of counts().entries()) {
      const device = this.functions[index]!.assigned.name;
      if (count !== before[index]) this.#event({ kind: 'iommu-faults', device, count });
    }
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
}

/** Messages of emulated devices go to the vCPU that they name. */
const emulatedMessages = ({ interrupt }: PassthroughPorts): MsiPort => ({
  send: (_requester, address, data) => {
    if (isInterrupt(address)) interrupt(destinationOf(address), data & 0xff);
  },
});

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
