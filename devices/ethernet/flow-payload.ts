/**
 * What a flow's datagrams carry: who and which they are, when they left, and a pattern that only this datagram has, so
 * that not one wrong byte goes unnoticed.
 */
import { layout, u32be, u64be } from '../../base/layout.js';

export const flowHeader = layout('flow datagram', {
  magic: u32be(),
  flow: u32be(),
  /** Counts from 0; a flow ends before it wraps. */
  sequence: u32be(),
  /** Over the rest of the header and the length; see `headerSum`. */
  checksum: u32be(),
  /** Nanoseconds of the sender's own clock. */
  sentAt: u64be(),
});

/** "FLOW" */
export const FLOW_MAGIC = 0x464c4f57;
export const FLOW_PAYLOAD_BYTES_MIN = flowHeader.size;
/** Payload of a 1500-byte packet. */
export const FLOW_PAYLOAD_BYTES_MAX = 1472;
const SEQUENCE_LIMIT = 2 ** 32;
export const SEQUENCE_MAX = SEQUENCE_LIMIT - 1;

const { magic, flow, sequence, checksum, sentAt } = flowHeader.offset;

/** Bytes of the pattern that are made at a time. */
const GROUP_BYTES = 32;

/** Steps of a Weyl sequence: an odd number, so that it comes around only after 2^32 of them. */
const WEYL = 0x9e3779b9 | 0;

/** What a datagram's pattern starts from. */
const seedOf = (flowNumber: number, sequenceNumber: number): number =>
  Math.imul(flowNumber ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(sequenceNumber + 1, 0xc2b2ae35);

/**
 * A word of the pattern, little-endian on the wire. One to one: where two datagrams' states differ, so do their words.
 * No word waits for the one before it, as those of a chained generator would.
 */
const wordOf = (state: number): number => Math.imul(state ^ (state >>> 15), 0x2c1b3c6d);

/** One word into the checksum. For either operand alone it is one to one: no single wrong word can hide. */
const mix = (sum: number, word: number): number => {
  const m = Math.imul(sum ^ word, 0x01000193);
  return m ^ (m >>> 15);
};

/** Over the header and the payload's length, which together say all of the pattern. */
function headerSum(view: DataView, at: number, length: number): number {
  let sum = mix(0x811c9dc5, view.getUint32(at + magic));
  sum = mix(sum, view.getUint32(at + flow));
  sum = mix(sum, view.getUint32(at + sequence));
  sum = mix(sum, view.getUint32(at + sentAt));
  sum = mix(sum, view.getUint32(at + sentAt + 4));
  return mix(sum, length);
}

/** Writes a payload of `length` bytes at `at`. */
export function writePayload(
  view: DataView,
  at: number,
  length: number,
  flowNumber: number,
  sequenceNumber: number,
  sentAtNs: number,
): void {
  view.setUint32(at + magic, FLOW_MAGIC);
  view.setUint32(at + flow, flowNumber);
  view.setUint32(at + sequence, sequenceNumber);
  view.setUint32(at + sentAt, sentAtNs / SEQUENCE_LIMIT);
  view.setUint32(at + sentAt + 4, sentAtNs % SEQUENCE_LIMIT);
  view.setInt32(at + checksum, headerSum(view, at, length));
  let state = seedOf(flowNumber, sequenceNumber);
  const end = at + length;
  let i = at + flowHeader.size;
  for (; i + GROUP_BYTES <= end; i += GROUP_BYTES) {
    view.setInt32(i, wordOf(state), true);
    view.setInt32(i + 4, wordOf((state + WEYL) | 0), true);
    view.setInt32(i + 8, wordOf((state + 2 * WEYL) | 0), true);
    view.setInt32(i + 12, wordOf((state + 3 * WEYL) | 0), true);
    view.setInt32(i + 16, wordOf((state + 4 * WEYL) | 0), true);
    view.setInt32(i + 20, wordOf((state + 5 * WEYL) | 0), true);
    view.setInt32(i + 24, wordOf((state + 6 * WEYL) | 0), true);
    view.setInt32(i + 28, wordOf((state + 7 * WEYL) | 0), true);
    state = (state + 8 * WEYL) | 0;
  }
  for (; i < end; i++, state = (state + WEYL) | 0) view.setUint8(i, wordOf(state));
}

/** True if not one byte of the payload is wrong: the header's checksum holds, and the pattern is the one it says. */
export function payloadIsIntact(view: DataView, at: number, length: number): boolean {
  if (length < flowHeader.size || view.getUint32(at + magic) !== FLOW_MAGIC) return false;
  let wrong = view.getInt32(at + checksum) ^ headerSum(view, at, length);
  let state = seedOf(view.getUint32(at + flow), view.getUint32(at + sequence));
  const end = at + length;
  let i = at + flowHeader.size;
  for (; i + GROUP_BYTES <= end; i += GROUP_BYTES) {
    wrong |= view.getInt32(i, true) ^ wordOf(state);
    wrong |= view.getInt32(i + 4, true) ^ wordOf((state + WEYL) | 0);
    wrong |= view.getInt32(i + 8, true) ^ wordOf((state + 2 * WEYL) | 0);
    wrong |= view.getInt32(i + 12, true) ^ wordOf((state + 3 * WEYL) | 0);
    wrong |= view.getInt32(i + 16, true) ^ wordOf((state + 4 * WEYL) | 0);
    wrong |= view.getInt32(i + 20, true) ^ wordOf((state + 5 * WEYL) | 0);
    wrong |= view.getInt32(i + 24, true) ^ wordOf((state + 6 * WEYL) | 0);
    wrong |= view.getInt32(i + 28, true) ^ wordOf((state + 7 * WEYL) | 0);
    state = (state + 8 * WEYL) | 0;
  }
  for (; i < end; i++, state = (state + WEYL) | 0) wrong |= view.getUint8(i) ^ (wordOf(state) & 0xff);
  return wrong === 0;
}
