// ICMP (RFC 792): answers echo requests, and says what became of datagrams that could not be put together.
import { csum_fold, csum_partial } from '../../lib/checksum';
import { NetDevice } from '../core/dev';
import { PACKET_HOST, SkBuff, kfree_skb, skb_put, try_alloc_skb } from '../skbuff';
import { IP_PROTOCOL, IP_SADDR } from './ip';
import { ip_output } from './ip_output';
import { IPPROTO_ICMP, inet_add_protocol } from './protocol';
import { SNMP_INC, SnmpMib } from './snmp';

const ICMP_ECHOREPLY: u8 = 0;
const ICMP_ECHO: u8 = 8;
export const ICMP_TIME_EXCEEDED: u32 = 11;
/** Code of ICMP_TIME_EXCEEDED: while fragments waited. */
export const ICMP_EXC_FRAGTIME: u32 = 1;
const ICMP_HLEN: u32 = 8;
const ICMP_CHECKSUM: u32 = 2;
/** Bytes of the datagram in question, behind its IP header. */
const ICMP_QUOTE: u32 = 8;

/** Sums the message up and sends it where `about` came from. */
function icmp_push_reply(skb: SkBuff, dev: NetDevice, about: SkBuff): void {
  store<u16>(skb.data + ICMP_CHECKSUM, 0);
  store<u16>(skb.data + ICMP_CHECKSUM, csum_fold(csum_partial(skb.data, skb.len, 0)));
  ip_output(skb, dev, load<u32>(about.network_header + IP_SADDR), IPPROTO_ICMP);
}

function icmp_echo(request: SkBuff, dev: NetDevice): void {
  const reply = try_alloc_skb(request.len);
  if (reply === null) return SNMP_INC(offsetof<SnmpMib>('IcmpOutErrors'));
  const at = skb_put(reply, request.len);
  memory.copy(at, request.data, request.len);
  store<u8>(at, ICMP_ECHOREPLY);
  SNMP_INC(offsetof<SnmpMib>('IcmpOutEchoReps'));
  icmp_push_reply(reply, dev, request);
}

/**
 * Tells the sender of `about` (a packet behind its IP header, which the caller keeps) what is wrong with it. Nothing is
 * said of what was not for this host alone, nor of another such message (RFC 1122, 3.2.2).
 */
export function icmp_send(about: SkBuff, dev: NetDevice, type: u32, code: u32): void {
  const ip = about.network_header;
  if (about.pkt_type != PACKET_HOST) return;
  if (load<u8>(ip + IP_PROTOCOL) == IPPROTO_ICMP && (about.len == 0 || load<u8>(about.data) != ICMP_ECHO)) return;
  const quoted = <u32>(about.data - ip) + min<u32>(about.len, ICMP_QUOTE);
  const skb = try_alloc_skb(ICMP_HLEN + quoted);
  if (skb === null) return SNMP_INC(offsetof<SnmpMib>('IcmpOutErrors'));
  const at = skb_put(skb, ICMP_HLEN + quoted);
  store<u64>(at, <u64>(type | (code << 8)));
  memory.copy(at + ICMP_HLEN, ip, quoted);
  SNMP_INC(offsetof<SnmpMib>('IcmpOutTimeExcds'));
  icmp_push_reply(skb, dev, about);
}

function icmp_rcv(skb: SkBuff, dev: NetDevice): void {
  if (skb.len < ICMP_HLEN) SNMP_INC(offsetof<SnmpMib>('IcmpInErrors'));
  else if (csum_fold(csum_partial(skb.data, skb.len, 0)) != 0) SNMP_INC(offsetof<SnmpMib>('IcmpInCsumErrors'));
  else if (load<u8>(skb.data) == ICMP_ECHO && load<u8>(skb.data, 1) == 0) {
    // A request to all is answered by none (icmp_echo_ignore_broadcasts).
    if (skb.pkt_type != PACKET_HOST) SNMP_INC(offsetof<SnmpMib>('IcmpInErrors'));
    else {
      SNMP_INC(offsetof<SnmpMib>('IcmpInEchos'));
      icmp_echo(skb, dev);
    }
  }
  kfree_skb(skb);
}

/** Boot CPU, once. */
export function icmp_init(): void {
  inet_add_protocol(icmp_rcv, IPPROTO_ICMP);
}
