/** What a machine and its device thread say to each other. Each request has exactly one reply, with the same id. */
import type { MessagePort } from 'node:worker_threads';
import type { DeviceRecord } from '../../../base/device-record.js';
import type { SerializedError } from '../../../base/errors.js';
import type { PowerRequest } from '../../../devices/power/device.js';
import type { RamHandle } from '../../ram/guest-ram.js';
import type { ConsoleBatch } from '../console-outbox.js';

export type ToDevices =
  | { readonly kind: 'save'; readonly id: number }
  | { readonly kind: 'restore'; readonly id: number; readonly records: readonly DeviceRecord[] }
  /** The last console batch was dealt with. */
  | { readonly kind: 'console-taken' };

export type FromDevices =
  | { readonly kind: 'reply'; readonly id: number; readonly records: readonly DeviceRecord[] }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: SerializedError }
  | { readonly kind: 'console'; readonly batch: ConsoleBatch }
  | { readonly kind: 'power'; readonly request: PowerRequest };

/** The device thread's workerData. */
export interface DeviceThreadData {
  readonly vcpus: number;
  readonly ram: RamHandle;
  readonly control: SharedArrayBuffer;
  readonly clock: SharedArrayBuffer;
  readonly devices: SharedArrayBuffer;
  readonly epoch: bigint;
  readonly port: MessagePort;
}
