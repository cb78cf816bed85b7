// UDP (RFC 768). A socket is a port with a function that is called, in soft interrupt context, with each datagram.
import { csum_fold, csum_partial, csum_tcpudp_nofold } from '../../lib/checksum';
import { get_be16, put_be16 } from '../../lib/byteorder';
import { BUG_ON } from '../../kernel/panic';
import { kmalloc } from '../../mm/slab';
import { NetDevice } from '../core/dev';
import { CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, SkBuff, alloc_skb, kfree_skb, skb_pull, skb_push, try_alloc_skb } from '../skbuff';
import { in_dev_get } from './devinet';
import { IP_DADDR, IP_HLEN, IP_LEN_MAX, IP_SADDR } from './ip';
import { ip_needs_fragments, ip_output } from './ip_output';
import { IPPROTO_UDP, inet_add_protocol } from './protocol';
import { SNMP_INC, SnmpMib } from './snmp';

export const UDP_HLEN: u32 = 8;
const UDP_SOURCE: u32 = 0;
const UDP_DEST: u32 = 2;
const UDP_LEN: u32 = 4;
const UDP_CHECK: u32 = 6;
/** What fits into a frame of 1500 bytes, and into the longest datagram. */
export const UDP_PAYLOAD_MAX: u32 = 1472;
export const UDP_DATAGRAM_MAX: u32 = IP_LEN_MAX - IP_HLEN - UDP_HLEN;

const SOCKETS_MAX: u32 = 8;

// @ts-ignore: decorator
@unmanaged export class UdpSock {
  port: u32;
  /** Gets the payload with `skb.data` and `skb.len`; the buffer is freed afterwards. */
  rcv: (sk: UdpSock, skb: SkBuff) => void;
  data: usize;
}

const sockets = memory.data(8 * 4, 4);

/** Boot CPU: opens `port`, which nobody has. */
export function udp_bind(port: u32, rcv: (sk: UdpSock, skb: SkBuff) => void, data: usize): UdpSock {
  const sk = changetype<UdpSock>(kmalloc(offsetof<UdpSock>()));
  sk.port = port;
  sk.rcv = rcv;
  sk.data = data;
  let slot: u32 = 0;
  while (slot < SOCKETS_MAX && load<usize>(sockets + (slot << 2)) != 0) {
    BUG_ON(changetype<UdpSock>(load<usize>(sockets + (slot << 2))).port == port, 'udp_bind: port is taken');
    slot++;
  }
  BUG_ON(slot == SOCKETS_MAX, 'udp_bind: too many sockets');
  store<usize>(sockets + (slot << 2), changetype<usize>(sk));
  return sk;
}

function udp_lookup(port: u32): UdpSock | null {
  for (let slot: u32 = 0; slot < SOCKETS_MAX; slot++) {
    const sk = load<usize>(sockets + (slot << 2));
    if (sk == 0) return null;
    if (changetype<UdpSock>(sk).port == port) return changetype<UdpSock>(sk);
  }
  return null;
}

/** Where a datagram came from that a socket was given: interface, address as it lies in memory, port. */
// @ts-ignore: decorator
@inline export function udp_dev(skb: SkBuff): NetDevice { return changetype<NetDevice>(skb.dev); }
// @ts-ignore: decorator
@inline export function udp_saddr(skb: SkBuff): u32 { return load<u32>(skb.network_header + IP_SADDR); }
// @ts-ignore: decorator
@inline export function udp_sport(skb: SkBuff): u32 { return get_be16(skb.transport_header + UDP_SOURCE); }

/** Whether the checksum holds; 0 is none. Summed up here if the device has not. */
function checksum_holds(skb: SkBuff, length: u32): bool {
  const at = skb.transport_header;
  if (skb.ip_summed == CHECKSUM_UNNECESSARY || load<u16>(at + UDP_CHECK) == 0) return true;
  const ip = skb.network_header;
  const pseudo = csum_tcpudp_nofold(load<u32>(ip + IP_SADDR), load<u32>(ip + IP_DADDR), length, IPPROTO_UDP);
  return csum_fold(csum_partial(at, length, pseudo)) == 0;
}

function udp_rcv(skb: SkBuff, _dev: NetDevice): void {
  const length = skb.len >= UDP_HLEN ? get_be16(skb.data + UDP_LEN) : 0;
  if (length < UDP_HLEN || length > skb.len) {
    SNMP_INC(offsetof<SnmpMib>('UdpInErrors'));
  } else if (!checksum_holds(skb, length)) {
    SNMP_INC(offsetof<SnmpMib>('UdpInCsumErrors'));
    SNMP_INC(offsetof<SnmpMib>('UdpInErrors'));
  } else {
    const sk = udp_lookup(get_be16(skb.data + UDP_DEST));
    if (sk === null) SNMP_INC(offsetof<SnmpMib>('UdpNoPorts'));
    else {
      SNMP_INC(offsetof<SnmpMib>('UdpInDatagrams'));
      skb.len = length;
      skb_pull(skb, UDP_HLEN);
      sk.rcv(sk, skb);
    }
  }
  kfree_skb(skb);
}

/** An empty datagram: the caller puts at most UDP_PAYLOAD_MAX bytes into it. */
export function udp_alloc(): SkBuff {
  return alloc_skb();
}

/** Likewise for `bytes` bytes, at most UDP_DATAGRAM_MAX; null without memory. */
export function udp_alloc_long(bytes: u32): SkBuff | null {
  return try_alloc_skb(UDP_HLEN + bytes);
}

/**
 * Sends the datagram from `dev`, with that interface's address; false if it was dropped. The device fills the checksum
 * in, over what is prepared here, unless the datagram goes out in pieces.
 */
export function udp_send(skb: SkBuff, dev: NetDevice, sport: u32, daddr: u32, dport: u32): bool {
  const in_dev = in_dev_get(dev);
  const saddr = in_dev !== null ? in_dev.ifa_local : 0;
  const at = skb_push(skb, UDP_HLEN);
  put_be16(sport, at + UDP_SOURCE);
  put_be16(dport, at + UDP_DEST);
  put_be16(skb.len, at + UDP_LEN);
  const pseudo = csum_tcpudp_nofold(saddr, daddr, skb.len, IPPROTO_UDP);
  if (ip_needs_fragments(dev, skb.len)) {
    store<u16>(at + UDP_CHECK, 0);
    const sum = csum_fold(csum_partial(at, skb.len, pseudo));
    // 0 is none: its other form says the same.
    store<u16>(at + UDP_CHECK, sum != 0 ? sum : 0xffff);
  } else {
    store<u16>(at + UDP_CHECK, ~csum_fold(pseudo));
    skb.ip_summed = CHECKSUM_PARTIAL;
  }
  skb.transport_header = at;
  const sent = ip_output(skb, dev, daddr, IPPROTO_UDP);
  if (sent) SNMP_INC(offsetof<SnmpMib>('UdpOutDatagrams'));
  return sent;
}

/** Boot CPU, once. */
export function udp_init(): void {
  inet_add_protocol(udp_rcv, IPPROTO_UDP);
}
