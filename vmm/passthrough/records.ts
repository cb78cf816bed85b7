/** What a machine with an assigned function sends beside its platform's records, and what it is made with. */
import type { FaultRule } from '../../base/fault.js';
import { ACPI_HOTPLUG_VERSION } from '../../devices/acpi/pci-hotplug.js';
import type { FunctionOffer } from '../../devices/nic82599/offer.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import { HOST_BRIDGE_VERSION } from '../../devices/pci/host-bridge.js';
import { ROOT_PORT_VERSION } from '../../devices/root-port/state.js';
import { VIRTIO_NET_VERSION } from '../../devices/virtio/net.js';

/** Virtual functions that one guest may be given. */
export const ASSIGNED_MAX = 8;

/** The guest's devices, and the ports that they sit in, each kind counted from 0. */
export const assignedName = (index: number): string => `vf${index}`;
export const rootPortName = (index: number): string => `root-port${index}`;
export const eduName = (index: number): string => `edu${index}`;
export const eduPortName = (index: number): string => `edu-port${index}`;
/** The VMM's own NICs, each with its port. */
export const virtioName = (index: number): string => `virtio-net${index}`;
export const virtioPortName = (index: number): string => `virtio-port${index}`;

/** The port that an assigned device sits in: `root-port0` of `vf0`. */
export const portOf = (device: string): string =>
  device.replace(/^vf(?=\d)/, 'root-port').replace(/^edu(?=\d)/, 'edu-port');

/** What there is of an assigned device beside itself. */
export const slotName = (device: string): string => `${device}-slot`;
export const channelName = (device: string): string => `${device}-channel`;
export const functionName = (device: string): string => `${device}-function`;
export const dmaLogName = (device: string): string => `${device}-dma-log`;
export const ringSnoopName = (device: string): string => `${device}-ring-snoop`;
export const replayName = (device: string): string => `${device}-replay`;
export const standbyName = (device: string): string => `${device}-standby`;

/** The assigned devices of a machine, in their order. */
export const assignedNames = ({ macs, edus = 0 }: NicOptions): readonly string[] => [
  ...macs.map((_, i) => assignedName(i)),
  ...Array.from({ length: edus }, (_, i) => eduName(i)),
];

export const HOST_BRIDGE_NAME = 'host-bridge';
export const ACPI_HOTPLUG_NAME = 'acpi-pci-hotplug';

/** What can be asked in the thread that owns the NIC: of the host's half of it, of all NICs as stations, and of its VT-d unit. */
export const NIC_NAME = 'nic0';
export const NETWORK_NAME = 'network0';
export const IOMMU_NAME = 'iommu0';

/**
 * Records of a machine with `functions` virtual functions, `virtio` NICs of the VMM's own and `edus` further devices, each in a
 * port of its own; `slot`: of all assigned devices.
 */
export function passthroughRecords(
  functions: number,
  virtio: number,
  edus: number,
  slot: SlotKind = 'ordinary',
): readonly { name: string; version: number }[] {
  if (functions + virtio + edus === 0) return [];
  const many = (count: number, name: (index: number) => string, version: number) =>
    Array.from({ length: count }, (_, i) => ({ name: name(i), version }));
  return [
    { name: HOST_BRIDGE_NAME, version: HOST_BRIDGE_VERSION },
    ...many(slot === 'acpi' ? 1 : 0, () => ACPI_HOTPLUG_NAME, ACPI_HOTPLUG_VERSION),
    ...many(functions, rootPortName, ROOT_PORT_VERSION),
    ...many(virtio, virtioPortName, ROOT_PORT_VERSION),
    ...many(virtio, virtioName, VIRTIO_NET_VERSION),
    ...many(edus, eduPortName, ROOT_PORT_VERSION),
  ];
}

/**
 * How VT-d maps guest RAM, and so what one dirty bit stands for: 4 KiB; as much as fits, up to 1 GiB; or that, split to
 * 4 KiB while a migration looks at the bits.
 */
export const IOMMU_LEAVES = ['small', 'huge', 'demote'] as const;
export type IommuLeaves = (typeof IOMMU_LEAVES)[number];

/** Whose dirty bits are read: those of VT-d's second-stage tables (bit 9), or of its first-stage ones (bit 6). */
export const IOMMU_STAGES = ['second', 'first'] as const;
export type IommuStage = (typeof IOMMU_STAGES)[number];

/** Devices of the host, beside its NIC's, that a guest may be given. */
export const DEVICE_KINDS = ['edu'] as const;
export type DeviceKind = (typeof DEVICE_KINDS)[number];

/**
 * `quick`: the slot has neither attention button nor power controller, and so none of the waits that belong to them. `acpi`: it is
 * not the port that handles hot-plug, but ACPI.
 */
export const SLOT_KINDS = ['ordinary', 'quick', 'acpi'] as const;
export type SlotKind = (typeof SLOT_KINDS)[number];

/** A virtio-net device of the VMM's own. */
export interface VirtioOptions {
  readonly mac: MacAddress;
  /** It is the standby of the function with the same address. */
  readonly standby?: boolean;
}

/**
 * A NIC of the host, some of whose virtual functions are the guest's, and at whose cable the VMM's own NICs are as well; and what
 * else of the host's the guest is given.
 */
export interface NicOptions {
  /** One function for each of these addresses, which the host's administrator sets: up to ASSIGNED_MAX. */
  readonly macs: readonly MacAddress[];
  /** What of the part each of them has; all of it if absent. */
  readonly offer?: FunctionOffer;
  /** None if absent. */
  readonly virtio?: readonly VirtioOptions[];
  /** `edu` devices of the host, beside the NIC, that are the guest's as well: up to ASSIGNED_MAX; none if absent. */
  readonly edus?: number;
  /** The slots that assigned devices sit in; `ordinary` if absent. */
  readonly slot?: SlotKind;
  /** Whether a migration may move assigned devices by VFIO's protocol; it may if absent. */
  readonly vfioMigration?: boolean;
  /** `small` if absent. */
  readonly leaves?: IommuLeaves;
  /** `second` if absent. */
  readonly stage?: IommuStage;
  /** Posted writes of the device that may be on their way at any time; none if absent: each is visible at once. */
  readonly writesInFlight?: number;
  /** Defects on purpose. */
  readonly faults?: readonly FaultRule[];
}
