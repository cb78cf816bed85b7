/**
 * Answers to requests of VF drivers: one function for each opcode, in the manner of Linux's ixgbe. A handler changes
 * what is known of the VF, programs the tables, fills in the answer's words, and says whether it granted the request.
 */
import { pfRegisters as reg } from '../pf-registers.js';
import { type FilterTables, isStationAddress, macFromWords, sameMac } from './filters.js';
import {
  API_1_0,
  API_1_3,
  API_VERSIONS,
  MULTICAST_HASHES_MAX,
  messageHeader,
  OP_API_NEGOTIATE,
  OP_FEATURES_NEGOTIATE,
  OP_GET_LINK_STATE,
  OP_GET_QUEUES,
  OP_GET_RETA,
  OP_GET_RSS_KEY,
  OP_SET_FRAME_SIZE,
  OP_SET_MAC,
  OP_SET_MACVLAN,
  OP_SET_MULTICAST,
  OP_SET_VLAN,
  OP_UPDATE_XCAST,
  XCAST_ALL_MULTICAST,
  XCAST_BROADCAST,
  XCAST_MULTICAST,
  XCAST_NONE,
  XCAST_PROMISCUOUS,
} from './messages.js';
import { mayJoinVlans, mayReceive, mayUseMac, mayUseMacvlans } from './policy.js';
import { change, offsetOf, poolBit, poolHalf, type RegisterPort } from './register-port.js';
import { mayAddMacvlan, mayAddVlan, type VfInfo } from './vf-info.js';

export interface RequestContext {
  readonly vf: number;
  readonly info: VfInfo;
  readonly port: RegisterPort;
  readonly filters: FilterTables;
  /** The message; the answer's words replace those behind word 0. */
  readonly words: Uint32Array;
  /** Frames above the standard size are enabled on the physical function itself. */
  readonly hostJumbo: boolean;
  /** Multicast hashes of some VF changed. */
  multicastChanged(): void;
}

/** Granted: the number of words of the answer, word 0 included. Refused: 0. */
export type Handler = (context: RequestContext) => number;

/** As Linux's driver of the physical function has them, FCS included; the least is the least MTU that there is. */
const FRAME_BYTES_MIN = 68;
export const STANDARD_FRAME_BYTES = 1518;
export const JUMBO_FRAME_BYTES = 9728;

const setMac: Handler = ({ vf, info, filters, words }) => {
  const mac = macFromWords(words[1]!, words[2]!);
  if (!isStationAddress(mac)) return 0;
  if (!mayUseMac(info.policy, mac)) return 0;
  if (info.mac !== undefined && sameMac(info.mac, mac)) return 3;
  if (!filters.addAddress(vf, mac)) return 0;
  if (info.mac !== undefined) filters.removeAddress(vf, info.mac);
  info.mac = mac;
  return 3;
};

const setMulticast: Handler = ({ vf, info, port, words, multicastChanged }) => {
  const count = messageHeader.INFO.get(words[0]!);
  if (count > MULTICAST_HASHES_MAX) return 0;
  info.hashes = Array.from({ length: count }, (_, i) => (words[1 + (i >>> 1)]! >>> ((i & 1) * 16)) & 0xfff);
  // Whatever it had asked for before: who names groups hears them.
  if (info.xcast === XCAST_BROADCAST || info.xcast === XCAST_NONE) info.xcast = XCAST_MULTICAST;
  applyXcast(port, vf, info.xcast);
  multicastChanged();
  return 1;
};

const setVlan: Handler = ({ vf, info, filters, words }) => {
  const add = messageHeader.INFO.get(words[0]!) !== 0;
  const vlan = words[1]! & 0xfff;
  if (!mayJoinVlans(info.policy)) return 0;
  if (add) {
    if (!info.vlans.has(vlan) && (!mayAddVlan(info) || !filters.addVlan(vf, vlan))) return 0;
    info.vlans.add(vlan);
  } else if (vlan !== 0) {
    // VLAN 0, priority tags, stays: every VF has it.
    info.vlans.delete(vlan);
    filters.removeVlan(vf, vlan);
  }
  return 2;
};

/** The hardware has one frame limit for all; a VF that the limit doesn't suit is kept from receiving. */
const setFrameSize: Handler = ({ vf, info, port, words, hostJumbo }) => {
  const bytes = words[1]!;
  if (bytes < FRAME_BYTES_MIN || bytes > JUMBO_FRAME_BYTES) return 0;
  const understandsJumbo = info.apiVersion !== API_1_0;
  const granted = hostJumbo ? understandsJumbo : bytes <= STANDARD_FRAME_BYTES;
  const bit = poolBit(vf, poolHalf(vf));
  const receives = granted && info.policy.linkEnabled;
  change(port, offsetOf(reg.VFRE, poolHalf(vf)), bit, receives ? bit : 0);
  if (!granted) return 0;
  info.frameBytesMax = bytes;
  const limit = reg.MAXFRS.fields.BYTES.get(port.read(reg.MAXFRS.offset));
  if (bytes > limit) port.write(reg.MAXFRS.offset, reg.MAXFRS.fields.BYTES.set(0, bytes));
  return 2;
};

const setMacvlan: Handler = ({ vf, info, filters, words }) => {
  const index = messageHeader.INFO.get(words[0]!);
  if (index > 0 && !mayUseMacvlans(info.policy)) return 0;
  if (index <= 1) {
    for (const mac of info.macvlans) filters.removeAddress(vf, mac);
    info.macvlans = [];
  }
  if (index === 0) return 3;
  const mac = macFromWords(words[1]!, words[2]!);
  if (!isStationAddress(mac) || !mayAddMacvlan(info)) return 0;
  if (info.macvlans.some((known) => sameMac(known, mac))) return 3;
  if (!filters.addAddress(vf, mac)) return 0;
  info.macvlans.push(mac);
  return 3;
};

const negotiate: Handler = ({ info, words }) => {
  const version = words[1]!;
  if (!API_VERSIONS.includes(version)) return 0;
  info.apiVersion = version;
  return 2;
};

const getQueues: Handler = ({ info, words }) => {
  words[1] = info.policy.queues;
  words[2] = info.policy.queues;
  words[3] = info.policy.portVlan === undefined ? 0 : 1;
  words[4] = 0;
  return 5;
};

/** The 128 entries of the redirection table, two bits each. */
const getRedirection: Handler = ({ info, port, words }) => {
  if (!info.policy.rssQuery) return 0;
  words.fill(0, 1, 9);
  for (let entry = 0; entry < reg.RETA.count * 4; entry++) {
    const queue = (port.read(offsetOf(reg.RETA, entry >>> 2)) >>> ((entry & 3) * 8)) & 3;
    words[1 + (entry >>> 4)]! |= queue << ((entry & 15) * 2);
  }
  return 9;
};

const getRssKey: Handler = ({ info, port, words }) => {
  if (!info.policy.rssQuery) return 0;
  for (let i = 0; i < reg.RSSRK.count; i++) words[1 + i] = port.read(offsetOf(reg.RSSRK, i));
  return 1 + reg.RSSRK.count;
};

const updateXcast: Handler = ({ vf, info, port, words }) => {
  let mode = words[1]!;
  if (mode > XCAST_PROMISCUOUS || (mode === XCAST_PROMISCUOUS && info.apiVersion < API_1_3)) return 0;
  // What an untrusted VF may not have it is given less of; promiscuous mode this device has for nobody.
  if (!mayReceive(info.policy, mode)) mode = XCAST_MULTICAST;
  if (mode === XCAST_PROMISCUOUS) return 0;
  info.xcast = mode;
  applyXcast(port, vf, mode);
  words[1] = mode;
  return 2;
};

const getLinkState: Handler = ({ info, words }) => {
  words[1] = info.policy.linkEnabled ? 1 : 0;
  return 2;
};

/** Of what Linux would grant, IPsec, this host has nothing. */
const negotiateFeatures: Handler = ({ words }) => {
  words[1] = 0;
  return 2;
};

/** Requests without an entry here (IPsec offload among them, which this host does not grant) are refused. */
export const handlers: Readonly<Record<number, Handler>> = {
  [OP_SET_MAC]: setMac,
  [OP_SET_MULTICAST]: setMulticast,
  [OP_SET_VLAN]: setVlan,
  [OP_SET_FRAME_SIZE]: setFrameSize,
  [OP_SET_MACVLAN]: setMacvlan,
  [OP_API_NEGOTIATE]: negotiate,
  [OP_GET_QUEUES]: getQueues,
  [OP_GET_RETA]: getRedirection,
  [OP_GET_RSS_KEY]: getRssKey,
  [OP_UPDATE_XCAST]: updateXcast,
  [OP_GET_LINK_STATE]: getLinkState,
  [OP_FEATURES_NEGOTIATE]: negotiateFeatures,
};

/** Those that change which frames a VF lets in. */
export const FILTER_REQUESTS: ReadonlySet<number> = new Set([
  OP_SET_MAC,
  OP_SET_MULTICAST,
  OP_SET_VLAN,
  OP_SET_MACVLAN,
  OP_UPDATE_XCAST,
]);

/** Sets the receive mode of a pool to what an xcast mode means. */
export function applyXcast(port: RegisterPort, pool: number, mode: number): void {
  const { BAM, ROMPE, MPE, UPE, VPE } = reg.VMOLR.fields;
  const all = BAM.mask | ROMPE.mask | MPE.mask | UPE.mask | VPE.mask;
  // Broadcasts are nobody's to refuse: without them a function in mode NONE could not even resolve an address.
  let set = BAM.mask;
  if (mode !== XCAST_NONE && mode !== XCAST_BROADCAST) set |= ROMPE.mask;
  if (mode === XCAST_ALL_MULTICAST || mode === XCAST_PROMISCUOUS) set |= MPE.mask;
  changeReceiveMode(port, pool, all, set);
}

/** Clears, then sets, bits of a pool's VMOLR. */
export function changeReceiveMode(port: RegisterPort, pool: number, clear: number, set: number): void {
  change(port, offsetOf(reg.VMOLR, pool), clear, set);
}
