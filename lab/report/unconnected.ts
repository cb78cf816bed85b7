/** Devices that are connected to nothing: they only explain what others of their kind have saved. */
import type { Scheduler } from '../../base/clock.js';
import type { SaveableDevice } from '../../base/device-record.js';
import type { DmaPort, MsiPort } from '../../base/dma.js';
import { instant } from '../../base/units.js';
import { assignEdu } from '../../devices/edu/assigned.js';
import { EduDevice } from '../../devices/edu/device.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { Nic82599 } from '../../devices/nic82599/device.js';
import { PfDriver } from '../../devices/nic82599/pf-driver/driver.js';
import { enableVirtualFunctions, enumerate } from '../../devices/pci/enumerate.js';
import { HostBridge } from '../../devices/pci/host-bridge.js';
import { RootComplex } from '../../devices/pci/topology.js';
import { RootPort } from '../../devices/root-port/device.js';
import { AssignedEdu } from '../../devices/vfio/assigned-edu.js';
import type { AssignedHardware } from '../../devices/vfio/assigned-hardware.js';
import { AssignedVf } from '../../devices/vfio/assigned-vf.js';
import { VirtioNet } from '../../devices/virtio/net.js';
import type { DevicePorts } from '../../vmm/machine/devices.js';
import {
  ASSIGNED_MAX,
  eduName,
  eduPortName,
  HOST_BRIDGE_NAME,
  rootPortName,
  virtioName,
  virtioPortName,
} from '../../vmm/passthrough/records.js';

export const unconnectedPorts: DevicePorts = {
  memory: { slots: [], contains: () => false, view: () => undefined, write: () => false, markDirty() {} },
  clock: { now: () => instant(0) },
  interrupt() {},
  print() {},
  power() {},
  serial() {},
};

const timeless: Scheduler = {
  now: () => instant(0),
  after: () => () => {},
  sleep: () => new Promise(() => {}),
  yield: () => Promise.resolve(),
};

const nowhere: DmaPort & MsiPort = {
  read: () => false,
  write() {},
  writeDescriptor() {},
  send() {},
};

const PORT_DEVFN = 8;
const NIC_BUS = 1;
const BARS = { base: 0xf000_0000, bytes: 0x0e00_0000 };

const newRootPort = (name: string, index: number): RootPort =>
  new RootPort(name, { number: index + 1, surprise: true });
const numbers = Array.from({ length: ASSIGNED_MAX }, (_, i) => i);

/** The host bridge of the bus that the ports are on. */
export const unconnectedBridge: HostBridge = new HostBridge(HOST_BRIDGE_NAME);

/** The root ports that assigned devices sit in. */
export const unconnectedRootPorts: readonly RootPort[] = [rootPortName, eduPortName].flatMap((name) =>
  numbers.map((i) => newRootPort(name(i), i)),
);

/** The VMM's own NICs, and the ports that they sit in. */
export const unconnectedVirtio: readonly SaveableDevice[] = numbers.flatMap((i) => [
  newRootPort(virtioPortName(i), i),
  new VirtioNet({
    name: virtioName(i),
    mac: new Uint8Array(6),
    standby: false,
    send() {},
    ready: () => false,
    wake() {},
  }).transport,
]);

/** The assigned device called `name`, in whatever host. */
export const unconnectedAssigned = (name: string): AssignedHardware =>
  numbers.some((i) => name === eduName(i)) ? unconnectedEdu(name) : unconnectedVf(name);

function unconnectedEdu(name: string): AssignedEdu {
  const edu = new EduDevice({ name: 'host-edu', wake() {} });
  return new AssignedEdu(edu, assignEdu(name, edu, { route: () => undefined }));
}

/** An assigned virtual function called `name`, of a NIC whose physical function has its driver. */
export function unconnectedVf(name: string): AssignedVf {
  const nic = new Nic82599({
    name: 'nic',
    mac: new Uint8Array(6),
    scheduler: timeless,
    wire: { send() {} },
    wake() {},
  });
  const complex = new RootComplex(nowhere, nowhere);
  const port = newRootPort(rootPortName(0), 0);
  complex.addPort(PORT_DEVFN, port);
  port.populate(nic);
  enumerate(complex, BARS);
  enableVirtualFunctions(complex, NIC_BUS, 0, 1);
  nic.driver = new PfDriver({
    port: { read: () => 0, write() {} },
    scheduler: timeless,
    mac: [0, 0, 0, 0, 0, 0],
    vfs: [{}],
    stopped: () => false,
  });
  const vf = nic.vf(0);
  return new AssignedVf(vf, assignVf(name, vf, { route: () => undefined }));
}
