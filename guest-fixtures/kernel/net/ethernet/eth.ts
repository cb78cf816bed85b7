// Ethernet II framing.
import { get_be16, put_be16 } from '../../lib/byteorder';
import { NetDevice } from '../core/dev';
import { SkBuff, skb_pull, skb_push } from '../skbuff';

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

/** Takes the header off a received frame; false if there is none or the frame is for somebody else. */
export function eth_type_trans(skb: SkBuff, dev: NetDevice): bool {
  if (skb.len < ETH_HLEN) return false;
  skb.protocol = get_be16(skb.data + 2 * ETH_ALEN);
  const mine = is_multicast_ether_addr(skb.data) || ether_addr_equal(skb.data, dev.dev_addr);
  skb_pull(skb, ETH_HLEN);
  skb.network_header = skb.data;
  return mine;
}

/** Puts the header in front: to the address at `destination`. */
export function eth_header(skb: SkBuff, dev: NetDevice, type: u32, destination: usize): void {
  const at = skb_push(skb, ETH_HLEN);
  memory.copy(at, destination, ETH_ALEN);
  memory.copy(at + ETH_ALEN, dev.dev_addr, ETH_ALEN);
  put_be16(type, at + 2 * ETH_ALEN);
  skb.protocol = type;
}
