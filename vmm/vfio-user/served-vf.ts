/**
 * One virtual function of an 82599 for another VMM: the whole NIC with its physical function and that one's driver, behind a
 * root complex of its own. Its requests go to the memory port as they are, without VT-d: translation is the client's affair.
 */
import type { Scheduler } from '../../base/clock.js';
import { type DmaPort, iovaOf, type MsiPort } from '../../base/dma.js';
import { Announcer } from '../../devices/ethernet/announcer.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { Nic82599 } from '../../devices/nic82599/device.js';
import { WHOLE_PART } from '../../devices/nic82599/offer.js';
import type { PfDriver } from '../../devices/nic82599/pf-driver/driver.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import type { VirtualFunction } from '../../devices/nic82599/vf.js';
import type { GuestMessage } from '../../devices/pci/assigned-backend.js';
import type { AssignedFunction } from '../../devices/pci/assigned-function.js';
import { enableAccessControl, enableVirtualFunctions, enumerate } from '../../devices/pci/enumerate.js';
import { HostBridge } from '../../devices/pci/host-bridge.js';
import { RootComplex } from '../../devices/pci/topology.js';
import { AssignedVf } from '../../devices/vfio/assigned-vf.js';
import { VfioDevice } from '../../devices/vfio/device.js';
import { DmaLog } from '../../devices/vfio/dma-log.js';
import { VfioMigration } from '../../devices/vfio/migration.js';
import { addPort, portDevfn } from '../passthrough/guest-function.js';
import type { FrameOutlet } from '../passthrough/guest-vf.js';
import { HOST_MESSAGE_ADDRESS, PHYSICAL_FUNCTION_VECTOR } from '../passthrough/interrupts.js';
import { NetworkControl } from '../passthrough/network-control.js';
import { HOST_BARS, HOST_NIC_BUS, PF_MAC, startPhysicalFunction } from '../passthrough/physical-function.js';
import { assignedName, HOST_BRIDGE_NAME, NIC_NAME } from '../passthrough/records.js';

export interface ServedVfOptions {
  readonly policy: Partial<VfPolicy>;
  /** Largest frame of the host itself, FCS included. */
  readonly frameBytesMax?: number;
}

export interface ServedVfPorts {
  readonly scheduler: Scheduler;
  /** The guest's memory. */
  readonly dma: DmaPort;
  /** Its interrupts: whether a vector is held back, and where it goes. */
  readonly interrupts: { isWired(vector: number): boolean; signal(vector: number): void };
  readonly send: FrameOutlet;
  readonly wireReady: () => boolean;
  /** `nic.run` has something to do again. */
  wake(): void;
}

export interface ServedVf {
  readonly nic: Nic82599;
  readonly driver: PfDriver;
  readonly vf: VirtualFunction;
  /** The function as the client has it. */
  readonly assigned: AssignedFunction;
  readonly migration: VfioMigration;
  /** The migration, and the log of what the function writes, as VFIO asks for them. */
  readonly vfio: VfioDevice;
  /** What its host's administrator does to it as a station. */
  readonly network: NetworkControl;
  /** Frames that the wire had no room for. */
  readonly refused: number;
}

export function serveVf({ policy, frameBytesMax }: ServedVfOptions, ports: ServedVfPorts): ServedVf {
  const { scheduler, dma, interrupts, send, wireReady, wake } = ports;
  let refused = 0;
  const sent: FrameSink = (bytes, at, length) => {
    if (!send(bytes, at, length)) refused++;
  };
  // The only messages are those that are set up here: the driver's, and one for each vector, which is its data.
  const msi: MsiPort = {
    send: (requester, _address, data) => {
      if (requester === nic.pf.fn.routingId) driver.interrupt();
      else interrupts.signal(data);
    },
  };
  const message = (data: number): GuestMessage => ({ address: iovaOf(HOST_MESSAGE_ADDRESS, 0), data });
  const nic = new Nic82599({
    name: NIC_NAME,
    mac: PF_MAC,
    scheduler,
    wire: {
      send: ({ bytes, length }) => sent(bytes, 0, length),
      ready: wireReady,
    },
    wake,
  });
  const log = new DmaLog({
    name: assignedName(0),
    source: {
      get routingId() {
        return vf.fn.routingId;
      },
    },
    // Its messages write to nobody's memory.
    next: {
      read: (requester, address, target, at, length) => dma.read(requester, address, target, at, length),
      write: (requester, address, source, at, length) => dma.write(requester, address, source, at, length),
      writeDescriptor: (requester, address, d0, d1, d2, d3) =>
        dma.writeDescriptor(requester, address, d0, d1, d2, d3),
      send: () => {},
    },
  });
  const complex = new RootComplex(log, msi);
  complex.addFunction(0, new HostBridge(HOST_BRIDGE_NAME).fn);
  addPort(complex, 'host-port0', 0).populate(nic);
  enumerate(complex, HOST_BARS);
  enableAccessControl(complex, 0, portDevfn(0));
  enableVirtualFunctions(complex, HOST_NIC_BUS, 0, 1);
  const driver = startPhysicalFunction(nic, {
    scheduler,
    message: message(PHYSICAL_FUNCTION_VECTOR),
    vfs: [policy],
    ...(frameBytesMax === undefined ? {} : { frameBytesMax }),
  });
  const vf = nic.vf(0);
  const assigned = assignVf(
    assignedName(0),
    vf,
    { route: (_vector, routed) => routed },
    WHOLE_PART,
    (vector) => (interrupts.isWired(vector) ? message(vector) : undefined),
  );
  // Its own requests leave by the part itself; of its place in the client's topology only the way up matters, which is open.
  assigned.attach({ open: true, bus: 0, dma, msi, decodeChanged: () => {}, errorMessage: () => {} });
  const migration = new VfioMigration(new AssignedVf(vf, assigned));
  const announcer = new Announcer(scheduler, (bytes, at, length) => {
    sent(bytes, at, length);
    // Outside of a turn, nobody else would see it off.
    wake();
  });
  const network = new NetworkControl({
    nic,
    driver,
    functions: [
      {
        index: 0,
        assigned,
        announce: (rhythm) => {
          const { mac } = driver.info(0);
          if (mac !== undefined) announcer.announce(Uint8Array.from(mac), rhythm);
        },
      },
    ],
    virtio: [],
    event: () => {},
  });
  return {
    nic,
    driver,
    vf,
    assigned,
    migration,
    vfio: new VfioDevice({ name: assigned.name, migration, log }),
    network,
    get refused() {
      return refused;
    },
  };
}
