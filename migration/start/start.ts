/**
 * Start: how the guest gets a working device at the destination. Chosen independently of tracking; what it is fed is
 * what the chosen stop sends. One instance for each device.
 */
import type { DeviceRecord } from '../../base/device-record.js';
import type { Descriptor } from '../approach.js';
import type { Patience, RequestLimits } from '../patience.js';
import type { AssignedDevice } from '../ports.js';
import type { Left } from '../stop/stop.js';

export interface DeviceStart {
  /** The next piece of the device's data stream. Throws a FerryError that names what does not fit. */
  take?(piece: Uint8Array): Promise<void>;
  /** The stream is whole, or there is none; no vCPU runs. After it resolves the device can't fail for reasons of state. */
  load?(): Promise<void>;
  /** As `DeviceStop.records`, read back from the device that was loaded. */
  records?(): Promise<readonly DeviceRecord[]>;
  /**
   * The guest runs already: gives it the device, and resolves when that works. The migration is over whatever comes of
   * it: a FerryError, also when the patience is over, is noted on both sides.
   */
  afterRun?(patience: Patience): Promise<void>;
  /**
   * Instead of `afterRun`, at the source: the guest was taken back, and has its device again. It gets what was remembered, which
   * `take` and `load` have been given before.
   */
  restore?(patience: Patience): Promise<void>;
}

export interface StartDescriptor extends Descriptor {
  /** How the stop may have left the device. One that takes `state` is fed what the stop sends. */
  readonly takes: readonly Left[];
  /** Whether there is something to do once the guest runs. */
  readonly afterRun: boolean;
  /** At the source, before the guest is asked to stop the device: what it is to do while it still has it. Rejects as requests do. */
  readonly prepare?: (device: AssignedDevice, limits: RequestLimits) => Promise<void>;
  /**
   * At the source, after `prepare`: what the destination has to know of the device as the guest has it now. It travels as the
   * device's stream, after a stop that sends none of its own; that is empty where the guest was asked in vain. Rejects as requests do.
   */
  readonly remember?: (device: AssignedDevice, limits: RequestLimits) => Promise<Uint8Array>;
  /**
   * At the source, when the device is stopped and no vCPU runs: what the host has to tell the destination of the device as it
   * was. It travels likewise.
   */
  readonly readOut?: (device: AssignedDevice) => Promise<Uint8Array>;
  readonly make: (device: AssignedDevice) => DeviceStart;
}

/** Whether a stream of each device comes for the start. */
export const takesStream = ({ takes, remember, readOut }: StartDescriptor): boolean =>
  takes.includes('state') || remember !== undefined || readOut !== undefined;
