// Network devices and the way of packets between them and the protocols.
import { NotifierBlock, NotifierHead, notifier_call_chain, notifier_chain_register } from '../../kernel/notifier';
import { BUG_ON } from '../../kernel/panic';
import { CpuData, this_cpu } from '../../kernel/percpu';
import { local_irq_restore, local_irq_save } from '../../asm/irqflags';
import { msleep } from '../../kernel/sched';
import { NET_RX_SOFTIRQ, open_softirq, raise_softirq } from '../../kernel/softirq';
import { spin_lock_irqsave, spin_unlock_irqrestore } from '../../kernel/spinlock';
import { NSEC_PER_MSEC, ktime_get } from '../../kernel/time';
import { INIT_LIST_HEAD, ListHead, list_add, list_add_tail, list_del_init, list_empty } from '../../lib/list';
import { scnprintf } from '../../lib/vsprintf';
import { kfree, kmalloc } from '../../mm/slab';
import { PACKET_OTHERHOST, SkBuff, kfree_skb } from '../skbuff';

/** Packets that one poll of one device may take. */
export const NAPI_POLL_WEIGHT: u32 = 64;
/** Packets, and time, of one soft interrupt; the rest waits for the next. */
const NETDEV_BUDGET: u32 = 300;
const NETDEV_BUDGET_TIME: u64 = 2 * NSEC_PER_MSEC;

export const IFF_UP: u32 = 1;

/** On the list of all devices while it is registered. */
// @ts-ignore: decorator
@unmanaged export class NetDevice extends ListHead {
  /** Serialises start_xmit. */
  tx_lock: u32;
  /** N of `ethN`. */
  ifindex: u32;
  flags: u32;
  /** 1 while the driver has a link. */
  carrier: u32;
  /** 1 while the driver's ring is full. */
  tx_stopped: u32;
  /** 1 while the driver has let go of the device: it opens it by itself once it has it again. */
  detached: u32;
  mtu: u32;
  /** Bytes of the link's header. */
  hard_header_len: u32;
  /** `eth0` with a NUL. */
  name: usize;
  /** Six bytes. */
  dev_addr: usize;
  /** The address that it had when it was registered: by it others know the device again. */
  perm_addr: usize;
  /** Its InDevice (net/ipv4/devinet); 0 while it has no address. */
  ip_ptr: usize;
  /** The driver's own. */
  priv: usize;
  /** The Device that it is the network side of; 0 for one without. */
  parent: usize;
  /** The NetDevice that it is a slave of, and what of that its packets are for: null for nobody. 0 for most. */
  master: usize;
  rx_handler: ((skb: SkBuff, dev: NetDevice) => NetDevice | null) | null;
  open: (dev: NetDevice) => bool;
  /** Undoes open. Also of a device that does not answer any more. */
  stop: (dev: NetDevice) => void;
  /** Takes the packet, or returns false if there is no room: it is then the caller's still. */
  start_xmit: (skb: SkBuff, dev: NetDevice) => bool;
  /** Tells the device of packets that start_xmit has not told it of, because netdev_xmit_more() said that more come. */
  xmit_flush: (dev: NetDevice) => void;
  rx_packets: u64;
  rx_bytes: u64;
  rx_dropped: u64;
  rx_errors: u64;
  /** Packets whose checksum the device found wrong: the protocols judge again. */
  rx_csum_errors: u64;
  tx_packets: u64;
  tx_bytes: u64;
  tx_dropped: u64;
}

const NAPI_STATE_SCHED: u32 = 1;
const NAPI_STATE_DISABLE: u32 = 2;

// @ts-ignore: decorator
@unmanaged export class NapiStruct extends ListHead {
  /** NAPI_STATE_SCHED: it is on a poll list or being polled. */
  state: u32;
  /** Takes up to `budget` packets and returns how many; with fewer it has called napi_complete_done. */
  poll: (napi: NapiStruct, budget: u32) => u32;
  data: usize;
}

// ---------------------------------------------------------------------------------------------------------------------
// What others hear of devices, and how packets reach protocols

export const NETDEV_UP: u32 = 0x1;
export const NETDEV_DOWN: u32 = 0x2;
/** The carrier has come or gone. */
export const NETDEV_CHANGE: u32 = 0x4;
export const NETDEV_REGISTER: u32 = 0x5;
/** About to be closed; all of it still works. */
export const NETDEV_GOING_DOWN: u32 = 0x9;
/** Closed, and no packet has to do with it any more: the last that is heard of it. */
export const NETDEV_UNREGISTER: u32 = 0x6;
/** About to be opened. */
export const NETDEV_PRE_UP: u32 = 0xd;
/** Whoever has addresses on it is to tell the network where it is. */
export const NETDEV_NOTIFY_PEERS: u32 = 0x13;

const netdev_chain = changetype<NotifierHead>(memory.data(4, 4));

/** Has `call` called with each event (NETDEV_*) and the NetDevice that it happened to. */
export function register_netdevice_notifier(block: NotifierBlock, call: (event: u32, dev: usize) => void): void {
  notifier_chain_register(netdev_chain, block, call);
}

function call_netdevice_notifiers(event: u32, dev: NetDevice): void {
  notifier_call_chain(netdev_chain, event, changetype<usize>(dev));
}

/** A protocol above the link. */
// @ts-ignore: decorator
@unmanaged export class PacketType {
  /** EtherType, host byte order. */
  type: u32;
  /** Gets each packet of that type, starting at its network header, and frees it. */
  func: (skb: SkBuff, dev: NetDevice) => void;
  /** Next PacketType, or 0. */
  next: usize;
}

const ptype_base = memory.data(4, 4);

/** Boot CPU: packets of the EtherType `type` go to `func`; what was added last is looked at first. */
export function dev_add_pack(pt: PacketType, type: u32, func: (skb: SkBuff, dev: NetDevice) => void): void {
  pt.type = type;
  pt.func = func;
  pt.next = load<usize>(ptype_base);
  store<usize>(ptype_base, changetype<usize>(pt));
}

// ---------------------------------------------------------------------------------------------------------------------
// Devices

/** All registered devices, in the order of their numbers. Only CPU 0 has to do with the network, so no lock guards it. */
const dev_base = changetype<ListHead>(memory.data(16, 16));

/** Devices that there may be at once. */
export const NETDEV_MAX: u32 = 8;

/** Head of the list of all NetDevice. */
// @ts-ignore: decorator
@inline export function netdev_list(): ListHead { return dev_base; }

// @ts-ignore: decorator
@inline export function have_netdev(): bool { return !list_empty(dev_base); }

/** The device with the number `ifindex`, or null. */
export function dev_get_by_index(ifindex: u32): NetDevice | null {
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    if (dev.ifindex == ifindex) return dev;
  }
  return null;
}

// @ts-ignore: decorator
@inline function tx_lock(dev: NetDevice): usize { return changetype<usize>(dev) + offsetof<NetDevice>('tx_lock'); }

export function alloc_netdev(): NetDevice {
  const dev = changetype<NetDevice>(kmalloc(offsetof<NetDevice>()));
  dev.dev_addr = kmalloc(6);
  dev.perm_addr = kmalloc(6);
  dev.name = kmalloc(16);
  dev.mtu = 1500;
  dev.hard_header_len = 14;
  return dev;
}

/** Gives the device the lowest free number and with it its name; false if there are too many. */
export function register_netdev(dev: NetDevice): bool {
  let index: u32 = 0;
  let before: ListHead = dev_base;
  while (before.next != dev_base && changetype<NetDevice>(before.next).ifindex == index) {
    before = before.next;
    index++;
  }
  if (index == NETDEV_MAX) return false;
  dev.ifindex = index;
  store<u8>(dev.name + scnprintf(dev.name, 15, 'eth%u', index), 0);
  memory.copy(dev.perm_addr, dev.dev_addr, 6);
  const flags = local_irq_save();
  list_add(dev, before);
  local_irq_restore(flags);
  call_netdevice_notifiers(NETDEV_REGISTER, dev);
  return true;
}

/** Closes the device and takes it out: nothing of the network knows it afterwards. Task context. */
export function unregister_netdev(dev: NetDevice): void {
  dev_close(dev);
  call_netdevice_notifiers(NETDEV_UNREGISTER, dev);
  const flags = local_irq_save();
  list_del_init(dev);
  local_irq_restore(flags);
}

/** Frees a device that is not, or no longer, registered. */
export function free_netdev(dev: NetDevice): void {
  kfree(dev.dev_addr);
  kfree(dev.perm_addr);
  kfree(dev.name);
  kfree(changetype<usize>(dev));
}

/** Starts the device, at once or when it is attached again; false if its driver could not. */
export function dev_open(dev: NetDevice): bool {
  call_netdevice_notifiers(NETDEV_PRE_UP, dev);
  if (dev.detached == 0 && !dev.open(dev)) {
    call_netdevice_notifiers(NETDEV_DOWN, dev);
    return false;
  }
  dev.flags |= IFF_UP;
  call_netdevice_notifiers(NETDEV_UP, dev);
  return true;
}

/** Stops the device, if it is started. Task context. */
export function dev_close(dev: NetDevice): void {
  if ((dev.flags & IFF_UP) == 0) return;
  call_netdevice_notifiers(NETDEV_GOING_DOWN, dev);
  dev.flags &= ~IFF_UP;
  if (dev.detached == 0) dev.stop(dev);
  call_netdevice_notifiers(NETDEV_DOWN, dev);
}

/** The driver lets go of the device, which it has stopped if it was started. */
export function netif_device_detach(dev: NetDevice): void {
  dev.detached = 1;
}

/** The driver has the device again, as after power-on, and starts it if that is wanted: IFF_UP. */
export function netif_device_attach(dev: NetDevice): void {
  dev.detached = 0;
}

export function netif_carrier_on(dev: NetDevice): void {
  dev.carrier = 1;
  call_netdevice_notifiers(NETDEV_CHANGE, dev);
}

export function netif_carrier_off(dev: NetDevice): void {
  dev.carrier = 0;
  call_netdevice_notifiers(NETDEV_CHANGE, dev);
}

/** The network may have it in another place than it is. */
export function netdev_notify_peers(dev: NetDevice): void { call_netdevice_notifiers(NETDEV_NOTIFY_PEERS, dev); }

// @ts-ignore: decorator
@inline export function netif_stop_queue(dev: NetDevice): void { dev.tx_stopped = 1; }
// @ts-ignore: decorator
@inline export function netif_wake_queue(dev: NetDevice): void { dev.tx_stopped = 0; }

/**
 * From here to netif_tx_burst_end this CPU sends several packets in a row, and the device needs to be told of them
 * once: what a doorbell costs is far more than what a packet does. May be nested, as by an interrupt.
 */
export function netif_tx_burst_begin(): void { this_cpu().xmit_more++; }

export function netif_tx_burst_end(): void {
  if (--this_cpu().xmit_more != 0) return;
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    const flags = spin_lock_irqsave(tx_lock(dev));
    dev.xmit_flush(dev);
    spin_unlock_irqrestore(tx_lock(dev), flags);
  }
}

/** For start_xmit: whether this CPU will send more, or call xmit_flush, at once. */
export function netdev_xmit_more(): bool { return this_cpu().xmit_more != 0; }

/** Sends a whole frame, or drops and counts it: false then. Callable from task and soft interrupt context. */
export function dev_queue_xmit(skb: SkBuff, dev: NetDevice): bool {
  const flags = spin_lock_irqsave(tx_lock(dev));
  const length = skb.len;
  const sent = dev.carrier != 0 && dev.tx_stopped == 0 && dev.start_xmit(skb, dev);
  if (sent) {
    dev.tx_packets++;
    dev.tx_bytes += length;
  } else {
    dev.tx_dropped++;
  }
  spin_unlock_irqrestore(tx_lock(dev), flags);
  if (!sent) kfree_skb(skb);
  return sent;
}

/** A packet from a driver's poll, which has taken the link's header off (eth_type_trans): to its protocol. */
export function netif_receive_skb(skb: SkBuff, dev: NetDevice): void {
  dev.rx_packets++;
  dev.rx_bytes += skb.len + dev.hard_header_len;
  const handler = dev.rx_handler;
  if (handler !== null) {
    const master = handler(skb, dev);
    if (master !== null) return netif_receive_skb(skb, master);
    skb.pkt_type = PACKET_OTHERHOST;
  }
  if (skb.pkt_type != PACKET_OTHERHOST) {
    for (let at = load<usize>(ptype_base); at != 0; at = changetype<PacketType>(at).next) {
      if (changetype<PacketType>(at).type != skb.protocol) continue;
      changetype<PacketType>(at).func(skb, dev);
      return;
    }
  }
  dev.rx_dropped++;
  kfree_skb(skb);
}

// ---------------------------------------------------------------------------------------------------------------------
// NAPI

// @ts-ignore: decorator
@inline function state_word(napi: NapiStruct): usize { return changetype<usize>(napi) + offsetof<NapiStruct>('state'); }

/** The instance starts disabled. */
export function netif_napi_add(napi: NapiStruct, poll: (napi: NapiStruct, budget: u32) => u32, data: usize): void {
  INIT_LIST_HEAD(napi);
  napi.poll = poll;
  napi.data = data;
  napi.state = NAPI_STATE_SCHED | NAPI_STATE_DISABLE;
}

export function napi_enable(napi: NapiStruct): void {
  BUG_ON(napi.state != (NAPI_STATE_SCHED | NAPI_STATE_DISABLE), 'napi_enable: is enabled already');
  atomic.store<u32>(state_word(napi), 0);
}

/** Returns when the instance is not being polled and won't be. Task context only. */
export function napi_disable(napi: NapiStruct): void {
  while (atomic.cmpxchg<u32>(state_word(napi), 0, NAPI_STATE_SCHED | NAPI_STATE_DISABLE) != 0) msleep(1);
}

/** Interrupt handler: has this CPU poll the instance. */
export function napi_schedule(napi: NapiStruct): void {
  if (atomic.cmpxchg<u32>(state_word(napi), 0, NAPI_STATE_SCHED) != 0) return;
  const flags = local_irq_save();
  list_add_tail(napi, this_cpu().poll_head);
  raise_softirq(NET_RX_SOFTIRQ);
  local_irq_restore(flags);
}

/** From within poll: all done, interrupts may come again. */
export function napi_complete_done(napi: NapiStruct): void {
  atomic.store<u32>(state_word(napi), 0);
}

/** What the packets of one soft interrupt are answered with goes out as a burst. */
function net_rx_action(): void {
  netif_tx_burst_begin();
  net_rx_poll();
  netif_tx_burst_end();
}

function net_rx_poll(): void {
  const cpu: CpuData = this_cpu();
  const head = cpu.poll_head;
  const end = ktime_get() + NETDEV_BUDGET_TIME;
  let budget: i32 = NETDEV_BUDGET;
  for (;;) {
    const flags = local_irq_save();
    const empty = list_empty(head);
    const napi = changetype<NapiStruct>(head.next);
    if (!empty) list_del_init(napi);
    local_irq_restore(flags);
    if (empty) return;
    const work = napi.poll(napi, NAPI_POLL_WEIGHT);
    if (work == NAPI_POLL_WEIGHT) {
      const again = local_irq_save();
      list_add_tail(napi, head);
      local_irq_restore(again);
    }
    budget -= <i32>work;
    if (budget <= 0 || ktime_get() >= end) {
      const last = local_irq_save();
      if (!list_empty(head)) raise_softirq(NET_RX_SOFTIRQ);
      local_irq_restore(last);
      return;
    }
  }
}

/** Boot CPU, once. */
export function net_dev_init(): void {
  INIT_LIST_HEAD(dev_base);
  open_softirq(NET_RX_SOFTIRQ, net_rx_action);
}
