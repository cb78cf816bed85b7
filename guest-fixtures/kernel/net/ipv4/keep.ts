// What the network keeps of an interface whose device is away: its address, its gateway and its neighbours, by the device's permanent
// address. Linux leaves this to programs; here the host asks for it, before it takes the device, and a device that comes with
// that address gets it all back.
import { NotifierBlock } from '../../kernel/notifier';
import { pr_info } from '../../kernel/printk';
import { ether_addr_equal } from '../ethernet/eth';
import { neigh_restore, neigh_save } from './arp';
import { InDevice, in_dev_get, inetdev_init } from './devinet';
import { NETDEV_GOING_DOWN, NETDEV_MAX, NetDevice, dev_open, register_netdevice_notifier } from '../core/dev';

/** An interface that is away. */
// @ts-ignore: decorator
@unmanaged class KeptInterface {
  /** 1: what follows is of an interface that is away. */
  kept: u32;
  /** As in InDevice. */
  ifa_local: u32;
  ifa_mask: u32;
  ifa_peer: u32;
  ifa_gateway: u32;
  neighbours: u32;
}

/** Behind it: the permanent address, in eight bytes, and the neighbours. */
const MAC_AT: usize = 24;
const NEIGHBOURS_AT: usize = 32;
const ENTRY_BYTES: usize = 256;

const kept = memory.data(8 * 256, 16);
/** So many of those that go down next are to be kept. */
const asked = memory.data(4, 4);
const keep_block = changetype<NotifierBlock>(memory.data(8, 8));

// @ts-ignore: decorator
@inline function kept_at(index: u32): KeptInterface {
  return changetype<KeptInterface>(kept + index * ENTRY_BYTES);
}

/** Of the device with the address `mac`; null if there is nothing. */
function kept_of(mac: usize): KeptInterface | null {
  for (let i: u32 = 0; i < NETDEV_MAX; i++) {
    const entry = kept_at(i);
    if (entry.kept != 0 && ether_addr_equal(changetype<usize>(entry) + MAC_AT, mac)) return entry;
  }
  return null;
}

/** Where to keep what is to be kept of `mac`; null if there is no room. */
function room_for(mac: usize): KeptInterface | null {
  const same = kept_of(mac);
  if (same !== null) return same;
  for (let i: u32 = 0; i < NETDEV_MAX; i++) {
    if (kept_at(i).kept == 0) return kept_at(i);
  }
  return null;
}

function keep_event(event: u32, data: usize): void {
  const dev = changetype<NetDevice>(data);
  const in_dev = in_dev_get(dev);
  if (event != NETDEV_GOING_DOWN || load<u32>(asked) == 0 || in_dev === null) return;
  const entry = room_for(dev.dev_addr);
  if (entry === null) return;
  store<u32>(asked, load<u32>(asked) - 1);
  entry.kept = 1;
  entry.ifa_local = in_dev.ifa_local;
  entry.ifa_mask = in_dev.ifa_mask;
  entry.ifa_peer = in_dev.ifa_peer;
  entry.ifa_gateway = in_dev.ifa_gateway;
  memory.copy(changetype<usize>(entry) + MAC_AT, dev.dev_addr, 6);
  entry.neighbours = neigh_save(in_dev, changetype<usize>(entry) + NEIGHBOURS_AT);
}

/** Gives `dev` back what was kept of it, and starts it; false if nothing was. With the hot-plug lock. */
export function netdev_restore(dev: NetDevice): bool {
  const entry = kept_of(dev.dev_addr);
  if (entry === null) return false;
  entry.kept = 0;
  const in_dev = inetdev_init(dev, entry.ifa_local, entry.ifa_mask, entry.ifa_peer);
  in_dev.ifa_gateway = entry.ifa_gateway;
  in_dev.arp_notify = 1;
  if (dev_open(dev)) neigh_restore(dev, in_dev, changetype<usize>(entry) + NEIGHBOURS_AT, entry.neighbours);
  pr_info(
    '%S: ipaddr=%pI4 and %u neighbours are back', dev.name, changetype<usize>(in_dev) + offsetof<InDevice>('ifa_local'),
    entry.neighbours,
  );
  return true;
}

/** The next interface that goes down is to come back as it was. With the hot-plug lock. */
export function netdev_keep_next(): void {
  store<u32>(asked, load<u32>(asked) + 1);
}

/** Boot CPU, once. */
export function netdev_keep_init(): void {
  register_netdevice_notifier(keep_block, keep_event);
}
