/** What a machine and its device thread say to each other. Each call has exactly one reply, with the same id. */
import type { MessagePort } from 'node:worker_threads';
import type { SerializedError } from '../../../base/errors.js';
import type { PowerRequest } from '../../../devices/power/device.js';
import type { DeviceEvent } from '../../passthrough/events.js';
import type { NicOptions } from '../../passthrough/records.js';
import type { RamHandle } from '../../ram/guest-ram.js';
import type { SocketAddress } from '../../sockets/address.js';
import type { ConsoleBatch } from '../console-outbox.js';

export type ToDevices =
  | {
      readonly kind: 'call';
      readonly id: number;
      readonly target: string;
      readonly method: string;
      readonly args: readonly unknown[];
    }
  /** Plugs the NIC in, if it has a cable. */
  | { readonly kind: 'connect'; readonly id: number }
  /** The last console batch was dealt with. */
  | { readonly kind: 'console-taken' }
  /** The last batch of events was dealt with. */
  | { readonly kind: 'events-taken' };

export type FromDevices =
  | { readonly kind: 'reply'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: SerializedError }
  | { readonly kind: 'console'; readonly batch: ConsoleBatch }
  | { readonly kind: 'events'; readonly batch: readonly DeviceEvent[] }
  /** `lastWords`: what the guest printed before, as far as it was not sent yet. */
  | { readonly kind: 'power'; readonly request: PowerRequest; readonly lastWords: ConsoleBatch };

/** The device thread's workerData. */
export interface DeviceThreadData {
  readonly vcpus: number;
  readonly ram: RamHandle;
  readonly control: SharedArrayBuffer;
  readonly clock: SharedArrayBuffer;
  readonly devices: SharedArrayBuffer;
  readonly epoch: bigint;
  readonly port: MessagePort;
  readonly nic: NicOptions | undefined;
  readonly netdev: SocketAddress | undefined;
}
