// What the network has seen: a line about each device, and some about protocols when they had something to object to.
import { tty_print } from '../../kernel/printk';
import { NetDevice, netdev_list } from '../../net/core/dev';
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

const printed = memory.data(4, 4);

export function print_net_status(): void {
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    tty_print(
      '%S: %u received, %u sent, %u dropped, %u errors, %u bad checksums', dev.name, dev.rx_packets, dev.tx_packets,
      dev.rx_dropped + dev.tx_dropped, dev.rx_errors, dev.rx_csum_errors,
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
