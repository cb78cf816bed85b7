// Sends everything that comes to the echo port back where it came from (RFC 862).
import { panic } from '../../kernel/panic';
import { tty_print } from '../../kernel/printk';
import { ktime_get, per_second } from '../../kernel/time';
import { kmalloc } from '../../mm/slab';
import { NETDEV_MAX, dev_get_by_index, have_netdev } from '../../net/core/dev';
import { PACKET_HOST, SkBuff, skb_put } from '../../net/skbuff';
import { snmp } from '../../net/ipv4/snmp';
import {
  UdpSock,
  udp_alloc_long,
  udp_bind,
  udp_dev,
  udp_saddr,
  udp_send,
  udp_sport,
} from '../../net/ipv4/udp';
import { start_periodic } from '../periodic';
import { status_period } from '../params';
import { net_status_init, print_net_status, several_interfaces } from './status';

const PORT_ECHO: u32 = 7;

/** What one interface was asked for. */
// @ts-ignore: decorator
@unmanaged class UdpEcho {
  echoed: u64;
  /** Answers that could not be sent. */
  dropped: u32;
  /** `echoed` at the last status. */
  last: u64;
}

// @ts-ignore: decorator
@unmanaged class UdpEchoStatus {
  time: u64;
  /** NETDEV_MAX UdpEcho records, by the interface's number. */
  interfaces: usize;
}

// @ts-ignore: decorator
@inline function echo_of(interfaces: usize, ifindex: u32): UdpEcho {
  return changetype<UdpEcho>(interfaces + ifindex * offsetof<UdpEcho>());
}

function udp_echo_rcv(sk: UdpSock, skb: SkBuff): void {
  // Two echo ports would keep each other busy for ever, and what is for all is answered by none.
  if (udp_sport(skb) == PORT_ECHO || skb.pkt_type != PACKET_HOST) return;
  const dev = udp_dev(skb);
  const self = echo_of(sk.data, dev.ifindex);
  const answer = udp_alloc_long(skb.len);
  if (answer === null) {
    self.dropped++;
    return;
  }
  memory.copy(skb_put(answer, skb.len), skb.data, skb.len);
  if (udp_send(answer, dev, PORT_ECHO, udp_saddr(skb), udp_sport(skb))) self.echoed++;
  else self.dropped++;
}

/** All interfaces together, then, if there are several, each by itself. */
function udp_echo_status(context: usize): bool {
  const self = changetype<UdpEchoStatus>(context);
  const now = ktime_get();
  const elapsed = now - self.time;
  let echoed: u64 = 0;
  let last: u64 = 0;
  let dropped: u32 = 0;
  for (let i: u32 = 0; i < NETDEV_MAX; i++) {
    const echo = echo_of(self.interfaces, i);
    echoed += echo.echoed;
    last += echo.last;
    dropped += echo.dropped;
  }
  tty_print(
    'udp-echo: %u packets/s, %u echoed, %u not sent, %u bad checksums', per_second(echoed - last, elapsed), echoed,
    dropped, snmp().UdpInCsumErrors,
  );
  for (let i: u32 = 0; i < NETDEV_MAX; i++) {
    const echo = echo_of(self.interfaces, i);
    if (several_interfaces() && (dev_get_by_index(i) !== null || echo.echoed != 0)) {
      tty_print(
        'udp-echo: eth%u: %u packets/s, %u echoed, %u not sent', i, per_second(echo.echoed - echo.last, elapsed),
        echo.echoed, echo.dropped,
      );
    }
    echo.last = echo.echoed;
  }
  print_net_status();
  self.time = now;
  return false;
}

export function start_udp_echo(): void {
  if (!have_netdev()) panic('udp-echo: no network device');
  const self = changetype<UdpEchoStatus>(kmalloc(offsetof<UdpEchoStatus>()));
  self.time = ktime_get();
  self.interfaces = kmalloc(NETDEV_MAX * offsetof<UdpEcho>());
  udp_bind(PORT_ECHO, udp_echo_rcv, self.interfaces);
  net_status_init();
  start_periodic(0, status_period(), status_period(), udp_echo_status, changetype<usize>(self));
}
