import type { TransferCount } from '../ports.js';

export const NOTHING_MOVED: TransferCount = { pages: 0, zeroPages: 0, bytes: 0 };

/** What two channels, or two rounds, moved together. */
export function addCounts(a: TransferCount, b: TransferCount): TransferCount {
  return { pages: a.pages + b.pages, zeroPages: a.zeroPages + b.zeroPages, bytes: a.bytes + b.bytes };
}
