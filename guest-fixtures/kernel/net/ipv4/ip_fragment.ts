// Reassembly (RFC 791, RFC 815): fragments wait in a queue for the rest of their datagram, sorted by offset. What can be
// asked of us is bounded: queues, fragments that wait, and the time that they do. Fragments that overlap are somebody's
// attempt to say two things at once: nothing of their datagram is believed (RFC 5722 for IPv6, and Linux for both).
import { NotifierBlock } from '../../kernel/notifier';
import { spin_lock_irqsave, spin_unlock_irqrestore } from '../../kernel/spinlock';
import { NSEC_PER_SEC, ktime_get } from '../../kernel/time';
import { TimerList, mod_timer, timer_delete, timer_setup } from '../../kernel/timer';
import { get_be16, put_be16 } from '../../lib/byteorder';
import { INIT_LIST_HEAD, ListHead, list_add, list_del_init, list_empty } from '../../lib/list';
import { NETDEV_DOWN, NetDevice, register_netdevice_notifier } from '../core/dev';
import { SkBuff, kfree_skb, skb_pull, skb_put, try_alloc_skb } from '../skbuff';
import { ICMP_EXC_FRAGTIME, ICMP_TIME_EXCEEDED, icmp_send } from './icmp';
import { IP_DADDR, IP_FRAG_OFF, IP_ID, IP_LEN_MAX, IP_MF, IP_OFFSET, IP_PROTOCOL, IP_SADDR, IP_TOT_LEN } from './ip';
import { SNMP_INC, SnmpMib } from './snmp';

/** Datagrams that are put together at once; the one that has waited longest gives way. */
const QUEUES_MAX: u32 = 16;
/** Fragments that wait in all queues, of 2 KiB each: enough for two of the longest datagrams. */
const FRAGMENTS_MAX: u32 = 128;
const IP_FRAG_TIME: u64 = 30 * NSEC_PER_SEC;

/** Fragments of one datagram. */
// @ts-ignore: decorator
@unmanaged class Ipq {
  /** What belongs together has these in common. `dev` is 0 while the queue is free. */
  dev: usize;
  saddr: u32;
  daddr: u32;
  id: u32;
  protocol: u32;
  /** Where the datagram ends, 0 while that is not known; and bytes that are here. */
  len: u32;
  meat: u32;
  /** When it began. */
  stamp: u64;
  /** Its SkBuffs, by offset (skb.cb). */
  fragments: ListHead;
  timer: TimerList;
}

const QUEUE_BYTES: u32 = 64;
const TIMER_BYTES: u32 = 64;
/** QUEUES_MAX queues, each with its list head and its timer behind it. */
const queues = memory.data(16 * (64 + 16 + 64), 16);
const lock = memory.data(4, 4);
/** Fragments in all queues. */
const waiting = memory.data(4, 4);
const netdev_block = changetype<NotifierBlock>(memory.data(8, 8));

// @ts-ignore: decorator
@inline function queue_at(index: u32): Ipq {
  return changetype<Ipq>(queues + index * (QUEUE_BYTES + 16 + TIMER_BYTES));
}
// @ts-ignore: decorator
@inline function skb_end(skb: SkBuff): u32 { return skb.cb + skb.len; }

/** Frees the queue with what is in it; all but `keep`. The lock is held. */
function ipq_kill(q: Ipq, keep: SkBuff | null = null): void {
  timer_delete(q.timer);
  while (!list_empty(q.fragments)) {
    const skb = changetype<SkBuff>(q.fragments.next);
    list_del_init(skb);
    store<u32>(waiting, load<u32>(waiting) - 1);
    if (skb != keep) kfree_skb(skb);
  }
  q.dev = 0;
}

/** The time is up. If the datagram's beginning came, its sender is told. */
function ip_expire(timer: TimerList): void {
  const q = changetype<Ipq>(timer.data);
  const flags = spin_lock_irqsave(lock);
  let first: SkBuff | null = null;
  const dev = q.dev;
  if (dev != 0) {
    SNMP_INC(offsetof<SnmpMib>('IpReasmTimeout'));
    SNMP_INC(offsetof<SnmpMib>('IpReasmFails'));
    const head = changetype<SkBuff>(q.fragments.next);
    if (!list_empty(q.fragments) && head.cb == 0) first = head;
    ipq_kill(q, first);
  }
  spin_unlock_irqrestore(lock, flags);
  if (first === null) return;
  icmp_send(first, changetype<NetDevice>(dev), ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME);
  kfree_skb(first);
}

/** The queue that began first; null if there is none. */
function ipq_oldest(): Ipq | null {
  let oldest: Ipq | null = null;
  for (let i: u32 = 0; i < QUEUES_MAX; i++) {
    const q = queue_at(i);
    if (q.dev != 0 && (oldest === null || q.stamp < oldest.stamp)) oldest = q;
  }
  return oldest;
}

/** Room for one more queue, or one more fragment: the oldest datagram is given up. The lock is held. */
function ipq_evict(): void {
  const oldest = ipq_oldest();
  if (oldest === null) return;
  SNMP_INC(offsetof<SnmpMib>('IpReasmFails'));
  ipq_kill(oldest);
}

function ipq_free(): Ipq | null {
  for (let i: u32 = 0; i < QUEUES_MAX; i++) {
    if (queue_at(i).dev == 0) return queue_at(i);
  }
  return null;
}

/** The queue that the packet with its header at `ip` belongs to: one that there is, or a new one. The lock is held. */
function ip_find(ip: usize, dev: NetDevice): Ipq | null {
  const saddr = load<u32>(ip + IP_SADDR);
  const daddr = load<u32>(ip + IP_DADDR);
  const id = get_be16(ip + IP_ID);
  const protocol = <u32>load<u8>(ip + IP_PROTOCOL);
  for (let i: u32 = 0; i < QUEUES_MAX; i++) {
    const q = queue_at(i);
    const same = q.saddr == saddr && q.daddr == daddr && q.id == id && q.protocol == protocol;
    if (q.dev == changetype<usize>(dev) && same) return q;
  }
  if (ipq_free() === null) ipq_evict();
  const q = ipq_free();
  if (q === null) return null;
  q.dev = changetype<usize>(dev);
  q.saddr = saddr;
  q.daddr = daddr;
  q.id = id;
  q.protocol = protocol;
  q.len = 0;
  q.meat = 0;
  q.stamp = ktime_get();
  mod_timer(q.timer, q.stamp + IP_FRAG_TIME);
  return q;
}

const FRAG_QUEUED: u32 = 0;
/** Came twice: as good as once. */
const FRAG_DUPLICATE: u32 = 1;
/** Contradicts what is here. */
const FRAG_BAD: u32 = 2;

/** Sorts a fragment in. The lock is held. */
function ip_frag_queue(q: Ipq, skb: SkBuff, more: bool): u32 {
  const end = skb_end(skb);
  // All but the last end at a multiple of 8, and the last one ends the datagram.
  if (skb.len == 0 || (more && (skb.len & 7) != 0)) return FRAG_BAD;
  if (q.len != 0 && (more ? end >= q.len : end != q.len)) {
    return FRAG_BAD;
  }
  let after = q.fragments.prev;
  while (after != q.fragments && changetype<SkBuff>(after).cb >= skb.cb) {
    const other = changetype<SkBuff>(after);
    if (other.cb == skb.cb && other.len == skb.len) return FRAG_DUPLICATE;
    if (other.cb < end) return FRAG_BAD;
    after = after.prev;
  }
  if (after != q.fragments && skb_end(changetype<SkBuff>(after)) > skb.cb) return FRAG_BAD;
  if (!more) {
    // Nothing may lie behind the end.
    if (after != q.fragments.prev) return FRAG_BAD;
    q.len = end;
  }
  list_add(skb, after);
  store<u32>(waiting, load<u32>(waiting) + 1);
  q.meat += skb.len;
  return FRAG_QUEUED;
}

/** The whole datagram, starting at its transport header; null without memory. The lock is held. */
function ip_frag_reasm(q: Ipq): SkBuff | null {
  const first = changetype<SkBuff>(q.fragments.next);
  const header = <u32>(first.transport_header - first.network_header);
  const whole = header + q.len <= IP_LEN_MAX ? try_alloc_skb(header + q.len) : null;
  if (whole === null) return null;
  whole.dev = first.dev;
  whole.pkt_type = first.pkt_type;
  whole.protocol = first.protocol;
  const ip = skb_put(whole, header + q.len);
  memory.copy(ip, first.network_header, header);
  put_be16(header + q.len, ip + IP_TOT_LEN);
  store<u16>(ip + IP_FRAG_OFF, 0);
  for (let entry = q.fragments.next; entry != q.fragments; entry = entry.next) {
    const skb = changetype<SkBuff>(entry);
    memory.copy(ip + header + skb.cb, skb.data, skb.len);
  }
  whole.network_header = ip;
  skb_pull(whole, header);
  whole.transport_header = whole.data;
  return whole;
}

/** With the lock held: takes the fragment; the whole datagram if it was the last that was missing. */
function ip_defrag_locked(skb: SkBuff, dev: NetDevice): SkBuff | null {
  const ip = skb.network_header;
  const field = get_be16(ip + IP_FRAG_OFF);
  skb.cb = (field & IP_OFFSET) << 3;
  if (load<u32>(waiting) >= FRAGMENTS_MAX) ipq_evict();
  const q = skb_end(skb) <= IP_LEN_MAX ? ip_find(ip, dev) : null;
  const outcome = q !== null ? ip_frag_queue(q, skb, (field & IP_MF) != 0) : FRAG_BAD;
  if (outcome != FRAG_QUEUED) kfree_skb(skb);
  if (outcome == FRAG_DUPLICATE) return null;
  let whole: SkBuff | null = null;
  if (q !== null && outcome == FRAG_QUEUED) {
    if (q.len == 0 || q.meat != q.len) return null;
    whole = ip_frag_reasm(q);
  }
  SNMP_INC(whole !== null ? offsetof<SnmpMib>('IpReasmOKs') : offsetof<SnmpMib>('IpReasmFails'));
  if (q !== null) ipq_kill(q);
  return whole;
}

/** Takes a fragment, which starts behind its IP header: the whole datagram if it was the last that was missing. */
export function ip_defrag(skb: SkBuff, dev: NetDevice): SkBuff | null {
  SNMP_INC(offsetof<SnmpMib>('IpReasmReqds'));
  const flags = spin_lock_irqsave(lock);
  const whole = ip_defrag_locked(skb, dev);
  spin_unlock_irqrestore(lock, flags);
  return whole;
}

/** What an interface has begun goes with it. */
function ip_frag_netdev_event(event: u32, dev: usize): void {
  if (event != NETDEV_DOWN) return;
  const flags = spin_lock_irqsave(lock);
  for (let i: u32 = 0; i < QUEUES_MAX; i++) {
    if (queue_at(i).dev == dev) ipq_kill(queue_at(i));
  }
  spin_unlock_irqrestore(lock, flags);
}

/** Boot CPU, once. */
export function ipfrag_init(): void {
  for (let i: u32 = 0; i < QUEUES_MAX; i++) {
    const q = queue_at(i);
    q.fragments = changetype<ListHead>(changetype<usize>(q) + QUEUE_BYTES);
    INIT_LIST_HEAD(q.fragments);
    q.timer = changetype<TimerList>(changetype<usize>(q) + QUEUE_BYTES + 16);
    timer_setup(q.timer, ip_expire, changetype<usize>(q));
  }
  register_netdevice_notifier(netdev_block, ip_frag_netdev_event);
}
