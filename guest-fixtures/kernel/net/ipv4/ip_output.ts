// IPv4 out, without options: to hosts on the same link or beyond the gateway, in fragments if need be.
import { csum_fold, csum_partial } from '../../lib/checksum';
import { put_be16 } from '../../lib/byteorder';
import { NetDevice } from '../core/dev';
import { SkBuff, alloc_skb, kfree_skb, skb_push, skb_put } from '../skbuff';
import { neigh_output } from './arp';
import { InDevice, in_dev_get, inet_nexthop } from './devinet';
import {
  IPDEFTTL,
  IP_CHECK,
  IP_DADDR,
  IP_DF,
  IP_FRAG_OFF,
  IP_HLEN,
  IP_ID,
  IP_LEN_MAX,
  IP_MF,
  IP_PROTOCOL,
  IP_SADDR,
  IP_TOT_LEN,
  IP_TTL,
} from './ip';
import { SNMP_INC, SnmpMib } from './snmp';

/** Identification of the last datagram that was sent in fragments. */
const ip_ident = memory.data(4, 4);

/** Puts the header in front of `skb`. `frag_off`: flags and offset. */
function ip_build_header(skb: SkBuff, in_dev: InDevice, daddr: u32, protocol: u32, id: u32, frag_off: u32): void {
  const at = skb_push(skb, IP_HLEN);
  skb.network_header = at;
  store<u16>(at, 0x0045);
  put_be16(skb.len, at + IP_TOT_LEN);
  put_be16(id, at + IP_ID);
  put_be16(frag_off, at + IP_FRAG_OFF);
  store<u8>(at + IP_TTL, <u8>IPDEFTTL);
  store<u8>(at + IP_PROTOCOL, <u8>protocol);
  store<u16>(at + IP_CHECK, 0);
  store<u32>(at + IP_SADDR, in_dev.ifa_local);
  store<u32>(at + IP_DADDR, daddr);
  store<u16>(at + IP_CHECK, csum_fold(csum_partial(at, IP_HLEN, 0)));
}

function ip_finish_output(skb: SkBuff, dev: NetDevice, in_dev: InDevice, daddr: u32): bool {
  const sent = neigh_output(skb, dev, in_dev, inet_nexthop(in_dev, daddr));
  if (!sent) SNMP_INC(offsetof<SnmpMib>('IpOutDiscards'));
  return sent;
}

/** Sends what is longer than the device's MTU in pieces; false if one of them was dropped. */
function ip_fragment(skb: SkBuff, dev: NetDevice, in_dev: InDevice, daddr: u32, protocol: u32): bool {
  const id = (atomic.add<u32>(ip_ident, 1) + 1) & 0xffff;
  const most = (dev.mtu - IP_HLEN) & ~7;
  let sent = true;
  for (let offset: u32 = 0; offset < skb.len && sent; offset += most) {
    const bytes = min<u32>(most, skb.len - offset);
    const piece = alloc_skb();
    memory.copy(skb_put(piece, bytes), skb.data + offset, bytes);
    ip_build_header(piece, in_dev, daddr, protocol, id, (offset >> 3) | (offset + bytes < skb.len ? IP_MF : 0));
    SNMP_INC(offsetof<SnmpMib>('IpFragCreates'));
    sent = ip_finish_output(piece, dev, in_dev, daddr);
  }
  kfree_skb(skb);
  SNMP_INC(sent ? offsetof<SnmpMib>('IpFragOKs') : offsetof<SnmpMib>('IpFragFails'));
  return sent;
}

/** Whether a packet of `bytes` bytes behind the IP header goes out in pieces. */
// @ts-ignore: decorator
@inline export function ip_needs_fragments(dev: NetDevice, bytes: u32): bool { return bytes > dev.mtu - IP_HLEN; }

/**
 * Sends `skb`, which starts at its transport header, from `dev`; false if it was dropped, or there is no way. The
 * device can't fill in the checksum of what goes out in pieces.
 */
export function ip_output(skb: SkBuff, dev: NetDevice, daddr: u32, protocol: u32): bool {
  const in_dev = in_dev_get(dev);
  const nexthop = in_dev === null ? 0 : inet_nexthop(in_dev, daddr);
  if (in_dev === null || in_dev.arp_table == 0 || nexthop == 0 || skb.len + IP_HLEN > IP_LEN_MAX) {
    SNMP_INC(offsetof<SnmpMib>('IpOutNoRoutes'));
    kfree_skb(skb);
    return false;
  }
  if (ip_needs_fragments(dev, skb.len)) return ip_fragment(skb, dev, in_dev, daddr, protocol);
  // Never fragmented on its way, so any id will do (RFC 6864).
  ip_build_header(skb, in_dev, daddr, protocol, 0, IP_DF);
  return ip_finish_output(skb, dev, in_dev, daddr);
}
