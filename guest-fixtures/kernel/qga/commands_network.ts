// The commands that look at the network, as QEMU's agent has them, and those that it lacks: neighbours, and setting what an
// interface has.
import { NetDevice, netdev_list } from '../net/core/dev';
import { neigh_save, neigh_set } from '../net/ipv4/arp';
import { InDevice, in_dev_get, inet_onlink } from '../net/ipv4/devinet';
import { ip_set_address } from '../net/ipv4/ipconfig';
import { in4_pton } from '../lib/inet';
import { str } from '../lib/string';
import { Call, call_fail, call_has, call_number, call_string } from './command';
import { qga_command_register } from './dispatch';
import { reply_put } from './reply';

// Of guest-network-get-route, as in Linux's table.
const RTF_UP: u32 = 1;
const RTF_GATEWAY: u32 = 2;

/** Room for the neighbours of an interface, as neigh_save writes them. */
const neighbours = memory.data(16 * 12, 8);
const NEIGH_BYTES: u32 = 12;

// @ts-ignore: decorator
@inline function mask_of(prefix: u32): u32 { return prefix == 0 ? 0 : bswap<u32>(~0 << (32 - prefix)); }

function put_statistics(call: Call, dev: NetDevice): void {
  reply_put(
    call.reply, ', "statistics": {"rx-bytes": %u, "rx-packets": %u, "rx-errs": %u, "rx-dropped": %u, ',
    dev.rx_bytes, dev.rx_packets, dev.rx_errors, dev.rx_dropped,
  );
  reply_put(
    call.reply, '"tx-bytes": %u, "tx-packets": %u, "tx-errs": 0, "tx-dropped": %u}}',
    dev.tx_bytes, dev.tx_packets, dev.tx_dropped,
  );
}

function put_interface(call: Call, dev: NetDevice): void {
  reply_put(call.reply, '{"name": "%S", "hardware-address": "%pM"', dev.name, dev.dev_addr);
  const in_dev = in_dev_get(dev);
  if (in_dev !== null) {
    reply_put(
      call.reply, ', "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "%pI4", "prefix": %u}]',
      changetype<usize>(in_dev) + offsetof<InDevice>('ifa_local'), popcnt<u32>(in_dev.ifa_mask),
    );
  }
  put_statistics(call, dev);
}

function guest_network_get_interfaces(call: Call): void {
  reply_put(call.reply, '[');
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    if (entry != netdev_list().next) reply_put(call.reply, ', ');
    put_interface(call, changetype<NetDevice>(entry));
  }
  reply_put(call.reply, ']');
}

/** An item of a list; `first`: of those that were put, none. Addresses by where they lie. */
function put_route(call: Call, first: bool, dev: NetDevice, destination: usize, mask: usize, gateway: usize): void {
  if (!first) reply_put(call.reply, ', ');
  reply_put(
    call.reply, '{"iface": "%S", "destination": "%pI4", "mask": "%pI4", "gateway": "%pI4", "flags": %u, ',
    dev.name, destination, mask, gateway, RTF_UP | (load<u32>(gateway) != 0 ? RTF_GATEWAY : 0),
  );
  reply_put(call.reply, '"metric": 0, "mtu": %u, "version": 4}', dev.mtu);
}

const none = memory.data(4, 4);
const network = memory.data(4, 4);

function guest_network_get_route(call: Call): void {
  let first = true;
  reply_put(call.reply, '[');
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    const in_dev = in_dev_get(dev);
    if (in_dev === null) continue;
    const at = changetype<usize>(in_dev);
    if (in_dev.ifa_gateway != 0) {
      put_route(call, first, dev, none, none, at + offsetof<InDevice>('ifa_gateway'));
      first = false;
    }
    store<u32>(network, in_dev.ifa_local & in_dev.ifa_mask);
    put_route(call, first, dev, network, at + offsetof<InDevice>('ifa_mask'), none);
    first = false;
  }
  reply_put(call.reply, ']');
}

function network_get_neighbours(call: Call): void {
  let first = true;
  reply_put(call.reply, '[');
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    const in_dev = in_dev_get(dev);
    const count: u32 = in_dev === null ? 0 : neigh_save(in_dev, neighbours);
    for (let i: u32 = 0; i < count; i++) {
      const at = neighbours + i * NEIGH_BYTES;
      if (!first) reply_put(call.reply, ', ');
      reply_put(
        call.reply, '{"iface": "%S", "ip-address": "%pI4", "hardware-address": "%pM"}', dev.name, at, at + 4,
      );
      first = false;
    }
  }
  reply_put(call.reply, ']');
}

// ---------------------------------------------------------------------------------------------------------------------
// Setting

/** The interface that the argument `iface` names; null, and the command has failed, if it may not be set. */
function interface_of(call: Call): NetDevice | null {
  if (!call_string(call, 'iface')) return null;
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    let same: u32 = 0;
    while (same < call.text_length && load<u8>(dev.name + same) == load<u8>(call.text + same)) same++;
    if (same != call.text_length || load<u8>(dev.name + same) != 0) continue;
    if (dev.master == 0) return dev;
    call_fail(call, "Interface '", call.text, call.text_length, "' has no addresses of its own: it is part of another");
    return null;
  }
  call_fail(call, "Interface '", call.text, call.text_length, "' has not been found");
  return null;
}

/** The argument as an address lies in memory; -1, and the command has failed, if it is none. */
function ipv4_of(call: Call, name: string): i64 {
  if (!call_string(call, name)) return -1;
  const address = in4_pton(call.text, call.text_length);
  if (address < 0) call_fail(call, "'", call.text, call.text_length, "' is no IPv4 address");
  return address;
}

function hex_of(char: u32): u32 {
  if (char - 0x30 < 10) return char - 0x30;
  const lower = char | 0x20;
  return lower - 0x61 < 6 ? lower - 0x57 : 0x100;
}

/** Writes the argument, six numbers of two digits with colons between them, to `to`; false, and the command has failed. */
function mac_of(call: Call, name: string, to: usize): bool {
  if (!call_string(call, name)) return false;
  let right = call.text_length == 17;
  for (let i: u32 = 0; right && i < 6; i++) {
    const at = call.text + i * 3;
    const value = (hex_of(load<u8>(at)) << 4) | hex_of(load<u8>(at + 1));
    right = value < 0x100 && (i == 5 || load<u8>(at + 2) == 0x3a);
    store<u8>(to + i, <u8>value);
  }
  // Groups are nobody's neighbour.
  right = right && (load<u8>(to) & 1) == 0;
  if (!right) call_fail(call, "'", call.text, call.text_length, "' is no hardware address");
  return right;
}

function network_set_address(call: Call): void {
  const dev = interface_of(call);
  if (dev === null) return;
  const address = ipv4_of(call, 'ip-address');
  if (address < 0) return;
  const prefix = call_number(call, 'prefix', 30);
  if (prefix < 0) return;
  const mask = mask_of(<u32>prefix);
  const host = <u32>address & ~mask;
  if (prefix == 0 || host == 0 || host == ~mask) return call_fail(call, 'No host can have this address');
  if (ip_set_address(dev, <u32>address, mask)) reply_put(call.reply, '{}');
  else call_fail(call, "Interface '", dev.name, 4, "' can not be opened");
}

function network_set_route(call: Call): void {
  const dev = interface_of(call);
  if (dev === null) return;
  const destination = ipv4_of(call, 'destination');
  if (destination < 0) return;
  const mask = call_has(call, 'mask') ? ipv4_of(call, 'mask') : 0;
  if (mask < 0) return;
  const gateway = ipv4_of(call, 'gateway');
  if (gateway < 0) return;
  const in_dev = in_dev_get(dev);
  if (destination != 0 || mask != 0) return call_fail(call, 'Only default routes are supported');
  if (in_dev === null || !inet_onlink(in_dev, <u32>gateway)) return call_fail(call, 'Gateway is not on the link');
  in_dev.ifa_gateway = <u32>gateway;
  reply_put(call.reply, '{}');
}

const hardware_address = memory.data(8, 8);

function network_set_neighbour(call: Call): void {
  const dev = interface_of(call);
  if (dev === null) return;
  const address = ipv4_of(call, 'ip-address');
  if (address < 0 || !mac_of(call, 'hardware-address', hardware_address)) return;
  const in_dev = in_dev_get(dev);
  if (in_dev === null || !inet_onlink(in_dev, <u32>address)) return call_fail(call, 'Neighbour is not on the link');
  if (neigh_set(dev, in_dev, <u32>address, hardware_address)) reply_put(call.reply, '{}');
  else call_fail(call, "Interface '", dev.name, 4, "' is not open");
}

/** Boot CPU, once. */
export function qga_commands_network_register(): void {
  qga_command_register(str('guest-network-get-interfaces'), str(''), guest_network_get_interfaces);
  qga_command_register(str('guest-network-get-route'), str(''), guest_network_get_route);
  qga_command_register(str('x-ferry-network-get-neighbours'), str(''), network_get_neighbours);
  qga_command_register(
    str('x-ferry-network-set-address'), str(' iface ip-address prefix '), network_set_address,
  );
  qga_command_register(
    str('x-ferry-network-set-route'), str(' iface destination mask gateway '), network_set_route,
  );
  qga_command_register(
    str('x-ferry-network-set-neighbour'), str(' iface ip-address hardware-address '), network_set_neighbour,
  );
}
