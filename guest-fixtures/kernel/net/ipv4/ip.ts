// IPv4 without options of our own, fragments or forwarding: hosts on the same link.
import { csum_fold, csum_partial } from '../../lib/checksum';
import { get_be16, put_be16 } from '../../lib/byteorder';
import { NetDevice, PacketType, dev_add_pack } from '../core/dev';
import { ETHERTYPE_IP } from '../ethernet/eth';
import { SkBuff, kfree_skb, skb_pull, skb_push } from '../skbuff';
import { neigh_output } from './arp';
import { ifa_broadcast, in_dev_get, inet_onlink } from './devinet';
import { inet_protocol } from './protocol';
import { SNMP_INC, SnmpMib } from './snmp';

export const IP_HLEN: u32 = 20;
const IPDEFTTL: u32 = 64;
const IP_DF: u32 = 0x4000;
/** More fragments, or an offset. */
const IP_FRAGMENT: u32 = 0x3fff;

export const IP_TOT_LEN: u32 = 2;
const IP_ID: u32 = 4;
const IP_FRAG_OFF: u32 = 6;
const IP_TTL: u32 = 8;
export const IP_PROTOCOL: u32 = 9;
const IP_CHECK: u32 = 10;
export const IP_SADDR: u32 = 12;
export const IP_DADDR: u32 = 16;

const ip_packet_type = changetype<PacketType>(memory.data(16, 16));

function drop(skb: SkBuff, counter: usize): void {
  SNMP_INC(counter);
  kfree_skb(skb);
}

/** A packet from a device. What the headers claim is checked before it is used. */
function ip_rcv(skb: SkBuff, dev: NetDevice): void {
  SNMP_INC(offsetof<SnmpMib>('IpInReceives'));
  const at = skb.data;
  if (skb.len < IP_HLEN || load<u8>(at) >> 4 != 4) return drop(skb, offsetof<SnmpMib>('IpInHdrErrors'));
  const header: u32 = (load<u8>(at) & 15) << 2;
  const total = get_be16(at + IP_TOT_LEN);
  if (header < IP_HLEN || total < header || total > skb.len || csum_fold(csum_partial(at, header, 0)) != 0) {
    return drop(skb, offsetof<SnmpMib>('IpInHdrErrors'));
  }
  // The device pads short frames.
  skb.len = total;
  const daddr = load<u32>(at + IP_DADDR);
  const in_dev = in_dev_get(dev);
  // An address of another interface of ours is none of this one's (the strong host of RFC 1122, 3.3.4.2).
  if (in_dev === null || (daddr != in_dev.ifa_local && daddr != ifa_broadcast(in_dev) && daddr != 0xffff_ffff)) {
    return drop(skb, offsetof<SnmpMib>('IpInAddrErrors'));
  }
  if (get_be16(at + IP_FRAG_OFF) & IP_FRAGMENT) return drop(skb, offsetof<SnmpMib>('IpInDiscards'));
  skb_pull(skb, header);
  skb.transport_header = skb.data;
  const handler = inet_protocol(load<u8>(at + IP_PROTOCOL)).handler;
  if (handler !== null) handler(skb, dev);
  else drop(skb, offsetof<SnmpMib>('IpInUnknownProtos'));
}

/** Sends `skb`, which starts at its transport header, from `dev` to a host on its link; false if it was dropped. */
export function ip_output(skb: SkBuff, dev: NetDevice, daddr: u32, protocol: u32): bool {
  const in_dev = in_dev_get(dev);
  if (in_dev === null || in_dev.arp_table == 0 || !inet_onlink(in_dev, daddr)) {
    drop(skb, offsetof<SnmpMib>('IpOutNoRoutes'));
    return false;
  }
  const at = skb_push(skb, IP_HLEN);
  skb.network_header = at;
  store<u16>(at, 0x0045);
  put_be16(skb.len, at + IP_TOT_LEN);
  // Never fragmented, so any id will do (RFC 6864).
  store<u16>(at + IP_ID, 0);
  put_be16(IP_DF, at + IP_FRAG_OFF);
  store<u8>(at + IP_TTL, <u8>IPDEFTTL);
  store<u8>(at + IP_PROTOCOL, <u8>protocol);
  store<u16>(at + IP_CHECK, 0);
  store<u32>(at + IP_SADDR, in_dev.ifa_local);
  store<u32>(at + IP_DADDR, daddr);
  store<u16>(at + IP_CHECK, csum_fold(csum_partial(at, IP_HLEN, 0)));
  const sent = neigh_output(skb, dev, in_dev, daddr);
  if (!sent) SNMP_INC(offsetof<SnmpMib>('IpOutDiscards'));
  return sent;
}

/** Boot CPU, once. */
export function ip_init(): void {
  dev_add_pack(ip_packet_type, ETHERTYPE_IP, ip_rcv);
}
