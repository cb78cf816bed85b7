/**
 * Frames as our stations build them: whole headers from the declared layouts once, and for a flow only the fields that
 * differ from datagram to datagram afterwards.
 */
import { invariant } from '../../base/errors.js';
import { BROADCAST_MAC } from './addresses.js';
import { storeChecksum, sumBytes, sumPseudoHeader } from './checksum.js';
import { ETHERTYPE_IPV4, type FrameBuffer, ParsedFrame, PROTOCOL_UDP } from './frame.js';
import {
  ARP_HARDWARE_ETHERNET,
  ARP_REQUEST,
  arpPacket,
  ETHERTYPE_ARP,
  ETHERTYPE_RARP,
  etherHeader,
  IP_AT,
  IPV4_DONT_FRAGMENT,
  IPV4_PLAIN,
  ipv4Header,
  L4_AT,
  PROTOCOL_ICMP,
  RARP_REQUEST,
  UDP_PAYLOAD_AT,
  udpHeader,
} from './protocols.js';

/** A station's addresses; `ip` as a number. */
export interface Station {
  readonly mac: Uint8Array;
  readonly ip: number;
}

const TIME_TO_LIVE = 64;

const viewOf = (frame: FrameBuffer): DataView => new DataView(frame.bytes.buffer);

/** Bytes of an ARP frame before padding. */
export const ARP_FRAME_BYTES = etherHeader.size + arpPacket.size;

interface ArpContent {
  readonly etherType?: number;
  readonly operation: number;
  /** Where the frame goes; `toMac` inside the packet may differ. */
  readonly target: Uint8Array;
  readonly from: Station;
  readonly toMac?: Uint8Array;
  readonly toIp: number;
}

/** Builds an ARP (or RARP) frame, padded to the least length. */
export function buildArp(frame: FrameBuffer, content: ArpContent): void {
  const { operation, target, from, toMac, toIp, etherType = ETHERTYPE_ARP } = content;
  const view = viewOf(frame);
  etherHeader.write(view, 0, { target, source: from.mac, etherType });
  arpPacket.write(view, etherHeader.size, {
    hardwareType: ARP_HARDWARE_ETHERNET,
    protocolType: ETHERTYPE_IPV4,
    hardwareBytes: 6,
    protocolBytes: 4,
    operation,
    senderMac: from.mac,
    senderIp: from.ip,
    ...(toMac === undefined ? {} : { targetMac: toMac }),
    targetIp: toIp,
  });
  frame.length = ARP_FRAME_BYTES;
  frame.pad();
}

/** "Who has `ip`?", to everybody. */
export function buildArpRequest(frame: FrameBuffer, from: Station, ip: number): void {
  buildArp(frame, { operation: ARP_REQUEST, target: BROADCAST_MAC, from, toIp: ip });
}

/** A gratuitous ARP request: tells everybody that `station` is where this frame comes from. RFC 5227, 2.3 */
export function buildGratuitousArp(frame: FrameBuffer, station: Station): void {
  buildArp(frame, { operation: ARP_REQUEST, target: BROADCAST_MAC, from: station, toIp: station.ip });
}

/** A RARP request with both hardware addresses its own: teaches switches a new place without an IP address. */
export function buildRarpAnnouncement(frame: FrameBuffer, mac: Uint8Array): void {
  buildArp(frame, {
    etherType: ETHERTYPE_RARP,
    operation: RARP_REQUEST,
    target: BROADCAST_MAC,
    from: { mac, ip: 0 },
    toMac: mac,
    toIp: 0,
  });
}

function buildIpv4(
  frame: FrameBuffer,
  from: Station,
  to: Station,
  protocol: number,
  payloadBytes: number,
): void {
  const view = viewOf(frame);
  const totalBytes = ipv4Header.size + payloadBytes;
  invariant(IP_AT + totalBytes <= frame.bytes.length, `a datagram of ${totalBytes} bytes`);
  etherHeader.write(view, 0, { target: to.mac, source: from.mac, etherType: ETHERTYPE_IPV4 });
  ipv4Header.write(view, IP_AT, {
    versionAndLength: IPV4_PLAIN,
    totalBytes,
    fragment: IPV4_DONT_FRAGMENT,
    timeToLive: TIME_TO_LIVE,
    protocol,
    source: from.ip,
    target: to.ip,
  });
  storeChecksum(frame, IP_AT + ipv4Header.offset.checksum, sumBytes(frame, IP_AT, ipv4Header.size), protocol);
  frame.length = IP_AT + totalBytes;
}

/** Headers of a UDP datagram with room for `payloadBytes`; `finishUdp` ends it once the payload is there. */
export function buildUdp(
  frame: FrameBuffer,
  from: Station & { readonly port: number },
  to: Station & { readonly port: number },
  payloadBytes: number,
): void {
  const lengthBytes = udpHeader.size + payloadBytes;
  buildIpv4(frame, from, to, PROTOCOL_UDP, lengthBytes);
  udpHeader.write(viewOf(frame), L4_AT, { sourcePort: from.port, targetPort: to.port, lengthBytes });
}

const plainUdp = new ParsedFrame();
plainUdp.ipVersion = 4;
plainUdp.ipOffset = IP_AT;
plainUdp.l4Protocol = PROTOCOL_UDP;

/** Computes the checksum of the datagram in `frame` and pads it to the least length. */
export function finishUdp(frame: FrameBuffer, payloadBytes: number): void {
  const lengthBytes = udpHeader.size + payloadBytes;
  frame.setU16(L4_AT + udpHeader.offset.checksum, 0);
  const sum = sumPseudoHeader(frame, plainUdp, lengthBytes) + sumBytes(frame, L4_AT, lengthBytes);
  storeChecksum(frame, L4_AT + udpHeader.offset.checksum, sum, PROTOCOL_UDP);
  frame.length = UDP_PAYLOAD_AT + payloadBytes;
  frame.pad();
}

/** Headers of an ICMP message of `messageBytes`; `finishIcmp` ends it. */
export function buildIcmp(frame: FrameBuffer, from: Station, to: Station, messageBytes: number): void {
  buildIpv4(frame, from, to, PROTOCOL_ICMP, messageBytes);
}

/** Computes the checksum of the ICMP message in `frame` and pads it to the least length. */
export function finishIcmp(frame: FrameBuffer, messageBytes: number): void {
  frame.setU16(L4_AT + 2, 0);
  storeChecksum(frame, L4_AT + 2, sumBytes(frame, L4_AT, messageBytes), PROTOCOL_ICMP);
  frame.length = L4_AT + messageBytes;
  frame.pad();
}
