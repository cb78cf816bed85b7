// A flow of numbered, checksummed datagrams to the peer at a steady rate, and judgement of one that comes: the peer's
// own to the discard port, or ours sent back if it goes to an echo port. At a rate of 0 it only judges.
import { panic } from '../../kernel/panic';
import { param_u64 } from '../../kernel/params';
import { pr_info, tty_print } from '../../kernel/printk';
import { NSEC_PER_USEC, ktime_get, per_second } from '../../kernel/time';
import { kmalloc } from '../../mm/slab';
import { netdev_count, netdev_at, netif_tx_burst_begin, netif_tx_burst_end } from '../../net/core/dev';
import { SkBuff, skb_put } from '../../net/skbuff';
import { str } from '../../lib/string';
import { snmp } from '../../net/ipv4/snmp';
import { neigh_resolve } from '../../net/ipv4/arp';
import { peer_address } from '../../net/ipv4/ipconfig';
import { ip_route_output } from '../../net/ipv4/ip';
import { UDP_PAYLOAD_MAX, UdpSock, udp_alloc, udp_bind, udp_send } from '../../net/ipv4/udp';
import { Pacer, pacer_account, pacer_due, pacer_init } from '../pacer';
import { start_periodic } from '../periodic';
import { status_period, tick_period } from '../workload';
import { FLOW_HEADER, FlowReceiver, flow_lost, flow_receive, flow_receiver_init, flow_write } from './flow';

const PORT_DISCARD: u32 = 9;
/** Our own flow speaks from here. */
const PORT_STREAM: u32 = 40000;
const FLOW_NUMBER: u32 = 0;

const DEFAULT_RATE: u64 = 1000;
const DEFAULT_PAYLOAD: u64 = 512;

// @ts-ignore: decorator
@unmanaged class UdpStream extends Pacer {
  sent: u32;
  payload: u32;
  port: u32;
  /** Times that the device had no room. */
  busy: u32;
  /** Ours that came back, and what the peer sends. */
  returned: FlowReceiver;
  incoming: FlowReceiver;
  time: u64;
  last_sent: u32;
  last_returned: u32;
  last_incoming: u32;
}

function udp_stream_rcv(sk: UdpSock, skb: SkBuff): void {
  flow_receive(changetype<FlowReceiver>(sk.data), skb.data, skb.len);
}

/** Numbers count what was sent: one that the device had no room for is sent under the same number later. */
function udp_stream_step(context: usize): bool {
  const self = changetype<UdpStream>(context);
  const peer = peer_address();
  const dev = ip_route_output(peer);
  if (dev === null) return false;
  const due = pacer_due(self, ktime_get());
  let done: u64 = 0;
  if (dev.carrier != 0 && neigh_resolve(dev, peer)) {
    netif_tx_burst_begin();
    for (; done < due; done++) {
      const skb = udp_alloc();
      flow_write(skb_put(skb, self.payload), self.payload, FLOW_NUMBER, self.sent, ktime_get());
      if (!udp_send(skb, PORT_STREAM, peer, self.port)) {
        self.busy++;
        break;
      }
      self.sent++;
    }
    netif_tx_burst_end();
  }
  pacer_account(self, done);
  return false;
}

/** One line about a flow that has arrived at all. */
function print_receiver(name: string, receiver: FlowReceiver, rate: u64): void {
  if (receiver.received == 0 && receiver.corrupt == 0) return;
  tty_print(
    'udp-stream: %s %u packets/s, %u received, %u lost, %u duplicated, %u reordered', str(name), rate, receiver.received,
    flow_lost(receiver), receiver.duplicated, receiver.reordered,
  );
  tty_print(
    'udp-stream: %s longest gap %u us, %u corrupt', str(name), receiver.longest_gap / NSEC_PER_USEC, receiver.corrupt,
  );
}

function udp_stream_status(context: usize): bool {
  const self = changetype<UdpStream>(context);
  const now = ktime_get();
  const elapsed = now - self.time;
  tty_print(
    'udp-stream: sent %u packets/s, %u sent, %u busy, %u bad checksums', per_second(self.sent - self.last_sent, elapsed),
    self.sent, self.busy, snmp().UdpInCsumErrors,
  );
  print_receiver('returned', self.returned, per_second(self.returned.received - self.last_returned, elapsed));
  print_receiver('incoming', self.incoming, per_second(self.incoming.received - self.last_incoming, elapsed));
  self.time = now;
  self.last_sent = self.sent;
  self.last_returned = self.returned.received;
  self.last_incoming = self.incoming.received;
  return false;
}

function new_receiver(): FlowReceiver {
  const receiver = changetype<FlowReceiver>(kmalloc(offsetof<FlowReceiver>()));
  if (!flow_receiver_init(receiver)) panic('Out of memory: udp-stream');
  return receiver;
}

export function start_udp_stream(): void {
  if (netdev_count() == 0) panic('udp-stream: no network device');
  const self = changetype<UdpStream>(kmalloc(offsetof<UdpStream>()));
  const rate = param_u64('rate', DEFAULT_RATE);
  const payload = param_u64('payload', DEFAULT_PAYLOAD);
  if (payload < FLOW_HEADER || payload > UDP_PAYLOAD_MAX) {
    panic('udp-stream: payload=%u is not between %u and %u', payload, FLOW_HEADER, UDP_PAYLOAD_MAX);
  }
  self.payload = <u32>payload;
  self.port = <u32>param_u64('peer_port', PORT_DISCARD);
  self.returned = new_receiver();
  self.incoming = new_receiver();
  pacer_init(self, <f64>rate, ktime_get());
  self.time = ktime_get();
  udp_bind(PORT_DISCARD, udp_stream_rcv, changetype<usize>(self.incoming));
  udp_bind(PORT_STREAM, udp_stream_rcv, changetype<usize>(self.returned));
  pr_info('udp-stream: %u packets/s of %u bytes from %S', rate, payload, netdev_at(0).name);
  if (rate != 0) start_periodic(0, 0, tick_period(), udp_stream_step, changetype<usize>(self));
  start_periodic(0, status_period(), status_period(), udp_stream_status, changetype<usize>(self));
}
