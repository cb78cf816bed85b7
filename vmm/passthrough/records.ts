/** What a machine with an assigned function sends beside its platform's records, and what it is made with. */
import type { FaultRule } from '../../base/fault.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import { HOST_BRIDGE_VERSION } from '../../devices/pci/host-bridge.js';
import { ROOT_PORT_VERSION } from '../../devices/root-port/state.js';

/** The guest's device, and the port that it sits in. */
export const ASSIGNED_NAME = 'vf0';
export const ROOT_PORT_NAME = 'root-port0';

export const HOST_BRIDGE_NAME = 'host-bridge';

export const PASSTHROUGH_RECORDS = [
  { name: HOST_BRIDGE_NAME, version: HOST_BRIDGE_VERSION },
  { name: ROOT_PORT_NAME, version: ROOT_PORT_VERSION },
] as const;

/**
 * How VT-d maps guest RAM, and so what one dirty bit stands for: 4 KiB; as much as fits, up to 1 GiB; or that, split to
 * 4 KiB while a migration looks at the bits.
 */
export const IOMMU_LEAVES = ['small', 'huge', 'demote'] as const;
export type IommuLeaves = (typeof IOMMU_LEAVES)[number];

/** A NIC of the host, one of whose virtual functions is the guest's. */
export interface NicOptions {
  /** The virtual function's address, which the host's administrator sets. */
  readonly mac: MacAddress;
  /** `small` if absent. */
  readonly leaves?: IommuLeaves;
  /** Posted writes of the device that may be on their way at any time; none if absent: each is visible at once. */
  readonly writesInFlight?: number;
  /** Defects on purpose. */
  readonly faults?: readonly FaultRule[];
}
