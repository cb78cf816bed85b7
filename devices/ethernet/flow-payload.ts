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
  /** Over everything else in the payload; see `sealPayload`. */
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

/** Start of a datagram's pattern: xorshift32 must not start at 0. */
const seedOf = (flowNumber: number, sequenceNumber: number): number =>
  (Math.imul(flowNumber ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(sequenceNumber + 1, 0xc2b2ae35)) | 1;

/** xorshift32 (Marsaglia 2003), the step of the pattern. */
function step(state: number): number {
  let s = state;
  s ^= s << 13;
  s ^= s >>> 17;
  return s ^ (s << 5);
}

/** One word into the checksum. For either operand alone it is one to one: no single wrong word can hide. */
const mix = (sum: number, word: number): number => {
  const m = Math.imul(sum ^ word, 0x01000193);
  return m ^ (m >>> 15);
};

function headerSum(view: DataView, at: number): number {
  let sum = mix(0x811c9dc5, view.getUint32(at + magic));
  sum = mix(sum, view.getUint32(at + flow));
  sum = mix(sum, view.getUint32(at + sequence));
  sum = mix(sum, view.getUint32(at + sentAt));
  return mix(sum, view.getUint32(at + sentAt + 4));
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
  let sum = headerSum(view, at);
  let state = seedOf(flowNumber, sequenceNumber);
  const end = at + length;
  let i = at + flowHeader.size;
  for (; i + 4 <= end; i += 4) {
    state = step(state);
    view.setUint32(i, state);
    sum = mix(sum, state);
  }
  for (; i < end; i++) {
    state = step(state);
    view.setUint8(i, state);
    sum = mix(sum, state & 0xff);
  }
  view.setUint32(at + checksum, sum);
}

/** True if not one byte of the payload is wrong: the pattern is the datagram's own and the checksum holds. */
export function payloadIsIntact(view: DataView, at: number, length: number): boolean {
  if (length < flowHeader.size || view.getUint32(at + magic) !== FLOW_MAGIC) return false;
  let sum = headerSum(view, at);
  let state = seedOf(view.getUint32(at + flow), view.getUint32(at + sequence));
  let wrong = 0;
  const end = at + length;
  let i = at + flowHeader.size;
  for (; i + 4 <= end; i += 4) {
    state = step(state);
    wrong |= view.getUint32(i) ^ state;
    sum = mix(sum, state);
  }
  for (; i < end; i++) {
    state = step(state);
    wrong |= view.getUint8(i) ^ (state & 0xff);
    sum = mix(sum, state & 0xff);
  }
  return wrong === 0 && view.getUint32(at + checksum) === sum >>> 0;
}
