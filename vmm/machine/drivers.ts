/**
 * What a machine is made of, as its logic sees it. Two sets exist: threads (`thread/`) and one deterministic thread
 * (`../deterministic/`); `machine.ts` can't tell them apart.
 */

import type { Sha256 } from '../../base/abi/image-parse.js';
import type { ReservedRange } from '../../base/abi/reserved-range.js';
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { FerryError } from '../../base/errors.js';
import type { PowerRequest } from '../../devices/power/device.js';
import type { VcpuRecord } from '../../migration/ports.js';
import type { GuestRam } from '../ram/guest-ram.js';
import type { VcpuCode } from '../vcpu/code.js';
import type { VcpuCounters, VcpuState } from '../vcpu/control-block.js';
import type { VcpuExtra } from '../vcpu/core.js';
import type { GuestCrash } from '../vcpu/crash.js';
import type { VirtualClock } from '../vcpu/virtual-clock.js';
import type { ConsoleBatch } from './console-outbox.js';
import type { DeviceHost } from './device-calls.js';

/**
 * One vCPU from outside. Each call has exactly one answer; it rejects with `vmm/guest-unresponsive` if the guest can't
 * be brought to a safepoint. A vCPU that is off, paused or crashed answers as well.
 */
export interface VcpuHandle {
  readonly index: number;
  readonly state: VcpuState;
  readonly counters: VcpuCounters;
  /** The host kernel's id of its thread, or 0. */
  readonly threadId: number;
  /** Takes on a variant, before the guest starts or at a safepoint. */
  setCode(code: VcpuCode): Promise<void>;
  /** Begins at the entry function. */
  start(): Promise<void>;
  /** Resolves when the guest is unwound. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Moves the dirty map's marks into `into`. */
  publish(into: AtomicBitmap): Promise<{ readonly pages: number; readonly costNs: number }>;
  /** Only while paused. */
  save(): Promise<{ readonly record: VcpuRecord; readonly extra: VcpuExtra }>;
  load(record: VcpuRecord, extra: VcpuExtra): Promise<void>;
  /** Percent of its time to be kept from running. */
  throttle(percent: number): void;
}

/** Where drivers report what happens by itself. */
export interface DriverEvents {
  console(batch: ConsoleBatch): void;
  power(request: PowerRequest): void;
  crashed(crash: GuestCrash): void;
  /** The vCPU could not be brought to a safepoint and was stopped by force. */
  unresponsive(error: FerryError): void;
  /** The entry function of this vCPU returned. */
  returned(vcpu: number): void;
  /** The guest on this vCPU touched `page`, which is not here, and waits for it (postcopy variant). */
  fault(vcpu: number, page: number): void;
  /** A thread of ours failed. */
  failed(error: Error): void;
}

export interface MachineDrivers {
  readonly ram: GuestRam;
  readonly range: ReservedRange;
  readonly clock: VirtualClock;
  readonly vcpus: readonly VcpuHandle[];
  readonly devices: DeviceHost;
  readonly sha256: Sha256;
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
