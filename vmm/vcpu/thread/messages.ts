/** What a machine says to a vCPU's thread through its port. Each command has exactly one reply, with the same id. */
import type { SerializedError } from '../../../base/errors.js';
import type { VcpuRecord } from '../../../migration/ports.js';
import type { RamHandle } from '../../ram/guest-ram.js';
import type { VcpuCode } from '../code.js';
import type { VcpuExtra } from '../core.js';
import type { GuestCrash } from '../crash.js';

export type VcpuCommand =
  /** Takes on a variant, first or later. */
  | { readonly op: 'code'; readonly code: VcpuCode }
  /** Begins at the entry function. */
  | { readonly op: 'start' }
  | { readonly op: 'pause' }
  | { readonly op: 'resume' }
  /** Publishes the dirty map into the bitmap of `bits` bits; the only command that leaves the guest's stack alone. */
  | { readonly op: 'publish'; readonly into: SharedArrayBuffer; readonly bits: number }
  | { readonly op: 'save' }
  | { readonly op: 'load'; readonly record: VcpuRecord; readonly extra: VcpuExtra };

export interface CommandResults {
  code: undefined;
  start: undefined;
  /** The vCPU as it now is, if it has code: who stops it wants to know next. */
  pause: CommandResults['save'] | undefined;
  resume: undefined;
  /** Pages new in the bitmap, and how long the vCPU was kept from the guest, in ns. */
  publish: { readonly pages: number; readonly costNs: number };
  save: { readonly record: VcpuRecord; readonly extra: VcpuExtra };
  load: undefined;
}

export type ToVcpu = { readonly id: number; readonly command: VcpuCommand };

export type FromVcpu =
  | { readonly kind: 'reply'; readonly id: number; readonly result: CommandResults[keyof CommandResults] }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: SerializedError }
  | { readonly kind: 'crashed'; readonly crash: GuestCrash }
  /** The entry function returned. */
  | { readonly kind: 'returned' }
  /** The guest touched a page that is not here yet, and waits for its byte in the present map and a kick. */
  | { readonly kind: 'fault'; readonly page: number };

/** A vCPU thread's workerData. */
export interface VcpuThreadData {
  readonly index: number;
  readonly vcpus: number;
  readonly ram: RamHandle;
  readonly control: SharedArrayBuffer;
  readonly clock: SharedArrayBuffer;
  readonly alarms: SharedArrayBuffer;
  readonly devices: SharedArrayBuffer;
  readonly epoch: bigint;
  readonly kernel: WebAssembly.Module;
  readonly port: import('node:worker_threads').MessagePort;
}
