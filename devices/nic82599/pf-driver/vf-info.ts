/** What the physical function's driver knows of one virtual function, and the form in which that travels. */
import { bits } from '../../../base/bits.js';
import { bytes, layout, u8, u16 } from '../../../base/layout.js';
import { isMulticast, type MacAddress } from './filters.js';
import { API_1_0, API_VERSIONS, MULTICAST_HASHES_MAX, XCAST_BROADCAST } from './messages.js';
import type { VfPolicy } from './policy.js';

export const MAILBOX_WORDS = 16;
const VLANS_MAX = 64;
const MACVLANS_MAX = 64;
const MAC_BYTES = 6;
const VLAN_ID_MAX = 4095;

export interface VfInfo {
  policy: VfPolicy;
  mac: MacAddress | undefined;
  macvlans: MacAddress[];
  readonly vlans: Set<number>;
  hashes: number[];
  apiVersion: number;
  clearToSend: boolean;
  xcast: number;
  /** Largest frame it asked for, FCS included; 0 if it hasn't. */
  frameBytesMax: number;
  /** An answer that waits for the VF to let go of the mailbox. */
  pendingReply: Uint32Array | undefined;
  /** An answer that the VF has not acknowledged lies in the mailbox. */
  unread: boolean;
  /** It is to be told that something has changed. */
  pingWaits: boolean;
  /** Whether it has a link, as far as it was told: by a ping that is in its mailbox, not by one that waits. */
  knownLink: boolean;
}

export const newVfInfo = (policy: VfPolicy): VfInfo => ({
  policy,
  mac: policy.mac,
  macvlans: [],
  vlans: new Set(),
  hashes: [],
  apiVersion: API_1_0,
  clearToSend: false,
  xcast: XCAST_BROADCAST,
  frameBytesMax: 0,
  pendingReply: undefined,
  unread: false,
  pingWaits: false,
  knownLink: true,
});

const recordLayout = /* @__PURE__ */ layout('vf_info', {
  apiVersion: u8(),
  clearToSend: u8(),
  xcast: u8(),
  hasMac: u8(),
  macvlanCount: u8(),
  vlanCount: u8(),
  hashCount: u8(),
  replyWords: u8(),
  frameBytesMax: u16(),
  mac: bytes(MAC_BYTES),
  macvlans: bytes(MACVLANS_MAX * MAC_BYTES),
  vlans: bytes(VLANS_MAX * 2),
  hashes: bytes(MULTICAST_HASHES_MAX * 2),
  reply: bytes(MAILBOX_WORDS * 4),
  /** 1: it was told, or could see, that it has a link and may use it. */
  knownLink: u8(),
  mailbox: u8(),
  reserved: u16(),
});

/** What of a conversation goes on elsewhere. Zero, as records had here once, is a mailbox that owes nothing. */
const mailboxFlags = /* @__PURE__ */ bits({ UNREAD: [0, 1], PING_WAITS: [1, 1], RESERVED: [2, 6] });

const packMacs = (macs: readonly MacAddress[]): Uint8Array => Uint8Array.from(macs.flat());
const pack16 = (values: readonly number[]): Uint8Array =>
  Uint8Array.from(values.flatMap((value) => [value & 0xff, value >>> 8]));
const unpack16 = (data: Uint8Array, count: number): number[] =>
  Array.from({ length: count }, (_, i) => data[i * 2]! | (data[i * 2 + 1]! << 8));
const unpackMac = (data: Uint8Array, at: number): MacAddress => [
  data[at]!,
  data[at + 1]!,
  data[at + 2]!,
  data[at + 3]!,
  data[at + 4]!,
  data[at + 5]!,
];

export function encodeVfInfo(info: VfInfo): Uint8Array {
  const vlans = [...info.vlans].sort((a, b) => a - b);
  const reply = new Uint8Array(MAILBOX_WORDS * 4);
  const view = new DataView(reply.buffer);
  info.pendingReply?.forEach((word, i) => {
    view.setUint32(i * 4, word, true);
  });
  return recordLayout.encode({
    apiVersion: info.apiVersion,
    clearToSend: info.clearToSend ? 1 : 0,
    xcast: info.xcast,
    hasMac: info.mac === undefined ? 0 : 1,
    macvlanCount: info.macvlans.length,
    vlanCount: vlans.length,
    hashCount: info.hashes.length,
    replyWords: info.pendingReply?.length ?? 0,
    frameBytesMax: info.frameBytesMax,
    mac: Uint8Array.from(info.mac ?? []),
    macvlans: packMacs(info.macvlans),
    vlans: pack16(vlans),
    hashes: pack16(info.hashes),
    reply,
    knownLink: info.knownLink ? 1 : 0,
    mailbox: mailboxFlags.UNREAD.set(
      mailboxFlags.PING_WAITS.set(0, info.pingWaits ? 1 : 0),
      info.unread ? 1 : 0,
    ),
  });
}

/** Decodes what a peer sent, for a VF under `policy`; a string says what is wrong. */
export function decodeVfInfo(data: Uint8Array, policy: VfPolicy): VfInfo | string {
  if (data.length !== recordLayout.size) return `${data.length} bytes where ${recordLayout.size} belong`;
  const r = recordLayout.read(new DataView(data.buffer, data.byteOffset, data.byteLength), 0);
  if (!API_VERSIONS.includes(r.apiVersion)) return `API version ${r.apiVersion}`;
  if (r.xcast > XCAST_BROADCAST) return `receive mode ${r.xcast}`;
  if (r.clearToSend > 1 || r.hasMac > 1 || r.knownLink > 1) return 'a flag that is neither 0 nor 1';
  if (mailboxFlags.RESERVED.get(r.mailbox) !== 0) return `mailbox flags 0x${r.mailbox.toString(16)}`;
  if (r.macvlanCount > MACVLANS_MAX) return `${r.macvlanCount} additional addresses`;
  if (r.vlanCount > VLANS_MAX) return `${r.vlanCount} VLANs`;
  if (r.hashCount > MULTICAST_HASHES_MAX) return `${r.hashCount} multicast hashes`;
  if (r.replyWords > MAILBOX_WORDS) return `an answer of ${r.replyWords} words`;
  const mac = r.hasMac === 1 ? unpackMac(r.mac, 0) : undefined;
  if (mac !== undefined && isMulticast(mac)) return 'a multicast address as its own';
  const vlans = unpack16(r.vlans, r.vlanCount);
  if (vlans.some((vlan) => vlan > VLAN_ID_MAX)) return 'a VLAN id above 4095';
  const hashes = unpack16(r.hashes, r.hashCount);
  if (hashes.some((hash) => hash > 0xfff)) return 'a multicast hash of more than 12 bits';
  const reply = new DataView(r.reply.buffer, r.reply.byteOffset, r.reply.byteLength);
  return {
    policy,
    mac,
    macvlans: Array.from({ length: r.macvlanCount }, (_, i) => unpackMac(r.macvlans, i * MAC_BYTES)),
    vlans: new Set(vlans),
    hashes,
    apiVersion: r.apiVersion,
    clearToSend: r.clearToSend === 1,
    xcast: r.xcast,
    frameBytesMax: r.frameBytesMax,
    unread: mailboxFlags.UNREAD.get(r.mailbox) === 1,
    pingWaits: mailboxFlags.PING_WAITS.get(r.mailbox) === 1,
    knownLink: r.knownLink === 1,
    pendingReply:
      r.replyWords === 0
        ? undefined
        : Uint32Array.from({ length: r.replyWords }, (_, i) => reply.getUint32(i * 4, true)),
  };
}

/** Room for what a guest may ask of the driver. */
export const mayAddMacvlan = (info: VfInfo): boolean => info.macvlans.length < MACVLANS_MAX;
export const mayAddVlan = (info: VfInfo): boolean => info.vlans.size < VLANS_MAX;
