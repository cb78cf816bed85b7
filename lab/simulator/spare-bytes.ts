/**
 * Buffers for what is under way for a moment in simulated time, used again: new ones were most of what a simulated migration took
 * of the host's memory, and the host takes its time for each.
 */

import { PAGE_BYTES } from '../../base/units.js';
import { FRAME_PAYLOAD_BYTES_MAX } from '../../migration/pages/layouts.js';

/** What is kept, for all wires of a thread; nothing that is under way is counted. */
const KEPT_MAX = 16;
const kept: Uint8Array<ArrayBuffer>[] = [];

/** A copy of `bytes`, to be given back to `giveBack` when nobody looks at it any more, or to be forgotten. */
export function copyOf(bytes: Uint8Array): Uint8Array {
  if (bytes.length < PAGE_BYTES || bytes.length > FRAME_PAYLOAD_BYTES_MAX) return bytes.slice();
  const whole = kept.pop() ?? new Uint8Array(FRAME_PAYLOAD_BYTES_MAX);
  whole.set(bytes);
  return whole.subarray(0, bytes.length);
}

/** `bytes` is such a copy or the rest of one, or anything else, of which nothing is kept. */
export function giveBack({ buffer }: Uint8Array): void {
  if (buffer.byteLength !== FRAME_PAYLOAD_BYTES_MAX || kept.length >= KEPT_MAX) return;
  kept.push(new Uint8Array(buffer as ArrayBuffer));
}
