// Addresses from the command line: one `ip=` for each interface, in the form of Linux:
// `ip=<client>[:<server>:<gateway>:<netmask>:<hostname>:<device>[:...]]`. The server is the station that workloads on this
// interface talk to; without a device it is eth0's. Host name and whatever follows the device are read over.
import { hotplug_lock, lock_device_hotplug, unlock_device_hotplug } from '../../kernel/hotplug';
import { NotifierBlock } from '../../kernel/notifier';
import { param_each, param_ipv4, param_malformed } from '../../kernel/params';
import { pr_err, pr_info, pr_warn } from '../../kernel/printk';
import { INIT_WORK, WorkStruct, schedule_work } from '../../kernel/workqueue';
import { in4_pton } from '../../lib/inet';
import {
  NETDEV_MAX,
  NETDEV_REGISTER,
  NetDevice,
  dev_get_by_index,
  dev_open,
  netdev_notify_peers,
  netdev_list,
  register_netdevice_notifier,
} from '../core/dev';
import { InDevice, in_dev_get, inet_onlink, inetdev_init } from './devinet';
import { netdev_restore } from './keep';

/** 10.0.0.2, as it lies in memory: eth0's, and each further interface has the next. */
const DEFAULT_IP: u32 = 0x0200_000a;
const LAST_BYTE: u32 = 0x0100_0000;
/** 10.0.0.1 */
const DEFAULT_PEER: u32 = 0x0100_000a;
/** 255.255.255.0 */
const DEFAULT_NETMASK: u32 = 0x00ff_ffff;

// Fields of `ip=`.
const CLIENT: u32 = 0;
const SERVER: u32 = 1;
const GATEWAY: u32 = 2;
const NETMASK: u32 = 3;
const DEVICE: u32 = 5;

/** What is known of one interface before it is there. Addresses as they lie in memory. */
// @ts-ignore: decorator
@unmanaged class IpConfig {
  address: u32;
  netmask: u32;
  peer: u32;
  /** 0: there is none. */
  gateway: u32;
  /** 1 if the command line names the interface. */
  named: u32;
}

const ip_config_work = changetype<WorkStruct>(memory.data(64, 16));
const ip_config_block = changetype<NotifierBlock>(memory.data(8, 8));
/** NETDEV_MAX of them. */
const configs = memory.data(8 * 20, 16);

// @ts-ignore: decorator
@inline function config_of(ifindex: u32): IpConfig {
  return changetype<IpConfig>(configs + ifindex * offsetof<IpConfig>());
}

function malformed(): void { param_malformed('ip'); }

/** Where the field that starts at `at` ends. */
function field_end(at: usize, end: usize): usize {
  while (at < end && load<u8>(at) != 0x3a) at++;
  return at;
}

/** Start of field number `index`, or `end` if there are fewer. */
function field_at(value: usize, end: usize, index: u32): usize {
  let at = value;
  for (; index != 0 && at < end; index--) at = min(field_end(at, end) + 1, end);
  return at;
}

/** The address in a field; `fallback` if it is empty. */
function field_ipv4(value: usize, end: usize, index: u32, fallback: u32): u32 {
  const at = field_at(value, end, index);
  const length = <u32>(field_end(at, end) - at);
  if (length == 0) return fallback;
  const address = in4_pton(at, length);
  if (address < 0) malformed();
  return <u32>address;
}

/** Number of the interface in the device field: `ethN`; eth0 if it is empty. */
function field_ifindex(value: usize, end: usize): u32 {
  const at = field_at(value, end, DEVICE);
  const length = <u32>(field_end(at, end) - at);
  if (length == 0) return 0;
  const digit = length == 4 ? <u32>load<u8>(at + 3) - 0x30 : NETDEV_MAX;
  if (digit >= NETDEV_MAX || (load<u32>(at) & 0xff_ffff) != 0x68_7465) malformed();
  return digit;
}

/** Whether the mask's ones come first, and leave room for hosts. */
function is_netmask(mask: u32): bool {
  const zeros = ~bswap<u32>(mask);
  return (zeros & (zeros + 1)) == 0 && zeros > 1 && mask != 0;
}

/** One `ip=` of the command line. Of several for the same interface the last counts. */
function ip_auto_config_setup(value: usize, length: u32): void {
  const end = value + length;
  const ifindex = field_ifindex(value, end);
  const config = config_of(ifindex);
  config.address = field_ipv4(value, end, CLIENT, config.address);
  config.peer = field_ipv4(value, end, SERVER, config.peer);
  config.gateway = field_ipv4(value, end, GATEWAY, config.gateway);
  config.netmask = field_ipv4(value, end, NETMASK, config.netmask);
  config.named = 1;
  const host = config.address & ~config.netmask;
  if (!is_netmask(config.netmask) || host == 0 || host == ~config.netmask) malformed();
}

/** Gives `dev` its address and starts it; `notify`: its link is told. */
function ip_setup_if(dev: NetDevice, notify: u32): void {
  const config = config_of(dev.ifindex);
  const in_dev = inetdev_init(dev, config.address, config.netmask, config.peer);
  in_dev.arp_notify = notify;
  if (config.gateway != 0 && inet_onlink(in_dev, config.gateway)) in_dev.ifa_gateway = config.gateway;
  else if (config.gateway != 0) pr_warn('IP-Config: gateway of %S is not on its link', dev.name);
  if (!dev_open(dev)) {
    pr_err('IP-Config: Failed to open %S', dev.name);
    return;
  }
  const at = changetype<usize>(in_dev);
  pr_info('IP-Config: Complete:');
  pr_info(
    '     device=%S, hwaddr=%pM, ipaddr=%pI4, mask=%pI4, peer=%pI4', dev.name, dev.dev_addr,
    at + offsetof<InDevice>('ifa_local'), at + offsetof<InDevice>('ifa_mask'), at + offsetof<InDevice>('ifa_peer'),
  );
}

/** Each interface that has no address gets it and is started. A slave's address is its master's. */
function ip_setup_all(notify: u32): void {
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    if (dev.ip_ptr == 0 && dev.master == 0 && !netdev_restore(dev)) ip_setup_if(dev, notify);
  }
}

/** Gives `dev`, whatever it had, this address, starts it if need be, and tells its link; false if it does not start. */
export function ip_set_address(dev: NetDevice, address: u32, netmask: u32): bool {
  const in_dev = in_dev_get(dev);
  if (in_dev === null) {
    inetdev_init(dev, address, netmask, config_of(dev.ifindex).peer).arp_notify = 1;
    return dev_open(dev);
  }
  if (in_dev.ifa_local == address && in_dev.ifa_mask == netmask) return true;
  in_dev.ifa_local = address;
  in_dev.ifa_mask = netmask;
  in_dev.arp_notify = 1;
  if (in_dev.ifa_gateway != 0 && !inet_onlink(in_dev, in_dev.ifa_gateway)) in_dev.ifa_gateway = 0;
  netdev_notify_peers(dev);
  return true;
}

function ip_config_work_fn(_work: WorkStruct): void {
  ip_setup_all(1);
}

/** An interface that comes later is set up as soon as its driver has done with it. */
function ip_config_event(event: u32, _dev: usize): void {
  if (event == NETDEV_REGISTER) schedule_work(ip_config_work);
}

/**
 * Boot CPU, once the drivers have found their devices: gives each interface an address and starts it, and from then on
 * each that comes later.
 */
export function ip_auto_config(): void {
  const peer = param_ipv4('peer', DEFAULT_PEER);
  for (let i: u32 = 0; i < NETDEV_MAX; i++) {
    const config = config_of(i);
    config.address = DEFAULT_IP + i * LAST_BYTE;
    config.netmask = DEFAULT_NETMASK;
    config.peer = peer;
  }
  param_each('ip', ip_auto_config_setup);
  lock_device_hotplug();
  ip_setup_all(0);
  unlock_device_hotplug();
  for (let i: u32 = 0; i < NETDEV_MAX; i++) {
    if (config_of(i).named != 0 && dev_get_by_index(i) === null) pr_warn("IP-Config: Device `eth%u' not found", i);
  }
  INIT_WORK(ip_config_work, ip_config_work_fn, 0, hotplug_lock());
  register_netdevice_notifier(ip_config_block, ip_config_event);
}
