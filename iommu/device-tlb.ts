/** Devices that keep translations of their own (ATS) and ask for missing pages (PRI), as the unit talks to them. */
export interface DeviceTlb {
  /**
   * Drops the translations of `source` (and `pasid`, unless negative) for `bytes` bytes from `address`; Infinity for
   * everything. False if the device did not complete in time.
   */
  invalidate(source: number, pasid: number, address: number, bytes: number): boolean;
  /** Answer to a group of page requests: `code` 0 success, 1 invalid, 15 failure (PCIe 10.4.2.1). */
  respond(source: number, pasid: number, group: number, code: number): void;
}

/** A device answered to a page request that the queue could not take. */
export const RESPONSE_FAILURE = 15;
