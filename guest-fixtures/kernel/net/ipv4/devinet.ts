// What an interface has once it has an IPv4 address, as struct in_device.
import { NotifierBlock } from '../../kernel/notifier';
import { kfree, kmalloc } from '../../mm/slab';
import { NETDEV_UNREGISTER, NetDevice, register_netdevice_notifier } from '../core/dev';

const inetdev_block = changetype<NotifierBlock>(memory.data(8, 8));

/** Addresses as they lie in memory. */
// @ts-ignore: decorator
@unmanaged export class InDevice {
  ifa_local: u32;
  ifa_mask: u32;
  /** The station that workloads on this interface talk to. */
  ifa_peer: u32;
  /** Who passes on what is for hosts beyond the link; 0: nobody. */
  ifa_gateway: u32;
  /** Neighbours on this link: see arp.ts. 0 while the interface is not started. */
  arp_table: usize;
  /** 1: the link is told of the address whenever the carrier comes, because another port of it may have had it. */
  arp_notify: u32;
}

/** The interface's IPv4 side; null while it has no address. */
// @ts-ignore: decorator
@inline export function in_dev_get(dev: NetDevice): InDevice | null { return changetype<InDevice | null>(dev.ip_ptr); }

/** The address that everybody on the interface's link has. */
// @ts-ignore: decorator
@inline export function ifa_broadcast(in_dev: InDevice): u32 { return in_dev.ifa_local | ~in_dev.ifa_mask; }

/** Whether `address` is on the interface's link. */
// @ts-ignore: decorator
@inline export function inet_onlink(in_dev: InDevice, address: u32): bool {
  return ((in_dev.ifa_local ^ address) & in_dev.ifa_mask) == 0;
}

/** Whom on the link a packet for `address` is given to: that itself, or the gateway; 0 if it can't get there. */
export function inet_nexthop(in_dev: InDevice, address: u32): u32 {
  return inet_onlink(in_dev, address) ? address : in_dev.ifa_gateway;
}

/** Gives an interface that has no address one. */
export function inetdev_init(dev: NetDevice, local: u32, mask: u32, peer: u32): InDevice {
  const in_dev = changetype<InDevice>(kmalloc(offsetof<InDevice>()));
  in_dev.ifa_local = local;
  in_dev.ifa_mask = mask;
  in_dev.ifa_peer = peer;
  dev.ip_ptr = changetype<usize>(in_dev);
  return in_dev;
}

function inetdev_event(event: u32, data: usize): void {
  const dev = changetype<NetDevice>(data);
  if (event != NETDEV_UNREGISTER || dev.ip_ptr == 0) return;
  kfree(dev.ip_ptr);
  dev.ip_ptr = 0;
}

/** Boot CPU, once. */
export function devinet_init(): void {
  register_netdevice_notifier(inetdev_block, inetdev_event);
}
