/**
 * What a machine is made of, as its logic sees it. Two sets exist: threads (`thread/`) and one deterministic thread
 * (`../deterministic/`); `machine.ts` can't tell them apart.
 */

import type { ParsedImage } from '../../base/abi/image-parse.js';
import type { ReservedRange } from '../../base/abi/reserved-range.js';
import type { PowerRequest } from '../../devices/power/device.js';
import type { DeviceEvent } from '../passthrough/events.js';
import type { GuestRam } from '../ram/guest-ram.js';
import type { VirtualClock } from '../threads/virtual-clock.js';
import type { VcpuEvents, VcpuHandle } from '../vcpu/handle.js';
import type { ConsoleBatch } from './console-outbox.js';
import type { DeviceHost } from './device-calls.js';

/** Where drivers report what happens by itself. */
export interface DriverEvents extends VcpuEvents {
  console(batch: ConsoleBatch): void;
  power(request: PowerRequest): void;
  device(event: DeviceEvent): void;
}

export interface MachineDrivers {
  readonly ram: GuestRam;
  readonly range: ReservedRange;
  readonly clock: VirtualClock;
  readonly vcpus: readonly VcpuHandle[];
  readonly devices: DeviceHost;
  /** Judges an image, of which it takes a copy: `bytes` may be RAM. Throws what `parseImage` throws. */
  parseImage(bytes: Uint8Array): ParsedImage;
  /** Hashes of pages as they are in RAM now, two words a page: at memory speed, for what has no time for SHA-256. */
  hashPages(firstPage: number, pageCount: number): Uint32Array;
  /** Monotonic, ns. */
  hostNow(): number;
  /** Wall clock, ns since 1970. */
  wallNow(): number;
  /** `whole`: every function now, and not when it is first called. */
  compile(code: Uint8Array, whole: boolean): Promise<WebAssembly.Module>;
  /** CPU time that a thread has used, ns; undefined where the host does not tell. */
  threadCpuNs(threadId: number): number | undefined;
  /** Ends all threads. */
  destroy(): Promise<void>;
}
