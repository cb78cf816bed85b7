/**
 * Stop: how an assigned device comes to a point where it writes no more, and what of it travels. Chosen independently
 * of how its writes are tracked. The steps come in this order; `resume` may come after any of them, before commit.
 */
import type { DeviceRecord } from '../../base/device-record.js';

export const STOPS = ['none', 'device-state'] as const;
export type StopName = (typeof STOPS)[number];

export interface DeviceStop {
  readonly name: StopName;
  /** Before the first round and after each, while guest and device run: what may travel ahead; may be empty. */
  preCopy(): Promise<Uint8Array>;
  /** While the vCPUs still run: when it resolves, the device begins no write any more. */
  quiesce(): Promise<void>;
  /** While the vCPUs stand still: the rest of what travels. */
  stopCopy(): Promise<Uint8Array>;
  /** What must be found again, byte for byte, in the device at the destination; for verification. */
  records(): Promise<readonly DeviceRecord[]>;
  /** The device works again as if nothing had been asked of it. */
  resume(): Promise<void>;
}

const NOTHING = new Uint8Array(0);

/** For a machine without an assigned device. */
export const nothingToStop: DeviceStop = {
  name: 'none',
  preCopy: async () => NOTHING,
  quiesce: async () => undefined,
  stopCopy: async () => NOTHING,
  records: async () => [],
  resume: async () => undefined,
};
