/**
 * Headers of the protocols that the network's own stations speak, each declared once. Everything is in network byte
 * order. Hot paths use the offsets; what a frame holds is judged before a header is read.
 */
import { bytes, layout, u8, u16be, u32be } from '../../base/layout.js';
import { ETHER_HEADER_BYTES } from './frame.js';

/** IEEE 802.3-2018, 3.1.1 */
export const etherHeader = layout(
  'Ethernet header',
  { target: bytes(6), source: bytes(6), etherType: u16be() },
  { size: ETHER_HEADER_BYTES },
);

/** RFC 826 for Ethernet and IPv4; RFC 903 (RARP) uses the same packet. */
export const arpPacket = layout('ARP packet', {
  hardwareType: u16be(),
  protocolType: u16be(),
  hardwareBytes: u8(),
  protocolBytes: u8(),
  operation: u16be(),
  senderMac: bytes(6),
  senderIp: u32be(),
  targetMac: bytes(6),
  targetIp: u32be(),
});

export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_RARP = 0x8035;
export const ARP_HARDWARE_ETHERNET = 1;
export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;
export const RARP_REQUEST = 3;

/** RFC 791, 3.1, without options. */
export const ipv4Header = layout('IPv4 header', {
  versionAndLength: u8(),
  service: u8(),
  totalBytes: u16be(),
  identification: u16be(),
  fragment: u16be(),
  timeToLive: u8(),
  protocol: u8(),
  checksum: u16be(),
  source: u32be(),
  target: u32be(),
});

/** Version 4, five words of header. */
export const IPV4_PLAIN = 0x45;
export const IPV4_DONT_FRAGMENT = 0x4000;
export const PROTOCOL_ICMP = 1;

/** RFC 792: echo and echo reply. Data follows. */
export const icmpEcho = layout('ICMP echo', {
  type: u8(),
  code: u8(),
  checksum: u16be(),
  identifier: u16be(),
  sequence: u16be(),
});

export const ICMP_ECHO_REPLY = 0;
export const ICMP_ECHO_REQUEST = 8;

/** RFC 768 */
export const udpHeader = layout('UDP header', {
  sourcePort: u16be(),
  targetPort: u16be(),
  lengthBytes: u16be(),
  checksum: u16be(),
});

/** Offsets of an untagged frame with a plain IPv4 header, as our stations build them. */
export const IP_AT = etherHeader.size;
export const L4_AT = IP_AT + ipv4Header.size;
export const UDP_PAYLOAD_AT = L4_AT + udpHeader.size;
