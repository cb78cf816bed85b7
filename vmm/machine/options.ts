/** What a machine is made with. */
import type { NicOptions } from '../passthrough/records.js';

export interface MachineOptions {
  /** RAM_BYTES_MIN to RAM_BYTES_MAX in steps of RAM_BYTES_STEP. */
  readonly ramBytes: number;
  /** 1 to VCPUS_MAX. */
  readonly vcpus: number;
  /** Seed for the guest's own random numbers, a 32-bit number; default 1. */
  readonly seed?: number;
  /** Share (0 to 1) of each stop that the guest's clock makes up for when it goes on; default 0: it sees none of it. */
  readonly clockCatchUp?: number;
  /** How long a guest may take to its next safepoint before it is stopped by force; default 5000 ms. */
  readonly safepointDeadlineMs?: number;
  /** A NIC whose virtual function the guest is given; none if absent. */
  readonly nic?: NicOptions;
}
