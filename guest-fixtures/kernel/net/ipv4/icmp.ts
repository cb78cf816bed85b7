// ICMP: answers echo requests (RFC 792).
import { csum_fold, csum_partial } from '../../lib/checksum';
import { NetDevice } from '../core/dev';
import { SKB_DATA_MAX, SkBuff, alloc_skb, kfree_skb, skb_put } from '../skbuff';
import { IP_SADDR, ip_output } from './ip';
import { IPPROTO_ICMP, inet_add_protocol } from './protocol';
import { SNMP_INC, SnmpMib } from './snmp';

const ICMP_ECHOREPLY: u8 = 0;
const ICMP_ECHO: u8 = 8;
const ICMP_HLEN: u32 = 8;
const ICMP_CHECKSUM: u32 = 2;

function icmp_reply(request: SkBuff, dev: NetDevice): void {
  const reply = alloc_skb();
  const at = skb_put(reply, request.len);
  memory.copy(at, request.data, request.len);
  store<u8>(at, ICMP_ECHOREPLY);
  store<u16>(at + ICMP_CHECKSUM, 0);
  store<u16>(at + ICMP_CHECKSUM, csum_fold(csum_partial(at, reply.len, 0)));
  SNMP_INC(offsetof<SnmpMib>('IcmpOutEchoReps'));
  ip_output(reply, dev, load<u32>(request.network_header + IP_SADDR), IPPROTO_ICMP);
}

function icmp_rcv(skb: SkBuff, dev: NetDevice): void {
  if (skb.len < ICMP_HLEN || skb.len > SKB_DATA_MAX) SNMP_INC(offsetof<SnmpMib>('IcmpInErrors'));
  else if (csum_fold(csum_partial(skb.data, skb.len, 0)) != 0) SNMP_INC(offsetof<SnmpMib>('IcmpInCsumErrors'));
  else if (load<u8>(skb.data) == ICMP_ECHO && load<u8>(skb.data, 1) == 0) {
    SNMP_INC(offsetof<SnmpMib>('IcmpInEchos'));
    icmp_reply(skb, dev);
  }
  kfree_skb(skb);
}

/** Boot CPU, once. */
export function icmp_init(): void {
  inet_add_protocol(icmp_rcv, IPPROTO_ICMP);
}
