// net_failover: one interface out of two (drivers/net/net_failover.c, net/core/failover.c). A virtio device that offers
// STANDBY makes a master, and is its standby; another device with the same permanent address becomes its primary when it is
// registered, and carries the traffic while it has a link. Addresses are the master's.
import { NotifierBlock } from '../../kernel/notifier';
import { pr_err, pr_info } from '../../kernel/printk';
import { str } from '../../lib/string';
import { kfree, kmalloc } from '../../mm/slab';
import {
  IFF_UP,
  NETDEV_CHANGE,
  NETDEV_DOWN,
  NETDEV_REGISTER,
  NETDEV_UNREGISTER,
  NETDEV_UP,
  NetDevice,
  alloc_netdev,
  dev_close,
  dev_open,
  dev_queue_xmit,
  free_netdev,
  netdev_list,
  netif_carrier_off,
  netif_carrier_on,
  register_netdev,
  register_netdevice_notifier,
  unregister_netdev,
} from '../../net/core/dev';
import { ETH_ALEN, ether_addr_equal } from '../../net/ethernet/eth';
import { SkBuff, kfree_skb } from '../../net/skbuff';
import { Device } from '../base/device';

/** Of a master. */
// @ts-ignore: decorator
@unmanaged class NetFailoverInfo {
  /** NetDevice, or 0. */
  primary: usize;
  standby: usize;
}

const failover_block = changetype<NotifierBlock>(memory.data(8, 8));
const registered = memory.data(4, 4);

// @ts-ignore: decorator
@inline function nfo_info(master: NetDevice): NetFailoverInfo { return changetype<NetFailoverInfo>(master.priv); }

function is_failover(dev: NetDevice): bool { return dev.open == net_failover_open; }

/** As netdev_info has it: driver and address of the device, then the interface. */
function failover_info(master: NetDevice, slave: NetDevice, role: usize, what: usize): void {
  const parent = changetype<Device>(master.parent);
  pr_info('%s %S %S: failover %s:%S %s', parent.driver_name, parent.name, master.name, role, slave.name, what);
}

/** Started, and with a link. */
function net_failover_xmit_ready(slave: usize): bool {
  if (slave == 0) return false;
  const dev = changetype<NetDevice>(slave);
  return (dev.flags & IFF_UP) != 0 && dev.carrier != 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// The master as an interface

function net_failover_open(master: NetDevice): bool {
  const info = nfo_info(master);
  if (info.primary != 0) dev_open_once(changetype<NetDevice>(info.primary));
  if (info.standby != 0) dev_open_once(changetype<NetDevice>(info.standby));
  return true;
}

function dev_open_once(dev: NetDevice): void {
  if (dev.flags & IFF_UP) return;
  if (!dev_open(dev)) pr_err('%S: failed to open as a failover slave', dev.name);
}

function net_failover_close(master: NetDevice): void {
  const info = nfo_info(master);
  if (info.primary != 0) dev_close(changetype<NetDevice>(info.primary));
  if (info.standby != 0) dev_close(changetype<NetDevice>(info.standby));
}

/** By the primary if that can, else by the standby. */
function net_failover_start_xmit(skb: SkBuff, master: NetDevice): bool {
  const info = nfo_info(master);
  const slave = net_failover_xmit_ready(info.primary) ? info.primary : info.standby;
  if (!net_failover_xmit_ready(slave)) {
    master.tx_dropped++;
    kfree_skb(skb);
  } else if (!dev_queue_xmit(skb, changetype<NetDevice>(slave))) {
    master.tx_dropped++;
  }
  return true;
}

/** Slaves are told of packets themselves. */
function net_failover_xmit_flush(_master: NetDevice): void {}

/**
 * What a slave has received is the master's. What the standby hears while there is a primary is nobody's, whether that has a
 * link or not: the network may bring the same twice.
 */
function net_failover_handle_frame(skb: SkBuff, slave: NetDevice): NetDevice | null {
  const master = changetype<NetDevice>(slave.master);
  const info = nfo_info(master);
  if (changetype<usize>(slave) == info.standby && info.primary != 0) {
    master.rx_dropped++;
    return null;
  }
  skb.dev = slave.master;
  return master;
}

// ---------------------------------------------------------------------------------------------------------------------
// Slaves come and go

/** The link of the master is that of whoever can carry. */
function net_failover_slave_link_change(master: NetDevice): void {
  const info = nfo_info(master);
  const ready = net_failover_xmit_ready(info.primary) || net_failover_xmit_ready(info.standby);
  if (ready && master.carrier == 0) netif_carrier_on(master);
  if (!ready && master.carrier != 0) netif_carrier_off(master);
}

function failover_get_bymac(address: usize): NetDevice | null {
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    if (is_failover(dev) && ether_addr_equal(dev.perm_addr, address)) return dev;
  }
  return null;
}

/** Another interface with the permanent address of a master becomes its slave, if that has none of the kind yet. */
function failover_slave_register(slave: NetDevice): void {
  if (is_failover(slave)) return;
  const master = failover_get_bymac(slave.perm_addr);
  if (master === null) return;
  const info = nfo_info(master);
  const standby = slave.parent == master.parent;
  if ((standby ? info.standby : info.primary) != 0) {
    pr_err(
      '%S: %S attempting to register as slave dev when %s already present', master.name, slave.name,
      standby ? str('standby') : str('primary'),
    );
    return;
  }
  slave.mtu = master.mtu;
  slave.master = changetype<usize>(master);
  slave.rx_handler = net_failover_handle_frame;
  if (standby) info.standby = changetype<usize>(slave);
  else info.primary = changetype<usize>(slave);
  if (master.flags & IFF_UP) dev_open_once(slave);
  net_failover_slave_link_change(master);
  failover_info(master, slave, standby ? str('standby slave') : str('primary slave'), str('registered'));
}

/** It is closed already. */
function failover_slave_unregister(slave: NetDevice): void {
  const master = changetype<NetDevice>(slave.master);
  const info = nfo_info(master);
  const standby = changetype<usize>(slave) == info.standby;
  if (standby) info.standby = 0;
  else info.primary = 0;
  slave.rx_handler = null;
  slave.master = 0;
  // What was under way is lost with it; the master's numbers are those of its slaves.
  master.rx_dropped += slave.rx_dropped;
  master.tx_dropped += slave.tx_dropped;
  net_failover_slave_link_change(master);
  failover_info(master, slave, standby ? str('standby slave') : str('primary slave'), str('unregistered'));
}

function failover_event(event: u32, data: usize): void {
  const dev = changetype<NetDevice>(data);
  if (event == NETDEV_REGISTER) failover_slave_register(dev);
  else if (dev.master == 0) return;
  else if (event == NETDEV_UNREGISTER) failover_slave_unregister(dev);
  else if (event == NETDEV_UP || event == NETDEV_DOWN || event == NETDEV_CHANGE) {
    net_failover_slave_link_change(changetype<NetDevice>(dev.master));
  }
}

/**
 * Registers a master for `standby`, which is not registered yet, and becomes its standby when it is; null if there are too
 * many interfaces.
 */
export function net_failover_create(standby: NetDevice): NetDevice | null {
  if (load<u32>(registered) == 0) {
    store<u32>(registered, 1);
    register_netdevice_notifier(failover_block, failover_event);
  }
  const master = alloc_netdev();
  master.priv = kmalloc(offsetof<NetFailoverInfo>());
  master.parent = standby.parent;
  master.mtu = standby.mtu;
  memory.copy(master.dev_addr, standby.dev_addr, ETH_ALEN);
  master.open = net_failover_open;
  master.stop = net_failover_close;
  master.start_xmit = net_failover_start_xmit;
  master.xmit_flush = net_failover_xmit_flush;
  if (!register_netdev(master)) {
    net_failover_free(master);
    return null;
  }
  failover_info(master, master, str('master'), str('registered'));
  return master;
}

function net_failover_free(master: NetDevice): void {
  kfree(master.priv);
  free_netdev(master);
}

/** Its standby is gone. A primary goes on as an interface of its own. */
export function net_failover_destroy(master: NetDevice): void {
  const info = nfo_info(master);
  if (info.primary != 0) {
    dev_close(changetype<NetDevice>(info.primary));
    failover_slave_unregister(changetype<NetDevice>(info.primary));
  }
  unregister_netdev(master);
  failover_info(master, master, str('master'), str('unregistered'));
  net_failover_free(master);
}
