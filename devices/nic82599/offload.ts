/**
 * Transmit offloads: checksum insertion and segmentation. 82599 datasheet, 7.2.4 and 7.2.5
 *
 * A driver describes the headers by a context descriptor and leaves a partial checksum, the pseudo-header's sum, in the
 * field. All lengths are the guest's: what does not fit the frame makes the packet one that is not sent.
 */
import { addToSum, crc32c, storeChecksum, sumBytes } from '../ethernet/checksum.js';
import { FRAME_BYTES_MAX, type FrameBuffer, PROTOCOL_TCP, PROTOCOL_UDP } from '../ethernet/frame.js';
import { L4_SCTP, L4_TCP, L4_UDP, txContext } from './descriptors.js';

const IPV4_HEADER_MIN = 20;
const IPV4_CHECKSUM_AT = 10;
const IPV6_HEADER_BYTES = 40;
const TCP_HEADER_MIN = 20;
const UDP_HEADER_BYTES = 8;
const SCTP_HEADER_BYTES = 12;
const TCP_CHECKSUM_AT = 16;
const UDP_CHECKSUM_AT = 6;
const SCTP_CHECKSUM_AT = 8;

/** The headers of a packet as a context descriptor gives them. */
export class OffloadContext {
  macBytes = 0;
  ipBytes = 0;
  l4Bytes = 0;
  l4Type = 0;
  ipv4 = false;
  vlanTag = 0;
  segmentBytes = 0;

  /** Reads the descriptor at `words[at]`. */
  load(words: ArrayLike<number>, at: number): void {
    this.macBytes = txContext.MAC_BYTES.read(words, at);
    this.ipBytes = txContext.IP_BYTES.read(words, at);
    this.l4Bytes = txContext.L4_BYTES.read(words, at);
    this.l4Type = txContext.L4_TYPE.read(words, at);
    this.ipv4 = txContext.IPV4.read(words, at) === 1;
    this.vlanTag = txContext.VLAN.read(words, at);
    this.segmentBytes = txContext.SEGMENT_BYTES.read(words, at);
  }
}

/**
 * Inserts the IPv4 header checksum; false if the context does not describe such a header. As on the part, what the field
 * holds is added: drivers leave zero there, or what cancels bytes behind the header that IPLEN covers as well (tunnels).
 */
export function insertIpChecksum(frame: FrameBuffer, context: OffloadContext): boolean {
  const { macBytes, ipBytes } = context;
  if (ipBytes < IPV4_HEADER_MIN || macBytes + ipBytes > frame.length) return false;
  storeChecksum(frame, macBytes + IPV4_CHECKSUM_AT, sumBytes(frame, macBytes, ipBytes), PROTOCOL_TCP);
  return true;
}

/**
 * Inserts the checksum of layer 4 up to the end of the frame; `pseudoLength` is added for segments, whose partial
 * checksum is without the length. False if the context does not describe such a header.
 */
export function insertL4Checksum(frame: FrameBuffer, context: OffloadContext, pseudoLength: number): boolean {
  const start = context.macBytes + context.ipBytes;
  const length = frame.length - start;
  if (context.l4Type === L4_SCTP) {
    if (length < SCTP_HEADER_BYTES) return false;
    const crc = crc32c(frame, start, length);
    for (let i = 0; i < 4; i++) frame.bytes[start + SCTP_CHECKSUM_AT + i] = crc >>> (i * 8);
    return true;
  }
  const tcp = context.l4Type === L4_TCP;
  if (!tcp && context.l4Type !== L4_UDP) return false;
  if (length < (tcp ? TCP_HEADER_MIN : UDP_HEADER_BYTES)) return false;
  const sum = addToSum(sumBytes(frame, start, length), pseudoLength);
  const at = start + (tcp ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT);
  storeChecksum(frame, at, sum, tcp ? PROTOCOL_TCP : PROTOCOL_UDP);
  return true;
}

/** TCP flag masks for the first, middle and last segment. */
export interface SegmentFlags {
  readonly first: number;
  readonly middle: number;
  readonly last: number;
}

/** Cuts one large packet into frames. */
export class Segmenter {
  length = 0;
  private headerBytes = 0;
  private payloadBytes = 0;
  private segmentBytes = 0;
  /** Frames that the packet makes. */
  segments = 0;

  private readonly capacity: number;
  private memory: Uint8Array | undefined;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** The whole packet, headers first; a driver that lets nothing be segmented needs no memory for it. */
  get packet(): Uint8Array {
    this.memory ??= new Uint8Array(this.capacity);
    return this.memory;
  }

  /** Takes the measure of the packet now in the buffer; false if it can't be segmented. */
  begin(context: OffloadContext, payloadLimit: number): boolean {
    const minimum = context.l4Type === L4_TCP ? TCP_HEADER_MIN : UDP_HEADER_BYTES;
    if (context.l4Type === L4_SCTP || context.l4Bytes < minimum) return false;
    if (context.ipBytes < (context.ipv4 ? IPV4_HEADER_MIN : IPV6_HEADER_BYTES)) return false;
    this.headerBytes = context.macBytes + context.ipBytes + context.l4Bytes;
    this.segmentBytes = context.segmentBytes;
    if (this.headerBytes >= this.length || this.segmentBytes === 0) return false;
    if (this.headerBytes + this.segmentBytes > FRAME_BYTES_MAX) return false;
    const payload = this.length - this.headerBytes;
    this.payloadBytes = payloadLimit === 0 ? payload : Math.min(payload, payloadLimit);
    this.segments = Math.ceil(this.payloadBytes / this.segmentBytes);
    return true;
  }

  /** Builds frame `index` of the packet, checksums included. */
  build(index: number, frame: FrameBuffer, context: OffloadContext, flags: SegmentFlags): boolean {
    const { headerBytes, packet } = this;
    const from = index * this.segmentBytes;
    const chunk = Math.min(this.segmentBytes, this.payloadBytes - from);
    for (let i = 0; i < headerBytes; i++) frame.bytes[i] = packet[i]!;
    const start = headerBytes + from;
    frame.bytes.set(packet.subarray(start, start + chunk), headerBytes);
    frame.length = headerBytes + chunk;

    const ip = context.macBytes;
    const l4 = ip + context.ipBytes;
    if (context.ipv4) {
      frame.setU16(ip + 2, context.ipBytes + context.l4Bytes + chunk);
      frame.setU16(ip + 4, (frame.u16(ip + 4) + index) & 0xffff);
      if (!insertIpChecksum(frame, context)) return false;
    } else {
      frame.setU16(ip + 4, context.ipBytes - IPV6_HEADER_BYTES + context.l4Bytes + chunk);
    }
    if (context.l4Type === L4_TCP) {
      addToSequence(frame, l4 + 4, from);
      const keep = this.flagsKept(index, flags);
      frame.setU16(l4 + 12, frame.u16(l4 + 12) & (0xf000 | keep));
    } else {
      frame.setU16(l4 + 4, UDP_HEADER_BYTES + chunk);
    }
    return insertL4Checksum(frame, context, context.l4Bytes + chunk);
  }

  private flagsKept(index: number, flags: SegmentFlags): number {
    if (this.segments === 1) return ALL_FLAGS;
    if (index === 0) return flags.first;
    return index === this.segments - 1 ? flags.last : flags.middle;
  }
}

/** The twelve bits beside TCP's data offset. */
const ALL_FLAGS = 0xfff;

/** Adds to a 32-bit big-endian number. */
function addToSequence(frame: FrameBuffer, at: number, value: number): void {
  const sum = frame.u16(at) * 0x1_0000 + frame.u16(at + 2) + value;
  frame.setU16(at, (sum / 0x1_0000) & 0xffff);
  frame.setU16(at + 2, sum & 0xffff);
}
