// A flow of numbered, checksummed datagrams to the peer at a steady rate, and judgement of one that comes: the peer's
// own to the discard port, or ours sent back if it goes to an echo port. At a rate of 0 it only judges. Each interface has
// its own flow to its own peer.
import { panic } from '../../kernel/panic';
import { param_u64 } from '../../kernel/params';
import { pr_info, tty_print } from '../../kernel/printk';
import { NSEC_PER_USEC, ktime_get, per_second } from '../../kernel/time';
import { kmalloc } from '../../mm/slab';
import {
  NETDEV_MAX,
  NetDevice,
  have_netdev,
  netdev_list,
  netif_tx_burst_begin,
  netif_tx_burst_end,
} from '../../net/core/dev';
import { SkBuff, skb_put } from '../../net/skbuff';
import { str } from '../../lib/string';
import { scnprintf } from '../../lib/vsprintf';
import { snmp } from '../../net/ipv4/snmp';
import { neigh_resolve } from '../../net/ipv4/arp';
import { in_dev_get } from '../../net/ipv4/devinet';
import { UDP_PAYLOAD_MAX, UdpSock, udp_alloc, udp_bind, udp_dev, udp_send } from '../../net/ipv4/udp';
import { Pacer, pacer_account, pacer_due, pacer_init } from '../pacer';
import { start_periodic } from '../periodic';
import { status_period, tick_period } from '../params';
import { several_interfaces } from './status';
import { FLOW_HEADER, FlowReceiver, flow_lost, flow_receive, flow_receiver_init, flow_write } from './flow';

const PORT_DISCARD: u32 = 9;
/** Our own flow speaks from here. */
const PORT_STREAM: u32 = 40000;
const FLOW_NUMBER: u32 = 0;

const DEFAULT_RATE: u64 = 1000;
const DEFAULT_PAYLOAD: u64 = 512;

/** What is sent on every interface. */
// @ts-ignore: decorator
@unmanaged class UdpStreamConfig {
  /** Datagrams a second. */
  rate: u64;
  payload: u32;
  port: u32;
  /** Of the last status. */
  time: u64;
}

/** The flows of one interface. */
// @ts-ignore: decorator
@unmanaged class UdpStream extends Pacer {
  sent: u32;
  /** Times that the device had no room. */
  busy: u32;
  /** Ours that came back, and what the peer sends. */
  returned: FlowReceiver;
  incoming: FlowReceiver;
  /** As of the last status. */
  last_sent: u32;
  last_returned: u32;
  last_incoming: u32;
}

/** What a status line says of flows that arrive. */
// @ts-ignore: decorator
@unmanaged class FlowSummary {
  /** Since the last status. */
  fresh: u32;
  received: u32;
  lost: u32;
  duplicated: u32;
  reordered: u32;
  corrupt: u32;
  longest_gap: u64;
}

const config = changetype<UdpStreamConfig>(memory.data(32, 16));
/** By the interface's number: UdpStream, or 0 as long as nothing was to be sent or judged there. */
const streams = memory.data(8 * 4, 4);
const summary = changetype<FlowSummary>(memory.data(32, 16));
const interface_tag = memory.data(16, 16);
const flow_name = memory.data(32, 16);

function new_receiver(): FlowReceiver {
  const receiver = changetype<FlowReceiver>(kmalloc(offsetof<FlowReceiver>()));
  if (!flow_receiver_init(receiver)) panic('Out of memory: udp-stream');
  return receiver;
}

// @ts-ignore: decorator
@inline function known_stream(ifindex: u32): UdpStream | null {
  return changetype<UdpStream | null>(load<usize>(streams + (ifindex << 2)));
}

/** The flows of `dev`: one that is plugged in later has some as well. */
function stream_of(dev: NetDevice): UdpStream {
  const known = known_stream(dev.ifindex);
  if (known !== null) return known;
  const stream = changetype<UdpStream>(kmalloc(offsetof<UdpStream>()));
  stream.returned = new_receiver();
  stream.incoming = new_receiver();
  pacer_init(stream, <f64>config.rate, ktime_get());
  store<usize>(streams + (dev.ifindex << 2), changetype<usize>(stream));
  return stream;
}

function udp_returned_rcv(_sk: UdpSock, skb: SkBuff): void {
  flow_receive(stream_of(udp_dev(skb)).returned, skb.data, skb.len);
}

function udp_incoming_rcv(_sk: UdpSock, skb: SkBuff): void {
  flow_receive(stream_of(udp_dev(skb)).incoming, skb.data, skb.len);
}

/** Numbers count what was sent: one that the device had no room for is sent under the same number later. */
function send_due(dev: NetDevice): void {
  const in_dev = in_dev_get(dev);
  if (in_dev === null) return;
  const self = stream_of(dev);
  const peer = in_dev.ifa_peer;
  const due = pacer_due(self, ktime_get());
  let done: u64 = 0;
  if (dev.carrier != 0 && neigh_resolve(in_dev, peer)) {
    netif_tx_burst_begin();
    for (; done < due; done++) {
      const skb = udp_alloc();
      flow_write(skb_put(skb, config.payload), config.payload, FLOW_NUMBER, self.sent, ktime_get());
      if (!udp_send(skb, dev, PORT_STREAM, peer, config.port)) {
        self.busy++;
        break;
      }
      self.sent++;
    }
    netif_tx_burst_end();
  }
  pacer_account(self, done);
}

function udp_stream_step(_context: usize): bool {
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    send_due(changetype<NetDevice>(entry));
  }
  return false;
}

function summary_add(receiver: FlowReceiver, last: u32): void {
  summary.fresh += receiver.received - last;
  summary.received += receiver.received;
  summary.lost += flow_lost(receiver);
  summary.duplicated += receiver.duplicated;
  summary.reordered += receiver.reordered;
  summary.corrupt += receiver.corrupt;
  summary.longest_gap = max<u64>(summary.longest_gap, receiver.longest_gap);
}

/** Two lines about flows that have arrived at all. `tag` ends with a NUL: empty, or naming the interface. */
function print_summary(tag: usize, name: string, elapsed: u64): void {
  if (summary.received == 0 && summary.corrupt == 0) return;
  store<u8>(flow_name + scnprintf(flow_name, 31, '%S%s', tag, str(name)), 0);
  tty_print(
    'udp-stream: %S %u packets/s, %u received, %u lost, %u duplicated, %u reordered', flow_name,
    per_second(summary.fresh, elapsed), summary.received, summary.lost, summary.duplicated, summary.reordered,
  );
  tty_print(
    'udp-stream: %S longest gap %u us, %u corrupt', flow_name, summary.longest_gap / NSEC_PER_USEC, summary.corrupt,
  );
}

/** The lines of the interfaces [from, to) together. */
function print_streams(tag: usize, from: u32, to: u32, elapsed: u64): void {
  let sent: u32 = 0;
  let fresh: u32 = 0;
  let busy: u32 = 0;
  for (let i = from; i < to; i++) {
    const stream = known_stream(i);
    if (stream === null) continue;
    sent += stream.sent;
    fresh += stream.sent - stream.last_sent;
    busy += stream.busy;
  }
  tty_print(
    'udp-stream: %Ssent %u packets/s, %u sent, %u busy, %u bad checksums', tag, per_second(fresh, elapsed), sent, busy,
    snmp().UdpInCsumErrors,
  );
  memory.fill(changetype<usize>(summary), 0, offsetof<FlowSummary>());
  for (let i = from; i < to; i++) {
    const stream = known_stream(i);
    if (stream !== null) summary_add(stream.returned, stream.last_returned);
  }
  print_summary(tag, 'returned', elapsed);
  memory.fill(changetype<usize>(summary), 0, offsetof<FlowSummary>());
  for (let i = from; i < to; i++) {
    const stream = known_stream(i);
    if (stream !== null) summary_add(stream.incoming, stream.last_incoming);
  }
  print_summary(tag, 'incoming', elapsed);
}

/** All interfaces together, then, if there are several, each by itself. */
function udp_stream_status(_context: usize): bool {
  const now = ktime_get();
  const elapsed = now - config.time;
  config.time = now;
  const tag = interface_tag;
  store<u8>(tag, 0);
  print_streams(tag, 0, NETDEV_MAX, elapsed);
  for (let i: u32 = 0; i < NETDEV_MAX; i++) {
    const stream = known_stream(i);
    if (stream === null) continue;
    if (several_interfaces()) {
      store<u8>(tag + scnprintf(tag, 15, 'eth%u: ', i), 0);
      print_streams(tag, i, i + 1, elapsed);
    }
    stream.last_sent = stream.sent;
    stream.last_returned = stream.returned.received;
    stream.last_incoming = stream.incoming.received;
  }
  return false;
}

export function start_udp_stream(): void {
  if (!have_netdev()) panic('udp-stream: no network device');
  const payload = param_u64('payload', DEFAULT_PAYLOAD);
  if (payload < FLOW_HEADER || payload > UDP_PAYLOAD_MAX) {
    panic('udp-stream: payload=%u is not between %u and %u', payload, FLOW_HEADER, UDP_PAYLOAD_MAX);
  }
  config.payload = <u32>payload;
  config.rate = param_u64('rate', DEFAULT_RATE);
  config.port = <u32>param_u64('peer_port', PORT_DISCARD);
  config.time = ktime_get();
  udp_bind(PORT_DISCARD, udp_incoming_rcv, 0);
  udp_bind(PORT_STREAM, udp_returned_rcv, 0);
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    if (dev.master != 0) continue;
    stream_of(dev);
    pr_info('udp-stream: %u packets/s of %u bytes from %S', config.rate, payload, dev.name);
  }
  if (config.rate != 0) start_periodic(0, 0, tick_period(), udp_stream_step, 0);
  start_periodic(0, status_period(), status_period(), udp_stream_status, 0);
}
