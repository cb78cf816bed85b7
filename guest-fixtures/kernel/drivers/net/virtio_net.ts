// virtio_net: the driver of virtio network devices with one pair of queues. Virtio 1.2, 5.1
import { hotplug_lock } from '../../kernel/hotplug';
import { pr_err } from '../../kernel/printk';
import { msleep } from '../../kernel/sched';
import { INIT_WORK, WorkStruct, cancel_work_sync, schedule_work } from '../../kernel/workqueue';
import { str } from '../../lib/string';
import { PAGE_BYTES } from '../../generated/abi';
import { alloc_pages, free_pages } from '../../mm/page_alloc';
import { kfree, kmalloc } from '../../mm/slab';
import {
  NapiStruct,
  NetDevice,
  alloc_netdev,
  free_netdev,
  napi_complete_done,
  napi_disable,
  napi_enable,
  napi_schedule,
  netdev_notify_peers,
  netdev_xmit_more,
  netif_carrier_off,
  netif_carrier_on,
  netif_napi_add,
  netif_receive_skb,
  netif_stop_queue,
  netif_wake_queue,
  register_netdev,
  unregister_netdev,
} from '../../net/core/dev';
import { ETH_ALEN, eth_type_trans } from '../../net/ethernet/eth';
import { CHECKSUM_PARTIAL, SKB_DATA_MAX, SkBuff, alloc_skb, kfree_skb, skb_push, skb_put } from '../../net/skbuff';
import { DMA_FROM_DEVICE, DMA_TO_DEVICE } from '../base/dma-mapping';
import { pci_disable_msix, pci_enable_msix, pci_free_irq, pci_request_irq } from '../pci/msi';
import { net_failover_create, net_failover_destroy } from './net_failover';
import { pci_dev_is_disconnected } from '../pci/pci';
import { VIRTIO_CONFIG_S_NEEDS_RESET, VirtioDevice, virtio_has_feature } from '../virtio/virtio';
import {
  VIRTIO_MSI_NO_VECTOR,
  VirtioDriver,
  register_virtio_driver,
  setup_vq,
  virtio_config_vector,
  virtio_cread16,
  virtio_cread_bytes,
  virtio_device_ready,
  virtio_get_status,
  virtio_reset_device,
} from '../virtio/virtio_pci_modern';
import {
  Virtqueue,
  more_used,
  virtqueue_add,
  virtqueue_add_sgs,
  virtqueue_detach_unused_buf,
  virtqueue_disable_cb,
  virtqueue_enable_cb,
  virtqueue_get_buf,
  virtqueue_got_len,
  virtqueue_kick,
  vring_del_virtqueue,
} from '../virtio/virtio_ring';

export const VIRTIO_NET_F_CSUM: u64 = 1 << 0;
export const VIRTIO_NET_F_MTU: u64 = 1 << 3;
export const VIRTIO_NET_F_MAC: u64 = 1 << 5;
export const VIRTIO_NET_F_STATUS: u64 = 1 << 16;
export const VIRTIO_NET_F_CTRL_VQ: u64 = 1 << 17;
export const VIRTIO_NET_F_GUEST_ANNOUNCE: u64 = 1 << 21;
export const VIRTIO_NET_F_STANDBY: u64 = 1 << 62;
const FEATURES: u64 =
  VIRTIO_NET_F_CSUM | VIRTIO_NET_F_MTU | VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_CTRL_VQ |
  VIRTIO_NET_F_GUEST_ANNOUNCE | VIRTIO_NET_F_STANDBY;

const CONFIG_MAC: u32 = 0;
const CONFIG_STATUS: u32 = 6;
const CONFIG_MTU: u32 = 10;
const VIRTIO_NET_S_LINK_UP: u32 = 1;
const VIRTIO_NET_S_ANNOUNCE: u32 = 2;

const VIRTIO_NET_CTRL_ANNOUNCE: u8 = 3;
const VIRTIO_NET_CTRL_ANNOUNCE_ACK: u8 = 0;
const VIRTIO_NET_OK: u8 = 0;
const VIRTIO_NET_ERR: u8 = 1;
/** Longest wait for the answer to a command, in ms. */
const CTRL_PATIENCE = 100;

/** struct virtio_net_hdr_v1. */
const HDR_LEN: u32 = 12;
const HDR_FLAGS: u32 = 0;
const HDR_CSUM_START: u32 = 6;
const HDR_CSUM_OFFSET: u32 = 8;
const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;
/** Where UDP has its checksum: no other protocol leaves it to the device. */
const UDP_CHECK: u32 = 6;

/** Header and longest frame, with room for a VLAN tag; two buffers to a page. */
const RX_BUF_LEN: u32 = HDR_LEN + 1518;
const RX_BUF_ALIGN: u32 = 2048;
/** Free entries with which a queue that was stopped goes on, and without which it stops. */
const TX_LOW: u32 = 2;
const TX_WAKE: u32 = 32;
/** Packets of a burst that the device is told of at a time. */
const TX_BURST: u32 = 16;

const CONFIG_VECTOR: u32 = 0;
const INPUT_VECTOR: u32 = 1;
const OUTPUT_VECTOR: u32 = 2;
const VECTORS: u32 = 3;

// @ts-ignore: decorator
@unmanaged export class VirtnetInfo {
  vdev: VirtioDevice;
  netdev: NetDevice;
  /** The interface that it is a slave of; 0 without STANDBY. */
  failover: usize;
  /** Each may be missing after a probe that failed, and the control queue always. */
  rvq: Virtqueue;
  svq: Virtqueue;
  cvq: Virtqueue;
  napi: NapiStruct;
  config_work: WorkStruct;
  /** Last state of the link. */
  status: u32;
  /** 1 while the interface is open. */
  running: u32;
  /** Packets of this burst that the device has not been told of. */
  unannounced: u32;
  /** Pages of the receive buffers: a word for each, RX_PAGES_MAX. */
  rx_pages: usize;
  /** Command, then answer. */
  ctrl: usize;
}

const RX_PAGES_MAX: u32 = 512;
const driver = changetype<VirtioDriver>(memory.data(32, 16));

// @ts-ignore: decorator
@inline function there(vq: Virtqueue): bool { return changetype<usize>(vq) != 0; }
// @ts-ignore: decorator
@inline function info_of(netdev: NetDevice): VirtnetInfo { return changetype<VirtnetInfo>(netdev.priv); }

// ---------------------------------------------------------------------------------------------------------------------
// Interrupts

function virtnet_config_changed(data: usize): void {
  schedule_work(changetype<VirtnetInfo>(data).config_work);
}

function skb_recv_done(data: usize): void {
  const vi = changetype<VirtnetInfo>(data);
  virtqueue_disable_cb(vi.rvq);
  napi_schedule(vi.napi);
}

/** Asked for only while the transmit queue is stopped. */
function skb_xmit_done(data: usize): void {
  const vi = changetype<VirtnetInfo>(data);
  virtqueue_disable_cb(vi.svq);
  napi_schedule(vi.napi);
}

// ---------------------------------------------------------------------------------------------------------------------
// Transmit

/** Serialised by the device's lock, or with the queue at rest. */
function free_old_xmit_skbs(vi: VirtnetInfo): void {
  const sq = vi.svq;
  for (;;) {
    const skb = virtqueue_get_buf(sq);
    if (skb == 0) return;
    kfree_skb(changetype<SkBuff>(skb));
  }
}

function virtnet_xmit_flush(netdev: NetDevice): void {
  const vi = info_of(netdev);
  if (vi.unannounced == 0) return;
  vi.unannounced = 0;
  virtqueue_kick(vi.svq);
}

function virtio_net_hdr_from_skb(skb: SkBuff): void {
  const partial = skb.ip_summed == CHECKSUM_PARTIAL;
  const start = skb.transport_header - skb.data;
  const hdr = skb_push(skb, HDR_LEN);
  memory.fill(hdr, 0, HDR_LEN);
  if (!partial) return;
  store<u8>(hdr + HDR_FLAGS, VIRTIO_NET_HDR_F_NEEDS_CSUM);
  store<u16>(hdr + HDR_CSUM_START, <u16>start);
  store<u16>(hdr + HDR_CSUM_OFFSET, <u16>UDP_CHECK);
}

/** Serialised by the device's lock; interrupts are off. */
function start_xmit(skb: SkBuff, netdev: NetDevice): bool {
  const vi = info_of(netdev);
  if (vi.running == 0) return false;
  const sq = vi.svq;
  free_old_xmit_skbs(vi);
  if (sq.num_free == 0) return false;
  virtio_net_hdr_from_skb(skb);
  virtqueue_add(sq, skb.data, skb.len, DMA_TO_DEVICE, false, changetype<usize>(skb));
  if (sq.num_free < TX_LOW) {
    netif_stop_queue(netdev);
    // What was given back before the device could see that it should interrupt is found here.
    if (!virtqueue_enable_cb(sq)) {
      free_old_xmit_skbs(vi);
      if (sq.num_free >= TX_WAKE) {
        virtqueue_disable_cb(sq);
        netif_wake_queue(netdev);
      }
    }
  }
  if (++vi.unannounced == TX_BURST || netdev.tx_stopped != 0 || !netdev_xmit_more()) virtnet_xmit_flush(netdev);
  return true;
}

/** A queue that was stopped goes on when there is room again. */
function virtnet_poll_cleantx(vi: VirtnetInfo): void {
  const netdev = vi.netdev;
  if (netdev.tx_stopped == 0) return;
  free_old_xmit_skbs(vi);
  if (vi.svq.num_free < TX_WAKE) {
    if (!virtqueue_enable_cb(vi.svq)) napi_schedule(vi.napi);
    return;
  }
  virtqueue_disable_cb(vi.svq);
  netif_wake_queue(netdev);
}

// ---------------------------------------------------------------------------------------------------------------------
// Receive

/** Gives the device the buffer at `address`. */
function add_recvbuf_small(vi: VirtnetInfo, address: usize): void {
  virtqueue_add(vi.rvq, address, RX_BUF_LEN, DMA_FROM_DEVICE, true, address);
}

/** A buffer for each entry; false without memory. */
function try_fill_recv(vi: VirtnetInfo): bool {
  const rq = vi.rvq;
  const pages = min<u32>(RX_PAGES_MAX, rq.num_free / (PAGE_BYTES / RX_BUF_ALIGN));
  for (let i: u32 = 0; i < pages; i++) {
    const page = alloc_pages(0);
    if (page == 0) return i > 0;
    store<usize>(vi.rx_pages + (i << 2), page);
    for (let at: u32 = 0; at < PAGE_BYTES; at += RX_BUF_ALIGN) add_recvbuf_small(vi, page + at);
  }
  virtqueue_kick(rq);
  return true;
}

function receive_small(vi: VirtnetInfo, address: usize, length: u32): void {
  const netdev = vi.netdev;
  if (length < HDR_LEN || length > RX_BUF_LEN || length - HDR_LEN > SKB_DATA_MAX) {
    netdev.rx_errors++;
    return;
  }
  const skb = alloc_skb();
  memory.copy(skb_put(skb, length - HDR_LEN), address + HDR_LEN, length - HDR_LEN);
  eth_type_trans(skb, netdev);
  netif_receive_skb(skb, netdev);
}

function virtnet_receive(vi: VirtnetInfo, budget: u32): u32 {
  const rq = vi.rvq;
  let packets: u32 = 0;
  while (packets < budget) {
    const address = virtqueue_get_buf(rq);
    if (address == 0) break;
    receive_small(vi, address, virtqueue_got_len());
    add_recvbuf_small(vi, address);
    packets++;
  }
  if (packets > 0) virtqueue_kick(rq);
  return packets;
}

function virtnet_poll(napi: NapiStruct, budget: u32): u32 {
  const vi = changetype<VirtnetInfo>(napi.data);
  virtnet_poll_cleantx(vi);
  const received = virtnet_receive(vi, budget);
  if (received == budget) return budget;
  napi_complete_done(napi);
  if (vi.running != 0 && !virtqueue_enable_cb(vi.rvq)) {
    virtqueue_disable_cb(vi.rvq);
    napi_schedule(napi);
  }
  return received;
}

// ---------------------------------------------------------------------------------------------------------------------
// Commands, and what the device tells by its configuration

/** Has the device carry out a command without data; false if it did not. */
function virtnet_send_command(vi: VirtnetInfo, klass: u8, command: u8): bool {
  const cvq = vi.cvq;
  if (!there(cvq)) return false;
  store<u8>(vi.ctrl, klass);
  store<u8>(vi.ctrl, command, 1);
  store<u8>(vi.ctrl, VIRTIO_NET_ERR, 8);
  if (!virtqueue_add_sgs(cvq, vi.ctrl, 2, DMA_TO_DEVICE, vi.ctrl + 8, 1, DMA_FROM_DEVICE, vi.ctrl)) return false;
  virtqueue_kick(cvq);
  // A device that never answers must not keep everything else waiting for ever.
  for (let i = 0; i < CTRL_PATIENCE && !more_used(cvq); i++) msleep(1);
  return virtqueue_get_buf(cvq) != 0 && load<u8>(vi.ctrl, 8) == VIRTIO_NET_OK;
}

function virtnet_config_changed_work(work: WorkStruct): void {
  const vi = changetype<VirtnetInfo>(work.data);
  const vdev = vi.vdev;
  const netdev = vi.netdev;
  if (virtio_get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET) {
    pr_err('virtio_net %S %S: device needs a reset', vdev.name, netdev.name);
    netif_carrier_off(netdev);
    return;
  }
  const status = virtio_cread16(vdev, CONFIG_STATUS);
  if ((status & VIRTIO_NET_S_ANNOUNCE) != 0 && virtio_has_feature(vdev, VIRTIO_NET_F_GUEST_ANNOUNCE)) {
    netdev_notify_peers(netdev);
    if (!virtnet_send_command(vi, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK)) {
      pr_err('virtio_net %S %S: Failed to ack announce', vdev.name, netdev.name);
    }
  }
  if (((status ^ vi.status) & VIRTIO_NET_S_LINK_UP) == 0) return;
  vi.status = status;
  if (status & VIRTIO_NET_S_LINK_UP) netif_carrier_on(netdev);
  else netif_carrier_off(netdev);
}

// ---------------------------------------------------------------------------------------------------------------------
// Up and down

function virtnet_open(netdev: NetDevice): bool {
  const vi = info_of(netdev);
  // Buffers stay with the device while the interface is closed.
  if (load<usize>(vi.rx_pages) == 0 && !try_fill_recv(vi)) {
    pr_err('virtio_net %S: no memory for receive buffers', vi.vdev.name);
    return false;
  }
  vi.running = 1;
  napi_enable(vi.napi);
  netif_wake_queue(netdev);
  // What has arrived until now is looked for by the poll.
  virtqueue_disable_cb(vi.svq);
  virtqueue_disable_cb(vi.rvq);
  napi_schedule(vi.napi);
  if (vi.status & VIRTIO_NET_S_LINK_UP) netif_carrier_on(netdev);
  return true;
}

function virtnet_close(netdev: NetDevice): void {
  const vi = info_of(netdev);
  netif_stop_queue(netdev);
  netif_carrier_off(netdev);
  napi_disable(vi.napi);
  vi.running = 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// Probe

/** Vectors and queues; what there is after a failure, virtnet_del_vqs takes back. */
function init_vqs(vi: VirtnetInfo): bool {
  const vdev = vi.vdev;
  const data = changetype<usize>(vi);
  if (!pci_enable_msix(vdev.pdev, VECTORS)) return false;
  if (!pci_request_irq(vdev.pdev, CONFIG_VECTOR, 0, virtnet_config_changed, str('virtio-config'), data)) return false;
  if (!pci_request_irq(vdev.pdev, INPUT_VECTOR, 0, skb_recv_done, str('virtio-input.0'), data)) return false;
  if (!pci_request_irq(vdev.pdev, OUTPUT_VECTOR, 0, skb_xmit_done, str('virtio-output.0'), data)) return false;
  if (!virtio_config_vector(vdev, CONFIG_VECTOR)) return false;
  vi.rvq = changetype<Virtqueue>(setup_vq(vdev, 0, INPUT_VECTOR));
  vi.svq = changetype<Virtqueue>(setup_vq(vdev, 1, OUTPUT_VECTOR));
  if (!there(vi.rvq) || !there(vi.svq)) return false;
  if (!virtio_has_feature(vdev, VIRTIO_NET_F_CTRL_VQ)) return true;
  vi.cvq = changetype<Virtqueue>(setup_vq(vdev, 2, VIRTIO_MSI_NO_VECTOR));
  return there(vi.cvq);
}

function unused_buf(vq: Virtqueue): usize { return there(vq) ? virtqueue_detach_unused_buf(vq) : 0; }

/** The device is reset. */
function free_unused_bufs(vi: VirtnetInfo): void {
  for (let skb = unused_buf(vi.svq); skb != 0; skb = unused_buf(vi.svq)) kfree_skb(changetype<SkBuff>(skb));
  while (unused_buf(vi.rvq) != 0) {}
  while (unused_buf(vi.cvq) != 0) {}
  for (let i: u32 = 0; i < RX_PAGES_MAX; i++) {
    const page = load<usize>(vi.rx_pages + (i << 2));
    if (page != 0) free_pages(page, 0);
  }
}

function virtnet_del_vqs(vi: VirtnetInfo): void {
  const pdev = vi.vdev.pdev;
  for (let vector: u32 = 0; vector < VECTORS; vector++) pci_free_irq(pdev, vector);
  free_unused_bufs(vi);
  if (there(vi.rvq)) vring_del_virtqueue(vi.rvq);
  if (there(vi.svq)) vring_del_virtqueue(vi.svq);
  if (there(vi.cvq)) vring_del_virtqueue(vi.cvq);
  pci_disable_msix(pdev);
}

function virtnet_free(vi: VirtnetInfo): void {
  kfree(vi.ctrl);
  kfree(vi.rx_pages);
  kfree(changetype<usize>(vi.config_work));
  kfree(changetype<usize>(vi.napi));
  free_netdev(vi.netdev);
  kfree(changetype<usize>(vi));
}

function virtnet_alloc(vdev: VirtioDevice): VirtnetInfo {
  const vi = changetype<VirtnetInfo>(kmalloc(offsetof<VirtnetInfo>()));
  const netdev = alloc_netdev();
  vi.vdev = vdev;
  vi.netdev = netdev;
  netdev.priv = changetype<usize>(vi);
  netdev.parent = changetype<usize>(vdev.pdev);
  netdev.open = virtnet_open;
  netdev.stop = virtnet_close;
  netdev.start_xmit = start_xmit;
  netdev.xmit_flush = virtnet_xmit_flush;
  vi.napi = changetype<NapiStruct>(kmalloc(offsetof<NapiStruct>()));
  netif_napi_add(vi.napi, virtnet_poll, changetype<usize>(vi));
  vi.config_work = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
  INIT_WORK(vi.config_work, virtnet_config_changed_work, changetype<usize>(vi), hotplug_lock());
  vi.rx_pages = kmalloc(RX_PAGES_MAX << 2);
  vi.ctrl = kmalloc(16);
  virtio_cread_bytes(vdev, CONFIG_MAC, netdev.dev_addr, ETH_ALEN);
  if (virtio_has_feature(vdev, VIRTIO_NET_F_MTU)) netdev.mtu = virtio_cread16(vdev, CONFIG_MTU);
  return vi;
}

function virtnet_probe(vdev: VirtioDevice): bool {
  const vi = virtnet_alloc(vdev);
  vdev.priv = changetype<usize>(vi);
  // The master is there when its standby comes.
  const standby = virtio_has_feature(vdev, VIRTIO_NET_F_STANDBY);
  if (standby) vi.failover = changetype<usize>(net_failover_create(vi.netdev));
  if ((standby && vi.failover == 0) || !init_vqs(vi) || !register_netdev(vi.netdev)) {
    if (vi.failover != 0) net_failover_destroy(changetype<NetDevice>(vi.failover));
    pr_err('virtio_net %S: probe failed', vdev.name);
    virtio_reset_device(vdev);
    virtnet_del_vqs(vi);
    virtnet_free(vi);
    return false;
  }
  virtio_device_ready(vdev);
  // Without the feature there is always a link.
  vi.status = VIRTIO_NET_S_LINK_UP;
  if (virtio_has_feature(vdev, VIRTIO_NET_F_STATUS)) vi.status = virtio_cread16(vdev, CONFIG_STATUS);
  return true;
}

/** Undoes virtnet_probe. */
function virtnet_remove(vdev: VirtioDevice): void {
  const vi = changetype<VirtnetInfo>(vdev.priv);
  cancel_work_sync(vi.config_work);
  unregister_netdev(vi.netdev);
  if (vi.failover != 0) net_failover_destroy(changetype<NetDevice>(vi.failover));
  if (!pci_dev_is_disconnected(vdev.pdev)) virtio_reset_device(vdev);
  virtnet_del_vqs(vi);
  virtnet_free(vi);
}

/** Boot CPU, once PCI is there. */
export function virtio_net_driver_init(): void {
  driver.name = str('virtio_net');
  driver.feature_table = FEATURES;
  driver.probe = virtnet_probe;
  driver.remove = virtnet_remove;
  register_virtio_driver(driver);
}
