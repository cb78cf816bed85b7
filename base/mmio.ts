/**
 * Memory-mapped I/O as a device sees it: offsets into its own regions, never addresses. The bus (in `vmm`) places the
 * regions, refuses overlap, and answers what nobody claims with all ones.
 */
import type { SaveableDevice } from './device-record.js';

export type AccessWidth = 1 | 2 | 4;

export interface MmioHandler {
  /** `offset` lies in the region, and so does the access. Returns `width` bytes, unsigned. */
  read(offset: number, width: AccessWidth): number;
  write(offset: number, width: AccessWidth, value: number): void;
}

export interface MmioRegion {
  /** For messages and dumps: `console`, `ecam`. */
  readonly name: string;
  readonly base: number;
  readonly bytes: number;
  readonly handler: MmioHandler;
  /**
   * Writes are posted: the vCPU goes on without waiting for the device (doorbells). They arrive in order, and before
   * any later access of the same vCPU.
   */
  readonly posted?: boolean;
}

/** What a read gives where no device answers. */
export const allOnes = (width: AccessWidth): number => (width === 4 ? 0xffff_ffff : (1 << (8 * width)) - 1);

/** A device that the bus reaches and whose state travels with the machine. */
export interface MachineDevice extends SaveableDevice {
  readonly regions: readonly MmioRegion[];
  /** What of it the host may call, by the name that it goes by there. */
  readonly calls?: ReadonlyMap<string, object>;
}
