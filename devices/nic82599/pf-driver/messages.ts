/**
 * Messages of the mailbox between a VF's driver and the physical function's: what Linux's ixgbe and ixgbevf say to each
 * other, API versions 1.0 to 1.7. Word 0 holds opcode, information and the answer's flags.
 */
import { bits } from '../../../base/bits.js';

export const messageHeader = /* @__PURE__ */ bits({
  OPCODE: [0, 16],
  INFO: [16, 8],
  CTS: [29, 1],
  NACK: [30, 1],
  ACK: [31, 1],
});

export const MESSAGE_CTS = messageHeader.CTS.mask;
export const MESSAGE_NACK = messageHeader.NACK.mask;
export const MESSAGE_ACK = messageHeader.ACK.mask;

export const OP_RESET = 0x01;
export const OP_SET_MAC = 0x02;
export const OP_SET_MULTICAST = 0x03;
export const OP_SET_VLAN = 0x04;
export const OP_SET_FRAME_SIZE = 0x05;
export const OP_SET_MACVLAN = 0x06;
export const OP_API_NEGOTIATE = 0x08;
export const OP_GET_QUEUES = 0x09;
export const OP_GET_RETA = 0x0a;
export const OP_GET_RSS_KEY = 0x0b;
export const OP_UPDATE_XCAST = 0x0c;
export const OP_IPSEC_ADD = 0x0d;
export const OP_IPSEC_DELETE = 0x0e;
export const OP_GET_LINK_STATE = 0x10;
/** Of another part (E610): what the link of the physical function is. */
export const OP_GET_PF_LINK_STATE = 0x11;
export const OP_FEATURES_NEGOTIATE = 0x12;
/** From the physical function: a ping that tells of a change. */
export const OP_CONTROL = 0x100;

/** API versions as they are numbered on the wire: in order of appearance. */
export const API_1_0 = 0;
export const API_2_0 = 1;
export const API_1_1 = 2;
export const API_1_2 = 3;
export const API_1_3 = 4;
export const API_1_4 = 5;
/** For the part's other drivers: Linux's physical function does not take it. */
export const API_1_5 = 6;
export const API_1_6 = 7;
export const API_1_7 = 8;

/** What Linux's driver of the physical function agrees to. */
export const API_VERSIONS: readonly number[] = [
  API_1_0,
  API_1_1,
  API_1_2,
  API_1_3,
  API_1_4,
  API_1_6,
  API_1_7,
];

export const XCAST_NONE = 0;
export const XCAST_MULTICAST = 1;
export const XCAST_ALL_MULTICAST = 2;
export const XCAST_PROMISCUOUS = 3;
/** What RESET leaves until the VF asks for anything; no mode that it can ask for. */
export const XCAST_BROADCAST = 4;

/** Hashes that a SET_MULTICAST message can hold. */
export const MULTICAST_HASHES_MAX = 30;

/** The oldest version in which each opcode is understood. */
export const opcodeSince: Readonly<Record<number, number>> = {
  [OP_RESET]: API_1_0,
  [OP_SET_MAC]: API_1_0,
  [OP_SET_MULTICAST]: API_1_0,
  [OP_SET_VLAN]: API_1_0,
  [OP_SET_FRAME_SIZE]: API_1_0,
  [OP_SET_MACVLAN]: API_1_0,
  [OP_API_NEGOTIATE]: API_1_0,
  [OP_GET_QUEUES]: API_1_1,
  [OP_GET_RETA]: API_1_2,
  [OP_GET_RSS_KEY]: API_1_2,
  [OP_UPDATE_XCAST]: API_1_2,
  [OP_IPSEC_ADD]: API_1_4,
  [OP_IPSEC_DELETE]: API_1_4,
  [OP_GET_LINK_STATE]: API_1_2,
  [OP_GET_PF_LINK_STATE]: API_1_6,
  [OP_FEATURES_NEGOTIATE]: API_1_7,
};
