/**
 * Descriptors of 16 bytes, as four little-endian dwords. Field positions count from bit 0 of the first dword. 82599
 * datasheet, 7.1.6 (receive) and 7.2.3 (transmit).
 */
import { bits } from '../../base/bits.js';

export const DESCRIPTOR_DWORDS = 4;

/** Advanced receive descriptor as the driver writes it. */
export const rxRead = /* @__PURE__ */ bits({
  PACKET_LOW: [0, 32],
  PACKET_HIGH: [32, 32],
  HEADER_LOW: [64, 32],
  HEADER_HIGH: [96, 32],
});

/** Advanced receive descriptor as the device writes it back. */
export const rxWriteBack = /* @__PURE__ */ bits({
  RSS_TYPE: [0, 4],
  PACKET_TYPE: [4, 13],
  RSC_COUNT: [17, 4],
  HEADER_BYTES: [21, 10],
  SPLIT_HEADER: [31, 1],
  RSS_HASH: [32, 32],
  STATUS: [64, 20],
  ERROR: [84, 12],
  LENGTH: [96, 16],
  VLAN: [112, 16],
});

/** Bits of the write-back's third dword: status [19:0] and error [31:20]. */
export const RX_DD = 1 << 0;
export const RX_EOP = 1 << 1;
export const RX_VLAN = 1 << 3;
export const RX_UDP_CHECKED = 1 << 4;
export const RX_L4_CHECKED = 1 << 5;
export const RX_IP_CHECKED = 1 << 6;
export const RX_UDP_VALID = 1 << 10;
export const RX_LOOPBACK = 1 << 18;
export const RX_L4_ERROR = 1 << 30;
export const RX_IP_ERROR = (1 << 31) >>> 0;

/** Packet types, as they stand in the first dword. */
export const TYPE_IPV4 = 0x10;
export const TYPE_IPV4_OPTIONS = 0x20;
export const TYPE_IPV6 = 0x40;
export const TYPE_IPV6_EXTENDED = 0x80;
export const TYPE_TCP = 0x100;
export const TYPE_UDP = 0x200;
export const TYPE_SCTP = 0x400;

export const RSS_NONE = 0;
export const RSS_IPV4_TCP = 1;
export const RSS_IPV4 = 2;
export const RSS_IPV6_TCP = 3;
export const RSS_IPV6 = 5;
export const RSS_IPV4_UDP = 7;
export const RSS_IPV6_UDP = 8;

/** Legacy receive descriptor, written back. */
export const rxLegacy = /* @__PURE__ */ bits({
  LENGTH: [64, 16],
  CHECKSUM: [80, 16],
  STATUS: [96, 8],
  ERROR: [104, 8],
  VLAN: [112, 16],
});

/** Advanced transmit data descriptor. */
export const txData = /* @__PURE__ */ bits({
  ADDRESS_LOW: [0, 32],
  ADDRESS_HIGH: [32, 32],
  LENGTH: [64, 16],
  TYPE: [84, 4],
  EOP: [88, 1],
  INSERT_FCS: [89, 1],
  REPORT_STATUS: [91, 1],
  EXTENDED: [93, 1],
  INSERT_VLAN: [94, 1],
  SEGMENT: [95, 1],
  DONE: [96, 1],
  CONTEXT_INDEX: [100, 3],
  USE_CONTEXT: [103, 1],
  IP_CHECKSUM: [104, 1],
  L4_CHECKSUM: [105, 1],
  IPSEC: [106, 1],
  PAYLOAD: [110, 18],
});

export const TX_TYPE_CONTEXT = 2;
export const TX_TYPE_DATA = 3;

/** Transmit context descriptor: what later packets of the queue are to be offloaded with. */
export const txContext = /* @__PURE__ */ bits({
  IP_BYTES: [0, 9],
  MAC_BYTES: [9, 7],
  VLAN: [16, 16],
  SA_INDEX: [32, 10],
  IPV4: [74, 1],
  L4_TYPE: [75, 2],
  ESP: [77, 1],
  INDEX: [100, 3],
  L4_BYTES: [104, 8],
  SEGMENT_BYTES: [112, 16],
});

export const L4_UDP = 0;
export const L4_TCP = 1;
export const L4_SCTP = 2;

/** Legacy transmit descriptor. */
export const txLegacy = /* @__PURE__ */ bits({
  LENGTH: [64, 16],
  CHECKSUM_OFFSET: [80, 8],
  INSERT_CHECKSUM: [90, 1],
  CHECKSUM_START: [104, 8],
  VLAN: [112, 16],
});
