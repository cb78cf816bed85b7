// The driver's half of a split virtqueue, of one buffer each entry. Virtio 1.2, 2.7
import { writew } from '../../asm/io';
import { dma_alloc_coherent, dma_free_coherent, dma_map_single, dma_unmap_single } from '../base/dma-mapping';
import { kfree, kmalloc } from '../../mm/slab';
import { VirtioDevice } from './virtio';

export const VRING_DESC_F_NEXT: u16 = 1;
export const VRING_DESC_F_WRITE: u16 = 2;
const VRING_AVAIL_F_NO_INTERRUPT: u16 = 1;

const DESC_SIZE: u32 = 16;
const RING_FLAGS: u32 = 0;
const RING_IDX: u32 = 2;
const RING_RING: u32 = 4;
const USED_ELEM_SIZE: u32 = 8;

/** What is known of a descriptor in use. */
// @ts-ignore: decorator
@unmanaged class DescState {
  /** The driver's own; 0: free. */
  data: usize;
  dma: usize;
  len: u32;
  direction: u32;
}

// @ts-ignore: decorator
@unmanaged export class Virtqueue {
  vdev: VirtioDevice;
  /** Number of the queue. */
  index: u32;
  num: u32;
  /** Physical, as the device has them. */
  desc: usize;
  avail: usize;
  used: usize;
  ring_bytes: u32;
  /** Its doorbell. */
  notify: usize;
  /** First free descriptor; further ones by their `next`. */
  free_head: u32;
  num_free: u32;
  /** Entries made available, and shown to the device so far; entries taken back. Modulo 65536. */
  avail_idx: u32;
  kicked_idx: u32;
  last_used_idx: u32;
  /** DescState, one for each descriptor. */
  state: usize;
}

// @ts-ignore: decorator
@inline function desc_at(vq: Virtqueue, index: u32): usize { return vq.desc + index * DESC_SIZE; }
// @ts-ignore: decorator
@inline function state_at(vq: Virtqueue, index: u32): DescState {
  return changetype<DescState>(vq.state + index * offsetof<DescState>());
}

/** Rings of `num` entries; null without memory. */
export function vring_create_virtqueue(vdev: VirtioDevice, index: u32, num: u32, notify: usize): Virtqueue | null {
  const avail_at = num * DESC_SIZE;
  const used_at = (avail_at + RING_RING + 2 * num + 2 + 3) & ~3;
  const bytes = used_at + RING_RING + USED_ELEM_SIZE * num + 2;
  const ring = dma_alloc_coherent(vdev.pdev, bytes);
  if (ring == 0) return null;
  const vq = changetype<Virtqueue>(kmalloc(offsetof<Virtqueue>()));
  vq.vdev = vdev;
  vq.index = index;
  vq.num = num;
  vq.desc = ring;
  vq.avail = ring + avail_at;
  vq.used = ring + used_at;
  vq.ring_bytes = bytes;
  vq.notify = notify;
  vq.num_free = num;
  vq.state = kmalloc(num * offsetof<DescState>());
  for (let i: u32 = 0; i < num; i++) store<u16>(desc_at(vq, i), <u16>(i + 1), 14);
  return vq;
}

/** The device is reset; nothing of the queue is in use. */
export function vring_del_virtqueue(vq: Virtqueue): void {
  dma_free_coherent(vq.vdev.pdev, vq.ring_bytes, vq.desc);
  kfree(vq.state);
  kfree(changetype<usize>(vq));
}

/** Maps `len` bytes at `address` into a free descriptor, of which there is one, and returns its number. */
function fill_desc(vq: Virtqueue, address: usize, len: u32, direction: u32, flags: u16): u32 {
  const index = vq.free_head;
  const desc = desc_at(vq, index);
  vq.free_head = load<u16>(desc, 14);
  vq.num_free--;
  const state = state_at(vq, index);
  state.dma = dma_map_single(vq.vdev.pdev, address, len, direction);
  state.len = len;
  state.direction = direction;
  store<u64>(desc, state.dma);
  store<u32>(desc, len, 8);
  store<u16>(desc, flags, 12);
  return index;
}

function make_available(vq: Virtqueue, head: u32, data: usize): void {
  state_at(vq, head).data = data;
  store<u16>(vq.avail + RING_RING + ((vq.avail_idx & (vq.num - 1)) << 1), <u16>head);
  vq.avail_idx = (vq.avail_idx + 1) & 0xffff;
}

/** One buffer of `direction` (DMA_*) in one descriptor; false if there is no room. The device sees it with the next kick. */
export function virtqueue_add(
  vq: Virtqueue, address: usize, len: u32, direction: u32, writable: bool, data: usize,
): bool {
  if (vq.num_free == 0) return false;
  const head = fill_desc(vq, address, len, direction, writable ? VRING_DESC_F_WRITE : 0);
  make_available(vq, head, data);
  return true;
}

/** Two buffers as one chain: one to be read, one to be written. */
export function virtqueue_add_sgs(
  vq: Virtqueue, out: usize, out_len: u32, out_direction: u32, answer: usize, answer_len: u32, in_direction: u32,
  data: usize,
): bool {
  if (vq.num_free < 2) return false;
  const head = fill_desc(vq, out, out_len, out_direction, VRING_DESC_F_NEXT);
  const next = fill_desc(vq, answer, answer_len, in_direction, VRING_DESC_F_WRITE);
  store<u16>(desc_at(vq, head), <u16>next, 14);
  make_available(vq, head, data);
  return true;
}

/** Shows the device what was added, and rings if there is something new. */
export function virtqueue_kick(vq: Virtqueue): void {
  if (vq.avail_idx == vq.kicked_idx) return;
  vq.kicked_idx = vq.avail_idx;
  // Everything else of the ring is there before the index is.
  atomic.store<u16>(vq.avail + RING_IDX, <u16>vq.avail_idx);
  writew(<u16>vq.index, vq.notify);
}

/** Whether the device has given back more than was taken. */
export function more_used(vq: Virtqueue): bool {
  return (<u32>atomic.load<u16>(vq.used + RING_IDX)) != vq.last_used_idx;
}

/** Unmaps and frees a chain. */
function detach_buf(vq: Virtqueue, head: u32): void {
  let index = head;
  for (;;) {
    const state = state_at(vq, index);
    dma_unmap_single(vq.vdev.pdev, state.dma, state.len, state.direction);
    state.data = 0;
    vq.num_free++;
    const desc = desc_at(vq, index);
    const more = (load<u16>(desc, 12) & VRING_DESC_F_NEXT) != 0;
    const next: u32 = load<u16>(desc, 14);
    if (!more) {
      store<u16>(desc, <u16>vq.free_head, 14);
      vq.free_head = head;
      return;
    }
    index = next;
  }
}

/** Bytes that the device has written into the buffer that virtqueue_get_buf returned last. */
const got_len = memory.data(4, 4);
export function virtqueue_got_len(): u32 { return load<u32>(got_len); }

/** The `data` of the next buffer that the device has given back, unmapped; 0 if there is none. */
export function virtqueue_get_buf(vq: Virtqueue): usize {
  if (!more_used(vq)) return 0;
  const elem = vq.used + RING_RING + (vq.last_used_idx & (vq.num - 1)) * USED_ELEM_SIZE;
  const head = load<u32>(elem);
  store<u32>(got_len, load<u32>(elem, 4));
  vq.last_used_idx = (vq.last_used_idx + 1) & 0xffff;
  const data = head < vq.num ? state_at(vq, head).data : 0;
  if (data != 0) detach_buf(vq, head);
  return data;
}

/** The `data` of a buffer that the device has not given back, unmapped; 0 if there is none. The device is reset. */
export function virtqueue_detach_unused_buf(vq: Virtqueue): usize {
  for (let i: u32 = 0; i < vq.num; i++) {
    const data = state_at(vq, i).data;
    if (data == 0) continue;
    detach_buf(vq, i);
    return data;
  }
  return 0;
}

/** Asks for no interrupts, which is a hint. */
export function virtqueue_disable_cb(vq: Virtqueue): void {
  atomic.store<u16>(vq.avail + RING_FLAGS, VRING_AVAIL_F_NO_INTERRUPT);
}

/** Asks for interrupts again; false if the device has given something back meanwhile, for which there may be none. */
export function virtqueue_enable_cb(vq: Virtqueue): bool {
  // The wish is stored before the index is looked at, and the device does it the other way round.
  atomic.store<u16>(vq.avail + RING_FLAGS, 0);
  return !more_used(vq);
}
