/** A vCPU as its machine sees it: what can be asked of it, and what it reports by itself. */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { FerryError } from '../../base/errors.js';
import type { VcpuRecord } from '../../migration/ports.js';
import type { VcpuCounters, VcpuPending, VcpuState } from '../threads/control-block.js';
import type { VcpuCode } from './code.js';
import type { VcpuExtra } from './core.js';
import type { GuestCrash } from './crash.js';

/**
 * One vCPU from outside. Each call has exactly one answer; it rejects with `vmm/guest-unresponsive` if the guest can't
 * be brought to a safepoint. A vCPU that is off, paused or crashed answers as well.
 */
export interface VcpuHandle {
  readonly index: number;
  readonly state: VcpuState;
  readonly counters: VcpuCounters;
  readonly pending: VcpuPending;
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

/** What happens to a vCPU by itself. */
export interface VcpuEvents {
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
