/**
 * Start: how the guest gets a working device at the destination. Chosen independently of tracking; what it is fed is
 * what the chosen stop sends.
 */
import type { DeviceRecord } from '../../base/device-record.js';

export const STARTS = ['none', 'device-state'] as const;
export type StartName = (typeof STARTS)[number];

export interface DeviceStart {
  readonly name: StartName;
  /** The next piece of the device's data stream. Throws a FerryError that names what does not fit. */
  take(piece: Uint8Array): Promise<void>;
  /** The stream is whole, no vCPU runs. After it resolves the device can't fail for reasons of state. */
  load(): Promise<void>;
  /** As `DeviceStop.records`, read back from the device that was loaded. */
  records(): Promise<readonly DeviceRecord[]>;
}

/** For a machine without an assigned device, to which no stream comes. */
export const nothingToStart: DeviceStart = {
  name: 'none',
  take: async () => undefined,
  load: async () => undefined,
  records: async () => [],
};
