// What the network has seen: a line about each device, and some about protocols when they had something to object to.
import { NotifierBlock } from '../../kernel/notifier';
import { tty_print } from '../../kernel/printk';
import {
  NETDEV_UNREGISTER,
  NetDevice,
  netdev_list,
  register_netdevice_notifier,
} from '../../net/core/dev';
import { snmp } from '../../net/ipv4/snmp';

/** Whether it has to be said which interface is meant. Slaves are meant by their master. */
export function several_interfaces(): bool {
  let count: u32 = 0;
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    count += <u32>(changetype<NetDevice>(entry).master == 0);
  }
  return count > 1;
}

/** Packets that a protocol did not take or could not send, and what came or went in pieces. */
function protocol_errors(): u32 {
  const mib = snmp();
  const ip = mib.IpInHdrErrors + mib.IpInAddrErrors + mib.IpInDiscards + mib.IpInUnknownProtos;
  const pieces = mib.IpReasmReqds + mib.IpFragCreates + mib.IpInMartianSrc;
  const out = mib.IpOutNoRoutes + mib.IpOutDiscards;
  return ip + pieces + out + mib.IcmpInErrors + mib.IcmpInCsumErrors + mib.UdpNoPorts + mib.UdpInErrors;
}

/** What devices counted that are gone. */
// @ts-ignore: decorator
@unmanaged class GoneCounters {
  received: u64;
  sent: u64;
  dropped: u64;
  errors: u64;
  bad_checksums: u64;
}

/** By the number of the interface: the line of `ethN` is of all devices that had that name. */
const gone = memory.data(8 * 40, 8);
const gone_block = changetype<NotifierBlock>(memory.data(8, 8));

// @ts-ignore: decorator
@inline function gone_of(dev: NetDevice): GoneCounters {
  return changetype<GoneCounters>(gone + dev.ifindex * offsetof<GoneCounters>());
}

function net_status_event(event: u32, data: usize): void {
  if (event != NETDEV_UNREGISTER) return;
  const dev = changetype<NetDevice>(data);
  const counters = gone_of(dev);
  counters.received += dev.rx_packets;
  counters.sent += dev.tx_packets;
  counters.dropped += dev.rx_dropped + dev.tx_dropped;
  counters.errors += dev.rx_errors;
  counters.bad_checksums += dev.rx_csum_errors;
}

/** Boot CPU, once, before devices go. */
export function net_status_init(): void {
  register_netdevice_notifier(gone_block, net_status_event);
}

const printed = memory.data(4, 4);

export function print_net_status(): void {
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    const before = gone_of(dev);
    tty_print(
      '%S: %u received, %u sent, %u dropped, %u errors, %u bad checksums', dev.name, before.received + dev.rx_packets,
      before.sent + dev.tx_packets, before.dropped + dev.rx_dropped + dev.tx_dropped, before.errors + dev.rx_errors,
      before.bad_checksums + dev.rx_csum_errors,
    );
  }
  const errors = protocol_errors();
  if (errors == load<u32>(printed)) return;
  store<u32>(printed, errors);
  const mib = snmp();
  tty_print(
    'ip: %u in, %u bad headers, %u other addresses, %u discarded, %u unknown protocols, %u not sent', mib.IpInReceives,
    mib.IpInHdrErrors, mib.IpInAddrErrors, mib.IpInDiscards, mib.IpInUnknownProtos,
    mib.IpOutNoRoutes + mib.IpOutDiscards,
  );
  if (mib.IpReasmReqds + mib.IpFragCreates + mib.IpInMartianSrc != 0) {
    tty_print(
      'ip: %u martian sources, %u fragments in, %u reassembled, %u failed, %u timed out, %u fragments out',
      mib.IpInMartianSrc, mib.IpReasmReqds, mib.IpReasmOKs, mib.IpReasmFails, mib.IpReasmTimeout, mib.IpFragCreates,
    );
  }
  tty_print(
    'icmp: %u echo requests, %u replies, %u bad checksums, %u errors', mib.IcmpInEchos, mib.IcmpOutEchoReps,
    mib.IcmpInCsumErrors, mib.IcmpInErrors,
  );
  tty_print(
    'udp: %u in, %u out, %u no port, %u bad checksums, %u errors', mib.UdpInDatagrams, mib.UdpOutDatagrams,
    mib.UdpNoPorts, mib.UdpInCsumErrors, mib.UdpInErrors,
  );
}
