// Ethernet II framing.
import { get_be16, put_be16 } from '../../lib/byteorder';
import { NetDevice } from '../core/dev';
import {
  PACKET_BROADCAST,
  PACKET_HOST,
  PACKET_MULTICAST,
  PACKET_OTHERHOST,
  SkBuff,
  skb_pull,
  skb_push,
} from '../skbuff';

export const ETH_ALEN: u32 = 6;
export const ETH_HLEN: u32 = 14;
export const ETHERTYPE_IP: u32 = 0x0800;
export const ETHERTYPE_ARP: u32 = 0x0806;

const broadcast = memory.data<u8>([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);

// @ts-ignore: decorator
@inline export function eth_broadcast_addr(): usize { return broadcast; }

export function ether_addr_equal(a: usize, b: usize): bool {
  return load<u32>(a) == load<u32>(b) && load<u16>(a, 4) == load<u16>(b, 4);
}

/** Group bit: multicast or broadcast. */
// @ts-ignore: decorator
@inline export function is_multicast_ether_addr(address: usize): bool { return (load<u8>(address) & 1) != 0; }

export function is_valid_ether_addr(address: usize): bool {
  return !is_multicast_ether_addr(address) && (load<u32>(address) | load<u16>(address, 4)) != 0;
}

/** Takes the header off a received frame and notes what it says. A runt is nobody's. */
export function eth_type_trans(skb: SkBuff, dev: NetDevice): void {
  skb.dev = changetype<usize>(dev);
  const at = skb.data;
  if (skb.len < ETH_HLEN) {
    skb.pkt_type = PACKET_OTHERHOST;
    skb.len = 0;
    return;
  }
  if (ether_addr_equal(at, dev.dev_addr)) skb.pkt_type = PACKET_HOST;
  else if (!is_multicast_ether_addr(at)) skb.pkt_type = PACKET_OTHERHOST;
  else skb.pkt_type = ether_addr_equal(at, broadcast) ? PACKET_BROADCAST : PACKET_MULTICAST;
  skb.protocol = get_be16(at + 2 * ETH_ALEN);
  skb_pull(skb, ETH_HLEN);
  skb.network_header = skb.data;
}

/** Puts the header in front: to the address at `destination`. */
export function eth_header(skb: SkBuff, dev: NetDevice, type: u32, destination: usize): void {
  const at = skb_push(skb, ETH_HLEN);
  memory.copy(at, destination, ETH_ALEN);
  memory.copy(at + ETH_ALEN, dev.dev_addr, ETH_ALEN);
  put_be16(type, at + 2 * ETH_ALEN);
  skb.protocol = type;
}
