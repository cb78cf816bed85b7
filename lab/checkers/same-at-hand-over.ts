/**
 * What the destination takes over is what the source left: every page of RAM, registers, and the records of all devices.
 *
 * It does not check what no record holds: what a device has in hand, frames on the wire, the contents of the reserved range.
 */
import type { Checker } from './happened.js';

export const sameAtHandOver: Checker = {
  name: 'same-at-hand-over',
  check: ({ handOver }) =>
    (handOver ?? []).map((difference) => `taken over with a difference: ${difference}`),
};
