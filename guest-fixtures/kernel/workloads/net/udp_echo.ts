// Sends everything that comes to the echo port back where it came from (RFC 862).
import { panic } from '../../kernel/panic';
import { tty_print } from '../../kernel/printk';
import { ktime_get, per_second } from '../../kernel/time';
import { kmalloc } from '../../mm/slab';
import { netdev_count } from '../../net/core/dev';
import { SkBuff, skb_put } from '../../net/skbuff';
import { snmp } from '../../net/ipv4/snmp';
import { UDP_PAYLOAD_MAX, UdpSock, udp_alloc, udp_bind, udp_saddr, udp_send, udp_sport } from '../../net/ipv4/udp';
import { start_periodic } from '../periodic';
import { status_period } from '../workload';
import { print_net_status } from './status';

const PORT_ECHO: u32 = 7;

// @ts-ignore: decorator
@unmanaged class UdpEcho {
  echoed: u64;
  /** Answers that could not be sent. */
  dropped: u32;
  time: u64;
  last: u64;
}

function udp_echo_rcv(sk: UdpSock, skb: SkBuff): void {
  const self = changetype<UdpEcho>(sk.data);
  // Two echo ports would keep each other busy for ever.
  if (skb.len > UDP_PAYLOAD_MAX || udp_sport(skb) == PORT_ECHO) return;
  const answer = udp_alloc();
  memory.copy(skb_put(answer, skb.len), skb.data, skb.len);
  if (udp_send(answer, PORT_ECHO, udp_saddr(skb), udp_sport(skb))) self.echoed++;
  else self.dropped++;
}

function udp_echo_status(context: usize): bool {
  const self = changetype<UdpEcho>(context);
  const now = ktime_get();
  const rate = per_second(self.echoed - self.last, now - self.time);
  tty_print(
    'udp-echo: %u packets/s, %u echoed, %u not sent, %u bad checksums', rate, self.echoed, self.dropped,
    snmp().UdpInCsumErrors,
  );
  print_net_status();
  self.time = now;
  self.last = self.echoed;
  return false;
}

export function start_udp_echo(): void {
  if (netdev_count() == 0) panic('udp-echo: no network device');
  const self = changetype<UdpEcho>(kmalloc(offsetof<UdpEcho>()));
  self.time = ktime_get();
  udp_bind(PORT_ECHO, udp_echo_rcv, changetype<usize>(self));
  start_periodic(0, status_period(), status_period(), udp_echo_status, changetype<usize>(self));
}
