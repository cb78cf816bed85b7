/**
 * Stop: how an assigned device comes to a point where it writes no more, and what of it travels. Chosen independently
 * of how its writes are tracked. One instance for each device; the steps come in this order, and all devices have taken a
 * step before any takes the next. `resume` may come after any of them, before commit; after it, `release`.
 */
import type { DeviceRecord } from '../../base/device-record.js';
import type { Descriptor } from '../approach.js';
import type { Patience, RequestLimits } from '../patience.js';
import type { AssignedDevice } from '../ports.js';

/**
 * How a stop leaves the device behind, as its driver in the guest knows it.
 * - `state`: its state travels, and the driver knows of nothing;
 * - `unplugged`: the driver has let it go, and its slot is empty;
 * - `asleep`: the driver has taken it down, and waits for word;
 * - `lost`: nothing of it travels, and the driver believes it at work;
 * - `nothing`: there is none.
 */
export type Left = 'state' | 'unplugged' | 'asleep' | 'lost' | 'nothing';

/** Completes "stop = unplug". */
export const LEFT_TEXT: Readonly<Record<Left, string>> = {
  state: 'sends the state of the device',
  unplugged: 'leaves an empty slot',
  asleep: 'leaves a driver that waits for word',
  lost: 'leaves a driver that believes its device at work',
  nothing: 'leaves no device',
};

export interface DeviceStop {
  /** Before the first round and after each, while guest and device run: what may travel ahead; may be empty. */
  ahead?(): Promise<Uint8Array>;
  /**
   * Asks the guest, when the rest would fit the downtime limit; rounds go on until it resolves, which says that the device
   * writes no more or can be made to at once. Rejects with a FerryError when the guest refuses or its time is up.
   */
  request?(limits: RequestLimits): Promise<void>;
  /** While the vCPUs still run: when it resolves, the device begins no write any more. */
  quiesce(): Promise<void>;
  /** While the vCPUs stand still: the rest of what travels. Only of approaches whose state travels. */
  stopCopy?(): Promise<Uint8Array>;
  /** What must be found again, byte for byte, in the device at the destination; for verification. */
  records?(): Promise<readonly DeviceRecord[]>;
  /**
   * The device works again as if nothing had been asked of it. Harmless where nothing was. Resolves with what the guest
   * notices of it all the same, to go after the device's name: `was reset`.
   */
  resume(): Promise<string | undefined>;
  /**
   * After `resume`, once the vCPUs run as before the migration: the driver is told what it must know to use its device again.
   * Harmless where it was told nothing. A FerryError goes into the record; the guest is back whatever becomes of this.
   */
  resumed?(patience: Patience): Promise<void>;
  /** The guest runs at the destination: what was kept for a rollback is let go. */
  release?(): Promise<void>;
}

export interface StopDescriptor extends Descriptor {
  /** How the device is left: the start must be one that takes it so. */
  readonly leaves: Left;
  /**
   * Not one way but several: these are tried in this order, those that fit, each until the guest refuses or its time is up.
   * Only their own descriptors count then, and what is recorded is which of them it was.
   */
  readonly tries?: readonly StopDescriptor[];
  /** `startAgain` is what the chosen start does once the guest runs, here on the source's device: for `DeviceStop.resumed`. */
  readonly make: (device: AssignedDevice, startAgain: (patience: Patience) => Promise<void>) => DeviceStop;
}
