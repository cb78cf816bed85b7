// The rings: frames out, frames in, and the poll that does both.
import { writel } from '../../../asm/io';
import { ktime_get } from '../../../kernel/time';
import {
  DMA_FROM_DEVICE,
  DMA_TO_DEVICE,
  dma_alloc_coherent,
  dma_free_coherent,
  dma_map_single,
  dma_rmb_load,
  dma_sync_single_for_cpu,
  dma_sync_single_for_device,
  dma_unmap_single,
} from '../../base/dma-mapping';
import { DMA_TOUCH_BY_DRIVER, dma_touch, dma_touching } from '../../base/dma-touch';
import { PAGE_BYTES } from '../../../generated/abi';
import { alloc_pages, free_pages } from '../../../mm/page_alloc';
import { kfree, kmalloc } from '../../../mm/slab';
import {
  NapiStruct,
  NetDevice,
  napi_complete_done,
  netdev_xmit_more,
  netif_receive_skb,
  netif_stop_queue,
  netif_wake_queue,
} from '../../../net/core/dev';
import { ETH_HLEN, eth_type_trans } from '../../../net/ethernet/eth';
import {
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  SKB_DATA_MAX,
  SkBuff,
  alloc_skb,
  kfree_skb,
  skb_put,
} from '../../../net/skbuff';
import {
  IXGBE_ADVTXD_CC,
  IXGBE_ADVTXD_DCMD_DEXT,
  IXGBE_ADVTXD_DCMD_EOP,
  IXGBE_ADVTXD_DCMD_IFCS,
  IXGBE_ADVTXD_DCMD_RS,
  IXGBE_ADVTXD_DTYP_CTXT,
  IXGBE_ADVTXD_DTYP_DATA,
  IXGBE_ADVTXD_MACLEN_SHIFT,
  IXGBE_ADVTXD_PAYLEN_SHIFT,
  IXGBE_ADVTXD_POPTS_TXSM,
  IXGBE_ADVTXD_TUCMD_IPV4,
  IXGBE_DESC_SIZE,
  IXGBE_EITR_CNT_WDIS,
  IXGBE_EITR_ITR_MASK,
  IXGBE_RXDADV_ERR_FRAME_ERR_MASK,
  IXGBE_RXDADV_ERR_IPE,
  IXGBE_RXDADV_ERR_TCPE,
  IXGBE_RXD_LENGTH,
  IXGBE_RXD_STATUS,
  IXGBE_RXD_STAT_EOP,
  IXGBE_RXD_STAT_IPCS,
  IXGBE_RXD_STAT_L4CS,
  IXGBE_TXD_CMD_LEN,
  IXGBE_TXD_STATUS,
  IXGBE_TXD_STAT_DD,
  IXGBE_VTEIMS,
  IXGBE_VTEITR,
} from './defines';
import {
  IXGBEVF_RXBUFFER_2048,
  IxgbevfAdapter,
  IxgbevfRing,
  IxgbevfTxBuffer,
  QUEUE_VECTOR,
  __IXGBEVF_DOWN,
  ixgbe_write_reg,
  test_state,
} from './ixgbevf';

/** A packet takes a context and a data descriptor; one more stays empty. */
const DESC_NEEDED: u32 = 4;
const TX_WAKE_THRESHOLD: u32 = 2 * DESC_NEEDED;
/** Packets of a burst that the device is told of at a time, so that it works while more are made. */
const IXGBEVF_TX_BURST: u32 = 16;
/** Descriptors that are given back at a time. */
const IXGBEVF_RX_BUFFER_WRITE: u32 = 16;

/** Values of VTEITR: quarters of a microsecond. */
const IXGBE_100K_ITR: u32 = 40;
export const IXGBE_20K_ITR: u32 = 200;
const IXGBE_12K_ITR: u32 = 336;

// @ts-ignore: decorator
@inline function desc_at(ring: IxgbevfRing, index: u32): usize { return ring.desc + index * IXGBE_DESC_SIZE; }
// @ts-ignore: decorator
@inline function tx_buffer_at(ring: IxgbevfRing, index: u32): IxgbevfTxBuffer {
  return changetype<IxgbevfTxBuffer>(ring.buffer_info + index * offsetof<IxgbevfTxBuffer>());
}
// @ts-ignore: decorator
@inline function rx_buffer_at(ring: IxgbevfRing, index: u32): usize {
  return load<usize>(ring.buffer_info + (index << 2));
}

/** Free descriptors. One always stays empty: a full ring would look like an empty one. */
function ixgbevf_desc_unused(ring: IxgbevfRing): u32 {
  const used = ring.next_to_use - ring.next_to_clean;
  return ring.count - 1 - (<i32>used < 0 ? used + ring.count : used);
}

// @ts-ignore: decorator
@inline function ring_next(ring: IxgbevfRing, index: u32): u32 { return index + 1 == ring.count ? 0 : index + 1; }

// ---------------------------------------------------------------------------------------------------------------------
// Transmit

export function ixgbevf_setup_tx_resources(adapter: IxgbevfAdapter, count: u32): bool {
  const ring = adapter.tx_ring;
  ring.count = count;
  ring.buffer_info = kmalloc(count * offsetof<IxgbevfTxBuffer>());
  ring.desc = dma_alloc_coherent(adapter.pdev, count * IXGBE_DESC_SIZE);
  return ring.desc != 0;
}

/** What the device may have written and this driver has not touched, for a host that looks at the CPUs' stores. */
function ixgbevf_touch(address: usize, size: u32): void {
  if (dma_touching(DMA_TOUCH_BY_DRIVER)) dma_touch(address, size);
}

/** Gives back what ixgbevf_setup_tx_resources took. The ring is empty. */
export function ixgbevf_free_tx_resources(adapter: IxgbevfAdapter): void {
  const ring = adapter.tx_ring;
  if (ring.desc != 0) ixgbevf_touch(ring.desc, ring.count * IXGBE_DESC_SIZE);
  kfree(ring.buffer_info);
  if (ring.desc != 0) dma_free_coherent(adapter.pdev, ring.count * IXGBE_DESC_SIZE, ring.desc);
  ring.buffer_info = 0;
  ring.desc = 0;
  ring.count = 0;
}

function ixgbevf_tx_ctxtdesc(ring: IxgbevfRing, macip_lens: u32, tucmd: u32): void {
  const desc = desc_at(ring, ring.next_to_use);
  store<u32>(desc, macip_lens);
  store<u32>(desc, 0, 4);
  store<u32>(desc, tucmd | IXGBE_ADVTXD_DTYP_CTXT | IXGBE_ADVTXD_DCMD_DEXT, 8);
  store<u32>(desc, 0, 12);
  ring.next_to_use = ring_next(ring, ring.next_to_use);
}

/** Tells the device how far it may go. Serialised by the device's lock. */
export function ixgbevf_xmit_flush(netdev: NetDevice): void {
  const ring = changetype<IxgbevfAdapter>(netdev.priv).tx_ring;
  if (ring.unannounced == 0) return;
  ring.unannounced = 0;
  writel(ring.next_to_use, ring.tail);
}

/** Puts a frame into the ring. Serialised by the device's lock; interrupts are off. */
export function ixgbevf_xmit_frame(skb: SkBuff, netdev: NetDevice): bool {
  const adapter = changetype<IxgbevfAdapter>(netdev.priv);
  const ring = adapter.tx_ring;
  if (test_state(adapter, __IXGBEVF_DOWN) || ixgbevf_desc_unused(ring) < DESC_NEEDED) return false;
  const partial = skb.ip_summed == CHECKSUM_PARTIAL;
  const ip_bytes = partial ? <u32>(skb.transport_header - skb.network_header) : 0;
  const macip_lens = (ETH_HLEN << IXGBE_ADVTXD_MACLEN_SHIFT) | ip_bytes;
  ixgbevf_tx_ctxtdesc(ring, macip_lens, partial ? IXGBE_ADVTXD_TUCMD_IPV4 : 0);

  const index = ring.next_to_use;
  const buffer = tx_buffer_at(ring, index);
  buffer.skb = changetype<usize>(skb);
  buffer.len = skb.len;
  buffer.dma = dma_map_single(adapter.pdev, skb.data, skb.len, DMA_TO_DEVICE);
  const desc = desc_at(ring, index);
  store<u64>(desc, buffer.dma);
  const command = IXGBE_ADVTXD_DTYP_DATA | IXGBE_ADVTXD_DCMD_DEXT | IXGBE_ADVTXD_DCMD_IFCS;
  store<u32>(desc + IXGBE_TXD_CMD_LEN, command | IXGBE_ADVTXD_DCMD_EOP | IXGBE_ADVTXD_DCMD_RS | skb.len);
  const olinfo = (skb.len << IXGBE_ADVTXD_PAYLEN_SHIFT) | IXGBE_ADVTXD_CC;
  store<u32>(desc + IXGBE_TXD_STATUS, partial ? olinfo | IXGBE_ADVTXD_POPTS_TXSM : olinfo);
  ring.next_to_use = ring_next(ring, index);
  atomic.store<u32>(changetype<usize>(buffer) + offsetof<IxgbevfTxBuffer>('next_to_watch'), index + 1);
  if (ixgbevf_desc_unused(ring) < DESC_NEEDED) {
    netif_stop_queue(netdev);
    // The poll may have made room before it could see that the queue is stopped.
    if (ixgbevf_desc_unused(ring) >= DESC_NEEDED) netif_wake_queue(netdev);
  }
  if (++ring.unannounced == IXGBEVF_TX_BURST || netdev.tx_stopped != 0 || !netdev_xmit_more()) ixgbevf_xmit_flush(netdev);
  return true;
}

function ixgbevf_unmap_and_free_tx(adapter: IxgbevfAdapter, buffer: IxgbevfTxBuffer): void {
  dma_unmap_single(adapter.pdev, buffer.dma, buffer.len, DMA_TO_DEVICE);
  kfree_skb(changetype<SkBuff>(buffer.skb));
  buffer.skb = 0;
  buffer.next_to_watch = 0;
}

/** Takes back what the device has sent. */
function ixgbevf_clean_tx_irq(adapter: IxgbevfAdapter): void {
  const ring = adapter.tx_ring;
  for (let budget = ring.count; budget > 0; budget--) {
    // The first descriptor of a packet is its context, the second the data that its end is written back to.
    const data = ring_next(ring, ring.next_to_clean);
    const buffer = tx_buffer_at(ring, data);
    const watch = atomic.load<u32>(changetype<usize>(buffer) + offsetof<IxgbevfTxBuffer>('next_to_watch'));
    if (watch == 0 || (dma_rmb_load(desc_at(ring, watch - 1) + IXGBE_TXD_STATUS) & IXGBE_TXD_STAT_DD) == 0) break;
    ring.total_bytes += buffer.len;
    ring.total_packets++;
    ixgbevf_unmap_and_free_tx(adapter, buffer);
    ring.next_to_clean = ring_next(ring, data);
  }
  const netdev = adapter.netdev;
  if (netdev.tx_stopped != 0 && ixgbevf_desc_unused(ring) >= TX_WAKE_THRESHOLD) {
    netif_wake_queue(netdev);
  }
}

/** Drops what the device has not sent. It is stopped. */
export function ixgbevf_clean_tx_ring(adapter: IxgbevfAdapter): void {
  const ring = adapter.tx_ring;
  for (let i: u32 = 0; i < ring.count; i++) {
    if (tx_buffer_at(ring, i).skb == 0) continue;
    ixgbevf_unmap_and_free_tx(adapter, tx_buffer_at(ring, i));
    adapter.netdev.tx_dropped++;
  }
  memory.fill(ring.desc, 0, ring.count * IXGBE_DESC_SIZE);
  ring.next_to_use = 0;
  ring.next_to_clean = 0;
  ring.unannounced = 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// Receive

/** Ring and buffers, two to a page. Buffers stay mapped for as long as the ring exists. */
export function ixgbevf_setup_rx_resources(adapter: IxgbevfAdapter, count: u32): bool {
  const ring = adapter.rx_ring;
  ring.count = count;
  ring.buffer_info = kmalloc(count << 2);
  ring.desc = dma_alloc_coherent(adapter.pdev, count * IXGBE_DESC_SIZE);
  if (ring.desc == 0) return false;
  for (let i: u32 = 0; i < count; i += PAGE_BYTES / IXGBEVF_RXBUFFER_2048) {
    const page = alloc_pages(0);
    if (page == 0) return false;
    for (let at: u32 = 0; at < PAGE_BYTES; at += IXGBEVF_RXBUFFER_2048) {
      const dma = dma_map_single(adapter.pdev, page + at, IXGBEVF_RXBUFFER_2048, DMA_FROM_DEVICE);
      store<usize>(ring.buffer_info + ((i + at / IXGBEVF_RXBUFFER_2048) << 2), dma);
    }
  }
  return true;
}

/** Gives back what ixgbevf_setup_rx_resources took, or has taken so far. The device is stopped. */
export function ixgbevf_free_rx_resources(adapter: IxgbevfAdapter): void {
  const ring = adapter.rx_ring;
  for (let i: u32 = 0; i < ring.count; i++) {
    const buffer = rx_buffer_at(ring, i);
    if (buffer == 0) break;
    ixgbevf_touch(buffer, IXGBEVF_RXBUFFER_2048);
    dma_unmap_single(adapter.pdev, buffer, IXGBEVF_RXBUFFER_2048, DMA_FROM_DEVICE);
    if ((buffer & (PAGE_BYTES - 1)) == 0) free_pages(buffer, 0);
  }
  kfree(ring.buffer_info);
  if (ring.desc != 0) {
    ixgbevf_touch(ring.desc, ring.count * IXGBE_DESC_SIZE);
    dma_free_coherent(adapter.pdev, ring.count * IXGBE_DESC_SIZE, ring.desc);
  }
  ring.buffer_info = 0;
  ring.desc = 0;
  ring.count = 0;
}

/** Empties the ring, with what came and nobody has looked at. The device is stopped. */
export function ixgbevf_clean_rx_ring(adapter: IxgbevfAdapter): void {
  const ring = adapter.rx_ring;
  for (let i: u32 = ring.next_to_clean; i != ring.next_to_use; i = ring_next(ring, i)) {
    if ((load<u32>(desc_at(ring, i) + IXGBE_RXD_LENGTH) & 0xffff) == 0) break;
    adapter.netdev.rx_dropped++;
  }
  memory.fill(ring.desc, 0, ring.count * IXGBE_DESC_SIZE);
  ring.next_to_use = 0;
  ring.next_to_clean = 0;
}

/** Gives `count` buffers to the device. */
export function ixgbevf_alloc_rx_buffers(adapter: IxgbevfAdapter, count: u32): void {
  const ring = adapter.rx_ring;
  for (let i: u32 = 0; i < count; i++) {
    const buffer = rx_buffer_at(ring, ring.next_to_use);
    dma_sync_single_for_device(adapter.pdev, buffer, IXGBEVF_RXBUFFER_2048, DMA_FROM_DEVICE);
    store<u64>(desc_at(ring, ring.next_to_use), buffer);
    store<u64>(desc_at(ring, ring.next_to_use), 0, 8);
    ring.next_to_use = ring_next(ring, ring.next_to_use);
  }
  // The next one must not look complete: its length is what the poll waits for.
  store<u32>(desc_at(ring, ring.next_to_use) + IXGBE_RXD_LENGTH, 0);
  if (count > 0) writel(ring.next_to_use, ring.tail);
}

/** What the device says of the checksums. */
function ixgbevf_rx_checksum(adapter: IxgbevfAdapter, skb: SkBuff, status: u32): void {
  if ((status & IXGBE_RXD_STAT_IPCS) != 0 && (status & IXGBE_RXDADV_ERR_IPE) != 0) {
    adapter.netdev.rx_csum_errors++;
  } else if (status & IXGBE_RXD_STAT_L4CS) {
    if (status & IXGBE_RXDADV_ERR_TCPE) adapter.netdev.rx_csum_errors++;
    else skb.ip_summed = CHECKSUM_UNNECESSARY;
  }
}

/** Takes up to `budget` frames in; returns how many. */
function ixgbevf_clean_rx_irq(adapter: IxgbevfAdapter, budget: u32): u32 {
  const ring = adapter.rx_ring;
  let packets: u32 = 0;
  while (packets < budget) {
    const unused = ixgbevf_desc_unused(ring);
    if (unused >= IXGBEVF_RX_BUFFER_WRITE) ixgbevf_alloc_rx_buffers(adapter, unused);
    const index = ring.next_to_clean;
    const desc = desc_at(ring, index);
    const length = dma_rmb_load(desc + IXGBE_RXD_LENGTH) & 0xffff;
    if (length == 0) break;
    const status = load<u32>(desc + IXGBE_RXD_STATUS);
    if (dma_touching(DMA_TOUCH_BY_DRIVER)) {
      // The frame's first byte again, in its page.
      store<u8>(rx_buffer_at(ring, index), load<u8>(rx_buffer_at(ring, index)));
    }
    ring.next_to_clean = ring_next(ring, index);
    packets++;
    const whole = (status & IXGBE_RXD_STAT_EOP) != 0 && length <= SKB_DATA_MAX;
    if (!whole || (status & IXGBE_RXDADV_ERR_FRAME_ERR_MASK) != 0) {
      adapter.netdev.rx_errors++;
      continue;
    }
    const skb = alloc_skb();
    dma_sync_single_for_cpu(adapter.pdev, rx_buffer_at(ring, index), length, DMA_FROM_DEVICE);
    memory.copy(skb_put(skb, length), rx_buffer_at(ring, index), length);
    ixgbevf_rx_checksum(adapter, skb, status);
    ring.total_bytes += length;
    ring.total_packets++;
    eth_type_trans(skb, adapter.netdev);
    netif_receive_skb(skb, adapter.netdev);
  }
  return packets;
}

// ---------------------------------------------------------------------------------------------------------------------
// Interrupts

export function ixgbevf_write_eitr(adapter: IxgbevfAdapter, vector: u32, itr: u32): void {
  ixgbe_write_reg(adapter, IXGBE_VTEITR + (vector << 2), (itr & IXGBE_EITR_ITR_MASK) | IXGBE_EITR_CNT_WDIS);
}

/** Adapts the interval to what came since the last time: short for little, long for much. */
function ixgbevf_set_itr(adapter: IxgbevfAdapter): void {
  const now = ktime_get();
  const elapsed_us = <u32>min<u64>((now - adapter.itr_time) / 1000, 1_000_000);
  if (elapsed_us == 0) return;
  adapter.itr_time = now;
  const bytes_per_us = (adapter.rx_ring.total_bytes + adapter.tx_ring.total_bytes) / elapsed_us;
  adapter.rx_ring.total_bytes = 0;
  adapter.tx_ring.total_bytes = 0;
  const target = bytes_per_us > 20 ? IXGBE_12K_ITR : bytes_per_us > 10 ? IXGBE_20K_ITR : IXGBE_100K_ITR;
  if (target == adapter.itr) return;
  // Approached, not jumped to, so that one odd interval changes little.
  const smoothed = ((10 * target * adapter.itr) / (9 * target + adapter.itr)) & IXGBE_EITR_ITR_MASK;
  adapter.itr = max<u32>(smoothed, IXGBE_100K_ITR);
  ixgbevf_write_eitr(adapter, QUEUE_VECTOR, adapter.itr);
}

export function ixgbevf_poll(napi: NapiStruct, budget: u32): u32 {
  const adapter = changetype<IxgbevfAdapter>(napi.data);
  ixgbevf_clean_tx_irq(adapter);
  const work = ixgbevf_clean_rx_irq(adapter, budget);
  if (work == budget) return budget;
  napi_complete_done(napi);
  ixgbevf_set_itr(adapter);
  if (!test_state(adapter, __IXGBEVF_DOWN)) ixgbe_write_reg(adapter, IXGBE_VTEIMS, 1 << QUEUE_VECTOR);
  return work;
}
