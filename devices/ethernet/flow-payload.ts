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

/**
 * The pattern is four xorshift32 sequences, taking turns word by word, and the checksum four sums, one of each: a chain
 * of dependent steps takes far longer than four beside each other. Words that are left over, and after them bytes, go on
 * with the first. The pattern's words are little-endian, as all who make them are.
 */
const LANE_SEEDS = [0, 0x3c6ef372, 0xdaa66d2b, 0x78dde6e4] as const;
const GROUP_BYTES = 4 * LANE_SEEDS.length;

/** What a datagram's pattern starts from. */
const seedOf = (flowNumber: number, sequenceNumber: number): number =>
  Math.imul(flowNumber ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(sequenceNumber + 1, 0xc2b2ae35);

/** A lane's first state; xorshift32 must not start at 0. */
const laneOf = (seed: number, lane: number): number => (seed ^ LANE_SEEDS[lane]!) | 1;

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
  const seed = seedOf(flowNumber, sequenceNumber);
  let [a, b, c, d] = [laneOf(seed, 0), laneOf(seed, 1), laneOf(seed, 2), laneOf(seed, 3)];
  let [sumA, sumB, sumC, sumD] = [headerSum(view, at), 0, 0, 0];
  const end = at + length;
  let i = at + flowHeader.size;
  for (; i + GROUP_BYTES <= end; i += GROUP_BYTES) {
    a = step(a);
    b = step(b);
    c = step(c);
    d = step(d);
    view.setInt32(i, a, true);
    view.setInt32(i + 4, b, true);
    view.setInt32(i + 8, c, true);
    view.setInt32(i + 12, d, true);
    sumA = mix(sumA, a);
    sumB = mix(sumB, b);
    sumC = mix(sumC, c);
    sumD = mix(sumD, d);
  }
  for (; i + 4 <= end; i += 4) {
    a = step(a);
    view.setInt32(i, a, true);
    sumA = mix(sumA, a);
  }
  for (; i < end; i++) {
    a = step(a);
    view.setUint8(i, a);
    sumA = mix(sumA, a & 0xff);
  }
  view.setUint32(at + checksum, mix(mix(mix(sumA, sumB), sumC), sumD));
}

/** True if not one byte of the payload is wrong: the pattern is the datagram's own and the checksum holds. */
export function payloadIsIntact(view: DataView, at: number, length: number): boolean {
  if (length < flowHeader.size || view.getUint32(at + magic) !== FLOW_MAGIC) return false;
  const seed = seedOf(view.getUint32(at + flow), view.getUint32(at + sequence));
  let [a, b, c, d] = [laneOf(seed, 0), laneOf(seed, 1), laneOf(seed, 2), laneOf(seed, 3)];
  let [sumA, sumB, sumC, sumD] = [headerSum(view, at), 0, 0, 0];
  let wrong = 0;
  const end = at + length;
  let i = at + flowHeader.size;
  for (; i + GROUP_BYTES <= end; i += GROUP_BYTES) {
    a = step(a);
    b = step(b);
    c = step(c);
    d = step(d);
    wrong |= view.getInt32(i, true) ^ a;
    wrong |= view.getInt32(i + 4, true) ^ b;
    wrong |= view.getInt32(i + 8, true) ^ c;
    wrong |= view.getInt32(i + 12, true) ^ d;
    sumA = mix(sumA, a);
    sumB = mix(sumB, b);
    sumC = mix(sumC, c);
    sumD = mix(sumD, d);
  }
  for (; i + 4 <= end; i += 4) {
    a = step(a);
    wrong |= view.getInt32(i, true) ^ a;
    sumA = mix(sumA, a);
  }
  for (; i < end; i++) {
    a = step(a);
    wrong |= view.getUint8(i) ^ (a & 0xff);
    sumA = mix(sumA, a & 0xff);
  }
  return wrong === 0 && view.getInt32(at + checksum) === mix(mix(mix(sumA, sumB), sumC), sumD);
}
