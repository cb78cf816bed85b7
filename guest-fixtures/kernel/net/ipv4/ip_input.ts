// IPv4 in: what the headers claim is checked before it is used, then the packet goes to its protocol.
import { csum_fold, csum_partial } from '../../lib/checksum';
import { get_be16 } from '../../lib/byteorder';
import { NetDevice, PacketType, dev_add_pack } from '../core/dev';
import { ETHERTYPE_IP } from '../ethernet/eth';
import { PACKET_BROADCAST, PACKET_HOST, SkBuff, kfree_skb, skb_pull } from '../skbuff';
import { InDevice, ifa_broadcast, in_dev_get, inet_onlink } from './devinet';
import {
  INADDR_BROADCAST,
  IP_DADDR,
  IP_FRAG_OFF,
  IP_HLEN,
  IP_MF,
  IP_OFFSET,
  IP_PROTOCOL,
  IP_SADDR,
  IP_TOT_LEN,
  ipv4_is_no_host,
} from './ip';
import { ip_defrag } from './ip_fragment';
import { inet_protocol } from './protocol';
import { SNMP_INC, SnmpMib } from './snmp';

const ip_packet_type = changetype<PacketType>(memory.data(16, 16));

function drop(skb: SkBuff, counter: usize): void {
  SNMP_INC(counter);
  kfree_skb(skb);
}

/**
 * Whether no other host can have sent from `saddr`: an address of no host, our own, or one that the link gives to none
 * (RFC 1122, 3.2.1.3).
 */
function ip_martian_source(in_dev: InDevice, saddr: u32): bool {
  if (ipv4_is_no_host(saddr) || saddr == in_dev.ifa_local) return true;
  if (!inet_onlink(in_dev, saddr)) return false;
  const host = saddr & ~in_dev.ifa_mask;
  return host == 0 || host == ~in_dev.ifa_mask;
}

/** A whole packet to its protocol. */
function ip_local_deliver(skb: SkBuff, dev: NetDevice): void {
  const handler = inet_protocol(load<u8>(skb.network_header + IP_PROTOCOL)).handler;
  if (handler !== null) handler(skb, dev);
  else drop(skb, offsetof<SnmpMib>('IpInUnknownProtos'));
}

/** A packet from a device. */
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
  if (in_dev === null) return drop(skb, offsetof<SnmpMib>('IpInAddrErrors'));
  // An address of another interface of ours is none of this one's (the strong host of RFC 1122, 3.3.4.2).
  if (daddr != in_dev.ifa_local && daddr != ifa_broadcast(in_dev) && daddr != INADDR_BROADCAST) {
    return drop(skb, offsetof<SnmpMib>('IpInAddrErrors'));
  }
  if (ip_martian_source(in_dev, load<u32>(at + IP_SADDR))) return drop(skb, offsetof<SnmpMib>('IpInMartianSrc'));
  // To one host, in a frame to all (RFC 1122, 3.3.6).
  if (daddr == in_dev.ifa_local && skb.pkt_type != PACKET_HOST) return drop(skb, offsetof<SnmpMib>('IpInDiscards'));
  if (daddr != in_dev.ifa_local) skb.pkt_type = PACKET_BROADCAST;
  skb_pull(skb, header);
  skb.transport_header = skb.data;
  if ((get_be16(at + IP_FRAG_OFF) & (IP_MF | IP_OFFSET)) == 0) return ip_local_deliver(skb, dev);
  const whole = ip_defrag(skb, dev);
  if (whole !== null) ip_local_deliver(whole, dev);
}

/** Boot CPU, once. */
export function ip_init(): void {
  dev_add_pack(ip_packet_type, ETHERTYPE_IP, ip_rcv);
}
