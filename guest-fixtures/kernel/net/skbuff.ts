// Socket buffers: one piece of memory each, header and data together, with room in front for the headers of the layers
// below. Used ones are kept for the next packet.
import { INIT_LIST_HEAD, ListHead } from '../lib/list';
import { kfree, kmalloc, try_kmalloc } from '../mm/slab';
import { spin_lock_irqsave, spin_unlock_irqrestore } from '../kernel/spinlock';

/** Object that kmalloc serves from a slab; header first. */
const SKB_TRUESIZE: u32 = 2048;
const SKB_HEADER: u32 = 64;
/**
 * Room for Ethernet, IP and UDP headers, so that each layer may put its own in front. A UDP datagram's frame then begins
 * at a multiple of 8, from where devices copy it fastest.
 */
export const MAX_HEADER: u32 = 66;
/** Largest packet behind MAX_HEADER. */
export const SKB_DATA_MAX: u32 = SKB_TRUESIZE - SKB_HEADER - MAX_HEADER;
/** Free buffers that are kept. */
const SKB_CACHE_SIZE: u32 = 512;

/** ip_summed: nobody has looked; the device found checksums right; the device is to fill the checksum in. */
export const CHECKSUM_NONE: u32 = 0;
export const CHECKSUM_UNNECESSARY: u32 = 1;
export const CHECKSUM_PARTIAL: u32 = 3;

/** pkt_type: to this interface's address, to all, to a group, or to somebody else. */
export const PACKET_HOST: u32 = 0;
export const PACKET_BROADCAST: u32 = 1;
export const PACKET_MULTICAST: u32 = 2;
export const PACKET_OTHERHOST: u32 = 3;

/** At most SKB_HEADER bytes. */
// @ts-ignore: decorator
@unmanaged export class SkBuff extends ListHead {
  /** NetDevice that it came from or goes to. */
  dev: usize;
  data: usize;
  len: u32;
  ip_summed: u32;
  network_header: usize;
  transport_header: usize;
  /** EtherType, host byte order. */
  protocol: u32;
  /** PACKET_*: whom the link says that it is for. */
  pkt_type: u32;
  /** Of the layer that has the packet. */
  cb: u32;
  /** Bytes of all of it. */
  truesize: u32;
}

// @ts-ignore: decorator
@unmanaged class SkbCache {
  lock: u32;
  free: usize;
  count: u32;
}

const cache = changetype<SkbCache>(memory.data(64, 64));

function skb_init(at: usize, truesize: u32): SkBuff {
  const skb = changetype<SkBuff>(at);
  INIT_LIST_HEAD(skb);
  skb.dev = 0;
  skb.data = at + SKB_HEADER + MAX_HEADER;
  skb.len = 0;
  skb.ip_summed = CHECKSUM_NONE;
  skb.truesize = truesize;
  return skb;
}

/** An empty buffer with MAX_HEADER bytes of headroom and SKB_DATA_MAX of room. */
export function alloc_skb(): SkBuff {
  const flags = spin_lock_irqsave(changetype<usize>(cache));
  let at = cache.free;
  if (at != 0) {
    cache.free = load<usize>(at);
    cache.count--;
  }
  spin_unlock_irqrestore(changetype<usize>(cache), flags);
  return skb_init(at != 0 ? at : kmalloc(SKB_TRUESIZE), SKB_TRUESIZE);
}

/** An empty buffer for `bytes` bytes, which may be more than fit a frame; null without memory. */
export function try_alloc_skb(bytes: u32): SkBuff | null {
  if (bytes <= SKB_DATA_MAX) return alloc_skb();
  const truesize = SKB_HEADER + MAX_HEADER + bytes;
  const at = try_kmalloc(truesize);
  return at != 0 ? skb_init(at, truesize) : null;
}

export function kfree_skb(skb: SkBuff): void {
  const at = changetype<usize>(skb);
  if (skb.truesize != SKB_TRUESIZE) return kfree(at);
  const flags = spin_lock_irqsave(changetype<usize>(cache));
  const keep = cache.count < SKB_CACHE_SIZE;
  if (keep) {
    store<usize>(at, cache.free);
    cache.free = at;
    cache.count++;
  }
  spin_unlock_irqrestore(changetype<usize>(cache), flags);
  if (!keep) kfree(at);
}

/** Buffers that are kept for later. */
export function skb_cached(): u32 { return cache.count; }

/** Makes the data `bytes` longer at its end; returns where the new bytes start. */
// @ts-ignore: decorator
@inline export function skb_put(skb: SkBuff, bytes: u32): usize {
  const tail = skb.data + skb.len;
  skb.len += bytes;
  return tail;
}

/** Puts `bytes` in front of the data; returns where they start. */
// @ts-ignore: decorator
@inline export function skb_push(skb: SkBuff, bytes: u32): usize {
  skb.data -= bytes;
  skb.len += bytes;
  return skb.data;
}

/** Takes `bytes` away from the front of the data. */
// @ts-ignore: decorator
@inline export function skb_pull(skb: SkBuff, bytes: u32): void {
  skb.data += bytes;
  skb.len -= bytes;
}
