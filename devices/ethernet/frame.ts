/**
 * A frame in a device's own memory, and what a NIC's parser finds in it. Frames are without FCS, as on the host side of
 * a MAC. Buffers and parse results are made once and reused: nothing is allocated per packet.
 */

import { copyBytes } from '../../base/copy.js';

/** Largest frame that the packet buffer takes: 9.5 KiB jumbo frames plus tags, rounded up (82599: 15.5 KiB). */
export const FRAME_BYTES_MAX = 15872;
/** Shortest Ethernet frame without FCS; shorter ones are padded with zeros on the way out. */
export const FRAME_BYTES_MIN = 60;
/** Octet counters count the FCS that these frames don't carry. */
export const FCS_BYTES = 4;

export const ETHER_HEADER_BYTES = 14;
export const VLAN_TAG_BYTES = 4;
export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_IPV6 = 0x86dd;
export const ETHERTYPE_VLAN = 0x8100;
export const VLAN_ID_MASK = 0xfff;

export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_SCTP = 132;

/** What a frame looks like to whoever it is handed to. Valid during the call only; byte 0 is the first of the MAC. */
export interface FrameView {
  readonly bytes: Uint8Array;
  readonly length: number;
}

export class FrameBuffer implements FrameView {
  readonly bytes: Uint8Array;
  /** The same memory in words of 16 and 32 bits, for checksums. */
  readonly words: Uint16Array;
  readonly dwords: Int32Array;
  length = 0;

  constructor(capacity: number = FRAME_BYTES_MAX + VLAN_TAG_BYTES) {
    this.bytes = new Uint8Array((capacity + 3) & ~3);
    this.words = new Uint16Array(this.bytes.buffer);
    this.dwords = new Int32Array(this.bytes.buffer);
  }

  /** Copies the frame of `length` bytes at `bytes[at]`, which must fit. */
  load(bytes: Uint8Array, at: number, length: number): void {
    this.length = length;
    copyBytes(this.bytes, 0, bytes, at, length);
  }

  /** Pads to the shortest legal frame. */
  pad(): void {
    while (this.length < FRAME_BYTES_MIN) this.bytes[this.length++] = 0;
  }

  /** Big-endian 16-bit value at `at`. */
  u16(at: number): number {
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!;
  }

  u32LittleEndian(at: number): number {
    const { bytes } = this;
    return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
  }

  setU16(at: number, value: number): void {
    this.bytes[at] = value >>> 8;
    this.bytes[at + 1] = value;
  }

  /** Inserts an 802.1Q tag behind the addresses. */
  insertVlan(tag: number): void {
    this.bytes.copyWithin(12 + VLAN_TAG_BYTES, 12, this.length);
    this.setU16(12, ETHERTYPE_VLAN);
    this.setU16(14, tag);
    this.length += VLAN_TAG_BYTES;
  }

  /** Removes the tag behind the addresses. */
  removeVlan(): void {
    this.bytes.copyWithin(12, 12 + VLAN_TAG_BYTES, this.length);
    this.length -= VLAN_TAG_BYTES;
  }
}

/** What the receive parser recognised; offsets are into the frame it parsed. */
export class ParsedFrame {
  /** The 802.1Q tag, or -1. */
  vlanTag = -1;
  /** 4, 6, or 0 for neither. */
  ipVersion = 0;
  ipOffset = 0;
  ipHeaderBytes = 0;
  /** IPv4 options or IPv6 extension headers are present. */
  ipExtended = false;
  /** A fragment: its payload is not looked at. */
  fragment = false;
  /** PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_SCTP, or 0 when not recognised. */
  l4Protocol = 0;
  l4Offset = 0;
  /** End of the IP datagram in the frame; what follows is padding. */
  ipEnd = 0;
  /** End of the recognised headers, where a header split cuts. */
  headerEnd = 0;

  /** Parses `frame`. Never reads beyond its length; anything odd ends the recognition, as in hardware. */
  parse(frame: FrameBuffer): void {
    this.vlanTag = -1;
    this.ipVersion = 0;
    this.ipExtended = false;
    this.fragment = false;
    this.l4Protocol = 0;
    this.headerEnd = ETHER_HEADER_BYTES;
    if (frame.length < ETHER_HEADER_BYTES) return;
    let etherType = frame.u16(12);
    let at = ETHER_HEADER_BYTES;
    if (etherType === ETHERTYPE_VLAN && frame.length >= ETHER_HEADER_BYTES + VLAN_TAG_BYTES) {
      this.vlanTag = frame.u16(14);
      etherType = frame.u16(16);
      at += VLAN_TAG_BYTES;
      this.headerEnd = at;
    }
    if (etherType === ETHERTYPE_IPV4) this.parseIpv4(frame, at);
    else if (etherType === ETHERTYPE_IPV6) this.parseIpv6(frame, at);
  }

  private parseIpv4(frame: FrameBuffer, at: number): void {
    const { bytes, length } = frame;
    if (at + 20 > length || bytes[at]! >>> 4 !== 4) return;
    const headerBytes = (bytes[at]! & 0xf) * 4;
    const end = at + frame.u16(at + 2);
    if (headerBytes < 20 || at + headerBytes > length || end > length || end < at + headerBytes) return;
    this.ipVersion = 4;
    this.ipOffset = at;
    this.ipHeaderBytes = headerBytes;
    this.ipExtended = headerBytes > 20;
    this.ipEnd = end;
    this.headerEnd = at + headerBytes;
    // More-fragments flag or a fragment offset.
    this.fragment = (frame.u16(at + 6) & 0x3fff) !== 0;
    if (!this.fragment) this.parseL4(frame, bytes[at + 9]!, at + headerBytes);
  }

  private parseIpv6(frame: FrameBuffer, at: number): void {
    const { bytes, length } = frame;
    if (at + 40 > length || bytes[at]! >>> 4 !== 6) return;
    const end = at + 40 + frame.u16(at + 4);
    if (end > length) return;
    this.ipVersion = 6;
    this.ipOffset = at;
    this.ipEnd = end;
    let next = bytes[at + 6]!;
    let header = at + 40;
    // Hop-by-hop, routing, destination options: each tells its length in 8-byte units. The bound is the frame.
    while (next === 0 || next === 43 || next === 60) {
      if (header + 8 > end) break;
      this.ipExtended = true;
      next = bytes[header]!;
      header += 8 + bytes[header + 1]! * 8;
    }
    if (header > end) header = at + 40;
    this.fragment = next === 44;
    this.ipHeaderBytes = header - at;
    this.headerEnd = header;
    if (!this.fragment) this.parseL4(frame, next, header);
  }

  private parseL4(frame: FrameBuffer, protocol: number, at: number): void {
    const { bytes } = frame;
    this.l4Offset = at;
    if (protocol === PROTOCOL_TCP) {
      if (at + 20 > this.ipEnd) return;
      const headerBytes = (bytes[at + 12]! >>> 4) * 4;
      if (headerBytes < 20 || at + headerBytes > this.ipEnd) return;
      this.headerEnd = at + headerBytes;
    } else if (protocol === PROTOCOL_UDP) {
      if (at + 8 > this.ipEnd) return;
      this.headerEnd = at + 8;
    } else if (protocol === PROTOCOL_SCTP) {
      if (at + 12 > this.ipEnd) return;
      this.headerEnd = at + 12;
    } else {
      return;
    }
    this.l4Protocol = protocol;
  }
}
