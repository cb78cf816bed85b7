// ARP (RFC 826) and the neighbours it finds. An entry is right until ARP says otherwise: every packet from a known
// neighbour brings it up to date, and an interface that loses its link forgets its own. An interface answers for its own
// address alone (arp_ignore=1 of Linux), and asks with it.
import { NotifierBlock } from '../../kernel/notifier';
import { spin_lock_irqsave, spin_unlock_irqrestore } from '../../kernel/spinlock';
import { NSEC_PER_SEC, ktime_get } from '../../kernel/time';
import { TimerList, mod_timer, timer_delete, timer_setup } from '../../kernel/timer';
import { get_be16, put_be16 } from '../../lib/byteorder';
import { kfree, kmalloc } from '../../mm/slab';
import {
  NETDEV_CHANGE,
  NETDEV_DOWN,
  NETDEV_NOTIFY_PEERS,
  NETDEV_PRE_UP,
  NetDevice,
  PacketType,
  dev_add_pack,
  dev_queue_xmit,
  register_netdevice_notifier,
} from '../core/dev';
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IP,
  ETH_ALEN,
  eth_broadcast_addr,
  eth_header,
  is_valid_ether_addr,
} from '../ethernet/eth';
import { InDevice, in_dev_get } from './devinet';
import { SkBuff, alloc_skb, kfree_skb, skb_put } from '../skbuff';

const ARPHRD_ETHER: u32 = 1;
const ARPOP_REQUEST: u32 = 1;
const ARPOP_REPLY: u32 = 2;
const ARP_BYTES: u32 = 28;
const AR_HRD: u32 = 0;
const AR_PRO: u32 = 2;
const AR_HLN: u32 = 4;
const AR_PLN: u32 = 5;
const AR_OP: u32 = 6;
const AR_SHA: u32 = 8;
const AR_SIP: u32 = 14;
const AR_THA: u32 = 18;
const AR_TIP: u32 = 24;

const NUD_NONE: u32 = 0;
const NUD_INCOMPLETE: u32 = 1;
const NUD_REACHABLE: u32 = 2;

/** Of one interface. */
const NEIGH_MAX: u32 = 16;
/** Packets that wait for one neighbour's address, as many as the longest datagram has fragments; the oldest gives way. */
const UNRES_QLEN: u32 = 48;
const RETRANS_TIME: u64 = NSEC_PER_SEC;
const MCAST_PROBES: u32 = 3;

// @ts-ignore: decorator
@unmanaged class Neighbour {
  dev: NetDevice;
  state: u32;
  /** As it lies in memory. */
  ip: u32;
  ha: usize;
  probes: u32;
  used: u64;
  /** UNRES_QLEN words: the packets that wait, oldest first. */
  queue: usize;
  queued: u32;
  timer: TimerList;
}

const table_lock = memory.data(4, 4);
const arp_packet_type = changetype<PacketType>(memory.data(16, 16));
const arp_netdev_block = changetype<NotifierBlock>(memory.data(8, 8));

// @ts-ignore: decorator
@inline function neigh_at(in_dev: InDevice, index: u32): Neighbour {
  return changetype<Neighbour>(load<usize>(in_dev.arp_table + (index << 2)));
}

function neigh_table_init(dev: NetDevice, in_dev: InDevice): void {
  in_dev.arp_table = kmalloc(NEIGH_MAX << 2);
  for (let i: u32 = 0; i < NEIGH_MAX; i++) {
    const neigh = changetype<Neighbour>(kmalloc(offsetof<Neighbour>()));
    neigh.dev = dev;
    neigh.ha = kmalloc(ETH_ALEN);
    neigh.queue = kmalloc(UNRES_QLEN << 2);
    neigh.timer = changetype<TimerList>(kmalloc(offsetof<TimerList>()));
    timer_setup(neigh.timer, neigh_timer_handler, changetype<usize>(neigh));
    store<usize>(in_dev.arp_table + (i << 2), changetype<usize>(neigh));
  }
}

/** The interface is stopped. */
function neigh_table_free(in_dev: InDevice): void {
  neigh_flush_dev(in_dev, true);
  for (let i: u32 = 0; i < NEIGH_MAX; i++) {
    const neigh = neigh_at(in_dev, i);
    kfree(changetype<usize>(neigh.timer));
    kfree(neigh.queue);
    kfree(neigh.ha);
    kfree(changetype<usize>(neigh));
  }
  kfree(in_dev.arp_table);
  in_dev.arp_table = 0;
}

/** The lock is held. */
function neigh_lookup(in_dev: InDevice, ip: u32): Neighbour | null {
  for (let i: u32 = 0; i < NEIGH_MAX; i++) {
    const neigh = neigh_at(in_dev, i);
    if (neigh.state != NUD_NONE && neigh.ip == ip) return neigh;
  }
  return null;
}

/** Drops what waits, and counts it. */
function neigh_purge(neigh: Neighbour): void {
  neigh.dev.tx_dropped += neigh.queued;
  for (let i: u32 = 0; i < neigh.queued; i++) kfree_skb(changetype<SkBuff>(load<usize>(neigh.queue + (i << 2))));
  neigh.queued = 0;
}

/** An entry for `ip`, which has none: a free one, or the one that was used longest ago. The lock is held. */
function neigh_create(in_dev: InDevice, ip: u32): Neighbour {
  let chosen = neigh_at(in_dev, 0);
  for (let i: u32 = 0; i < NEIGH_MAX; i++) {
    const neigh = neigh_at(in_dev, i);
    if (neigh.state == NUD_NONE) {
      chosen = neigh;
      break;
    }
    if (neigh.used < chosen.used) chosen = neigh;
  }
  neigh_purge(chosen);
  chosen.ip = ip;
  chosen.used = ktime_get();
  chosen.state = NUD_INCOMPLETE;
  chosen.probes = 0;
  return chosen;
}

function arp_send(dev: NetDevice, op: u32, target_ip: u32, destination: usize): void {
  const in_dev = in_dev_get(dev);
  if (in_dev === null) return;
  const skb = alloc_skb();
  const at = skb_put(skb, ARP_BYTES);
  put_be16(ARPHRD_ETHER, at + AR_HRD);
  put_be16(ETHERTYPE_IP, at + AR_PRO);
  store<u8>(at + AR_HLN, <u8>ETH_ALEN);
  store<u8>(at + AR_PLN, 4);
  put_be16(op, at + AR_OP);
  memory.copy(at + AR_SHA, dev.dev_addr, ETH_ALEN);
  store<u32>(at + AR_SIP, in_dev.ifa_local);
  if (op == ARPOP_REPLY) memory.copy(at + AR_THA, destination, ETH_ALEN);
  else memory.fill(at + AR_THA, 0, ETH_ALEN);
  store<u32>(at + AR_TIP, target_ip);
  eth_header(skb, dev, ETHERTYPE_ARP, destination);
  dev_queue_xmit(skb, dev);
}

/** Asks again, and gives up after MCAST_PROBES. */
function neigh_timer_handler(timer: TimerList): void {
  const neigh = changetype<Neighbour>(timer.data);
  const flags = spin_lock_irqsave(table_lock);
  const asking = neigh.state == NUD_INCOMPLETE;
  const again = asking && neigh.probes < MCAST_PROBES;
  if (again) neigh.probes++;
  else if (asking) {
    neigh.state = NUD_NONE;
    neigh_purge(neigh);
  }
  const ip = neigh.ip;
  spin_unlock_irqrestore(table_lock, flags);
  if (!again) return;
  arp_send(neigh.dev, ARPOP_REQUEST, ip, eth_broadcast_addr());
  mod_timer(timer, ktime_get() + RETRANS_TIME);
}

/** Begins to ask for `neigh`, if nobody has; the lock is not held. */
function neigh_probe(neigh: Neighbour, first: bool): void {
  if (!first) return;
  arp_send(neigh.dev, ARPOP_REQUEST, neigh.ip, eth_broadcast_addr());
  mod_timer(neigh.timer, ktime_get() + RETRANS_TIME);
}

/** The entry of `ip`, made if need be. The lock is held. */
function neigh_get(in_dev: InDevice, ip: u32): Neighbour {
  const known = neigh_lookup(in_dev, ip);
  const neigh = known !== null ? known : neigh_create(in_dev, ip);
  neigh.used = ktime_get();
  return neigh;
}

/** Whether this is the first probe of an entry that has to be asked for. The lock is held. */
function neigh_begin(neigh: Neighbour): bool {
  if (neigh.probes != 0) return false;
  neigh.probes = 1;
  return true;
}

/** Sends an IP packet to the interface's neighbour `ip`, once its address is known; false if it was dropped at once. */
export function neigh_output(skb: SkBuff, dev: NetDevice, in_dev: InDevice, ip: u32): bool {
  const flags = spin_lock_irqsave(table_lock);
  const neigh = neigh_get(in_dev, ip);
  if (neigh.state == NUD_REACHABLE) {
    eth_header(skb, dev, ETHERTYPE_IP, neigh.ha);
    spin_unlock_irqrestore(table_lock, flags);
    return dev_queue_xmit(skb, dev);
  }
  if (neigh.queued == UNRES_QLEN) {
    kfree_skb(changetype<SkBuff>(load<usize>(neigh.queue)));
    memory.copy(neigh.queue, neigh.queue + 4, (UNRES_QLEN - 1) << 2);
    neigh.queued--;
    dev.tx_dropped++;
  }
  store<usize>(neigh.queue + (neigh.queued << 2), changetype<usize>(skb));
  neigh.queued++;
  const first = neigh_begin(neigh);
  spin_unlock_irqrestore(table_lock, flags);
  neigh_probe(neigh, first);
  return true;
}

/** Whether the address of `ip` is known; asks for it if not. */
export function neigh_resolve(in_dev: InDevice, ip: u32): bool {
  const flags = spin_lock_irqsave(table_lock);
  const neigh = neigh_get(in_dev, ip);
  const reachable = neigh.state == NUD_REACHABLE;
  const first = !reachable && neigh_begin(neigh);
  spin_unlock_irqrestore(table_lock, flags);
  neigh_probe(neigh, first);
  return reachable;
}

/** Notes where `ip` is and sends what waited for it; one that is not known becomes so only with `create`. */
function neigh_update(dev: NetDevice, in_dev: InDevice, ip: u32, ha: usize, create: bool): void {
  const flags = spin_lock_irqsave(table_lock);
  let neigh = neigh_lookup(in_dev, ip);
  if (neigh === null && create) neigh = neigh_create(in_dev, ip);
  if (neigh === null) {
    spin_unlock_irqrestore(table_lock, flags);
    return;
  }
  memory.copy(neigh.ha, ha, ETH_ALEN);
  neigh.state = NUD_REACHABLE;
  timer_delete(neigh.timer);
  const count = neigh.queued;
  neigh.queued = 0;
  for (let i: u32 = 0; i < count; i++) {
    const skb = changetype<SkBuff>(load<usize>(neigh.queue + (i << 2)));
    eth_header(skb, dev, ETHERTYPE_IP, ha);
    dev_queue_xmit(skb, dev);
  }
  spin_unlock_irqrestore(table_lock, flags);
}

/** What neigh_save writes of each: where it is, and its address on the link. */
const NEIGH_KEPT_BYTES: usize = 12;

/** Writes the neighbours that are known to `at`, where there is room for all of a table; returns how many. */
export function neigh_save(in_dev: InDevice, at: usize): u32 {
  let count: u32 = 0;
  if (in_dev.arp_table == 0) return count;
  const flags = spin_lock_irqsave(table_lock);
  for (let i: u32 = 0; i < NEIGH_MAX; i++) {
    const neigh = neigh_at(in_dev, i);
    if (neigh.state != NUD_REACHABLE) continue;
    store<u32>(at + count * NEIGH_KEPT_BYTES, neigh.ip);
    memory.copy(at + count * NEIGH_KEPT_BYTES + 4, neigh.ha, ETH_ALEN);
    count++;
  }
  spin_unlock_irqrestore(table_lock, flags);
  return count;
}

/** Neighbours that are known. */
export function neigh_reachable(in_dev: InDevice): u32 {
  let count: u32 = 0;
  if (in_dev.arp_table == 0) return count;
  for (let i: u32 = 0; i < NEIGH_MAX; i++) count += <u32>(neigh_at(in_dev, i).state == NUD_REACHABLE);
  return count;
}

/** Knows the `count` neighbours again that neigh_save wrote to `at`. */
export function neigh_restore(dev: NetDevice, in_dev: InDevice, at: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const entry = at + i * NEIGH_KEPT_BYTES;
    neigh_update(dev, in_dev, load<u32>(entry), entry + 4, true);
  }
}

/** Knows that `ip` is at `ha`; false if the interface is not started. */
export function neigh_set(dev: NetDevice, in_dev: InDevice, ip: u32, ha: usize): bool {
  if (in_dev.arp_table == 0) return false;
  neigh_update(dev, in_dev, ip, ha, true);
  return true;
}

/** Who is where has to be asked again; `all` but those that are known, without. */
function neigh_flush_dev(in_dev: InDevice, all: bool): void {
  const flags = spin_lock_irqsave(table_lock);
  for (let i: u32 = 0; i < NEIGH_MAX; i++) {
    if (!all && neigh_at(in_dev, i).state == NUD_REACHABLE) continue;
    neigh_at(in_dev, i).state = NUD_NONE;
    timer_delete(neigh_at(in_dev, i).timer);
    neigh_purge(neigh_at(in_dev, i));
  }
  spin_unlock_irqrestore(table_lock, flags);
}

/**
 * What was asked while there was no link nobody has heard: it is asked again at once. (Linux waits for the entry's timer, so
 * that an interface whose driver starts anew under traffic may stay silent for a second.)
 */
function neigh_ask_again(in_dev: InDevice): void {
  for (let i: u32 = 0; i < NEIGH_MAX; i++) {
    const neigh = neigh_at(in_dev, i);
    const flags = spin_lock_irqsave(table_lock);
    const asking = neigh.state == NUD_INCOMPLETE && neigh.probes != 0;
    const ip = neigh.ip;
    spin_unlock_irqrestore(table_lock, flags);
    if (!asking) continue;
    arp_send(neigh.dev, ARPOP_REQUEST, ip, eth_broadcast_addr());
    mod_timer(neigh.timer, ktime_get() + RETRANS_TIME);
  }
}

/** An interface has its table as long as it is started. One that loses its link forgets its neighbours, and no other's. */
function arp_netdev_event(event: u32, data: usize): void {
  const dev = changetype<NetDevice>(data);
  const in_dev = in_dev_get(dev);
  if (in_dev === null) return;
  if (event == NETDEV_PRE_UP && in_dev.arp_table == 0) neigh_table_init(dev, in_dev);
  if (in_dev.arp_table == 0) return;
  // Its own address is what is asked for: an announcement that everybody hears, and nobody answers (RFC 5227, 3).
  if (event == NETDEV_NOTIFY_PEERS) arp_send(dev, ARPOP_REQUEST, in_dev.ifa_local, eth_broadcast_addr());
  // With the carrier gone nobody is known any more; and what was asked before it came was heard by nobody.
  if (event == NETDEV_CHANGE) neigh_flush_dev(in_dev, dev.carrier == 0);
  if (event == NETDEV_CHANGE && dev.carrier != 0) neigh_ask_again(in_dev);
  if (event == NETDEV_CHANGE && dev.carrier != 0 && in_dev.arp_notify != 0) {
    arp_send(dev, ARPOP_REQUEST, in_dev.ifa_local, eth_broadcast_addr());
  }
  if (event == NETDEV_DOWN) neigh_table_free(in_dev);
}

/** Boot CPU, once. */
export function arp_init(): void {
  dev_add_pack(arp_packet_type, ETHERTYPE_ARP, arp_rcv);
  register_netdevice_notifier(arp_netdev_block, arp_netdev_event);
}

/** Whether the `bytes` bytes at `at` are ARP of IPv4 on Ethernet. */
function arp_is_valid(at: usize, bytes: u32): bool {
  return (
    bytes >= ARP_BYTES && get_be16(at + AR_HRD) == ARPHRD_ETHER && get_be16(at + AR_PRO) == ETHERTYPE_IP &&
    load<u8>(at + AR_HLN) == ETH_ALEN && load<u8>(at + AR_PLN) == 4 && is_valid_ether_addr(at + AR_SHA)
  );
}

function arp_rcv(skb: SkBuff, dev: NetDevice): void {
  const in_dev = in_dev_get(dev);
  const at = skb.data;
  if (in_dev === null || in_dev.arp_table == 0 || !arp_is_valid(at, skb.len)) dev.rx_dropped++;
  else {
    const sender = load<u32>(at + AR_SIP);
    const for_us = load<u32>(at + AR_TIP) == in_dev.ifa_local;
    if (sender != 0 && sender != in_dev.ifa_local) neigh_update(dev, in_dev, sender, at + AR_SHA, for_us);
    if (for_us && get_be16(at + AR_OP) == ARPOP_REQUEST) arp_send(dev, ARPOP_REPLY, sender, at + AR_SHA);
  }
  kfree_skb(skb);
}
