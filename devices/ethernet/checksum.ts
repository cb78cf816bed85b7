/**
 * The Internet checksum (RFC 1071) and CRC32c (RFC 9260, SCTP) over frames in a device's memory.
 *
 * Sums are kept in the machine's little-endian byte order: the one's complement sum doesn't care (RFC 1071, section
 * 2 B), so whole words are added unswapped and only the result is stored byte by byte.
 */
import { type FrameBuffer, type ParsedFrame, PROTOCOL_UDP } from './frame.js';

/** Folds a sum of 16-bit words to 16 bits. */
function fold(sum: number): number {
  let folded = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** Swaps a big-endian value into the order that sums are kept in. */
const swap16 = (value: number): number => ((value & 0xff) << 8) | (value >>> 8);

/** Adds `length` bytes from the even offset `from`. Sums of a frame's words stay far below 2^31. */
function sumEven(frame: FrameBuffer, from: number, length: number): number {
  const { dwords, words, bytes } = frame;
  if (length < 2) return length === 0 ? 0 : bytes[from]!;
  const end = from + length;
  let i = from >>> 1;
  let low = (i & 1) !== 0 ? words[i++]! : 0;
  // Two words at a read, and two pairs of sums, so that none waits for another.
  let high = 0;
  let low2 = 0;
  let high2 = 0;
  let pair = i >>> 1;
  for (; pair + 8 <= end >>> 2; pair += 8) {
    const a = dwords[pair]!;
    const b = dwords[pair + 1]!;
    const c = dwords[pair + 2]!;
    const d = dwords[pair + 3]!;
    const e = dwords[pair + 4]!;
    const f = dwords[pair + 5]!;
    const g = dwords[pair + 6]!;
    const h = dwords[pair + 7]!;
    low = (low + (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff)) | 0;
    high = (high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)) | 0;
    low2 = (low2 + (e & 0xffff) + (f & 0xffff) + (g & 0xffff) + (h & 0xffff)) | 0;
    high2 = (high2 + (e >>> 16) + (f >>> 16) + (g >>> 16) + (h >>> 16)) | 0;
  }
  for (i = pair << 1; i < end >>> 1; i++) low = (low + words[i]!) | 0;
  if ((length & 1) !== 0) low += bytes[end - 1]!;
  return low + high + low2 + high2;
}

/** Unfolded one's complement sum of `length` bytes from `from`; exact for any frame. */
export function sumBytes(frame: FrameBuffer, from: number, length: number): number {
  if ((from & 1) === 0) return sumEven(frame, from, length);
  if (length === 0) return 0;
  // An odd start: every pair straddles two words, which swaps the bytes of the sum.
  const first = frame.bytes[from]!;
  return first + swap16(fold(sumEven(frame, from + 1, length - 1)));
}

/** The sum of a TCP or UDP pseudo-header for `parsed`, with `l4Bytes` as its length. */
export function sumPseudoHeader(frame: FrameBuffer, parsed: ParsedFrame, l4Bytes: number): number {
  const addresses =
    parsed.ipVersion === 4
      ? sumBytes(frame, parsed.ipOffset + 12, 8)
      : sumBytes(frame, parsed.ipOffset + 8, 32);
  return addresses + swap16(parsed.l4Protocol) + swap16(l4Bytes & 0xffff);
}

/** True if the sum of something that includes its checksum is right. */
export const sumIsValid = (sum: number): boolean => fold(sum) === 0xffff;

/** Stores the complement of `sum` at `at`; UDP sends an all-zero result as all ones (RFC 768). */
export function storeChecksum(frame: FrameBuffer, at: number, sum: number, protocol: number): void {
  let value = ~fold(sum) & 0xffff;
  if (value === 0 && protocol === PROTOCOL_UDP) value = 0xffff;
  frame.bytes[at] = value;
  frame.bytes[at + 1] = value >>> 8;
}

/** Adds a big-endian 16-bit value to a sum. */
export const addToSum = (sum: number, value: number): number => sum + swap16(value & 0xffff);

const CRC32C = /* @__PURE__ */ (() => {
  const table = new Int32Array(256);
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    table[i] = crc;
  }
  return table;
})();

/** SCTP's checksum over `length` bytes from `from`, its own field (8 to 11) taken as zero. */
export function crc32c(frame: FrameBuffer, from: number, length: number): number {
  let crc = -1;
  for (let i = 0; i < length; i++) {
    const byte = i >= 8 && i < 12 ? 0 : frame.bytes[from + i]!;
    crc = CRC32C[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
