// virtio over PCI, by vendor capabilities that say where the structures lie. Virtio 1.2, 4.1
import { readb, readl, readw, writeb, writel, writew } from '../../asm/io';
import { pr_err } from '../../kernel/printk';
import { msleep } from '../../kernel/sched';
import { str } from '../../lib/string';
import { scnprintf } from '../../lib/vsprintf';
import { kfree, kmalloc } from '../../mm/slab';
import { pci_register_driver } from '../pci/bus';
import { pci_disable_msix } from '../pci/msi';
import {
  PciDev,
  PciDriver,
  pci_dev_is_disconnected,
  pci_disable_device,
  pci_enable_device,
  pci_iomap,
  pci_read_config_byte,
  pci_read_config_dword,
  pci_set_master,
} from '../pci/pci';
import { PCI_CAPABILITY_LIST } from '../pci/pci_regs';
import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FAILED,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_VERSION_1,
  VirtioDevice,
} from './virtio';
import { Virtqueue, vring_create_virtqueue } from './virtio_ring';

const PCI_VENDOR_ID_REDHAT_QUMRANET: u32 = 0x1af4;
const VIRTIO_ID_NET: u32 = 1;
const VIRTIO_PCI_MODERN_ID: u32 = 0x1040;

const PCI_CAP_ID_VNDR: u32 = 0x09;
const VIRTIO_PCI_CAP_CFG_TYPE: u32 = 3;
const VIRTIO_PCI_CAP_BAR: u32 = 4;
const VIRTIO_PCI_CAP_OFFSET: u32 = 8;
const VIRTIO_PCI_NOTIFY_CAP_MULT: u32 = 16;
const VIRTIO_PCI_CAP_COMMON_CFG: u32 = 1;
const VIRTIO_PCI_CAP_NOTIFY_CFG: u32 = 2;
const VIRTIO_PCI_CAP_ISR_CFG: u32 = 3;
const VIRTIO_PCI_CAP_DEVICE_CFG: u32 = 4;

// Common configuration.
const DEVICE_FEATURE_SELECT: u32 = 0x00;
const DEVICE_FEATURE: u32 = 0x04;
const GUEST_FEATURE_SELECT: u32 = 0x08;
const GUEST_FEATURE: u32 = 0x0c;
const MSIX_CONFIG: u32 = 0x10;
const DEVICE_STATUS: u32 = 0x14;
const CONFIG_GENERATION: u32 = 0x15;
const QUEUE_SELECT: u32 = 0x16;
const QUEUE_SIZE: u32 = 0x18;
const QUEUE_MSIX_VECTOR: u32 = 0x1a;
const QUEUE_ENABLE: u32 = 0x1c;
const QUEUE_NOTIFY_OFF: u32 = 0x1e;
const QUEUE_DESC: u32 = 0x20;
const QUEUE_AVAIL: u32 = 0x28;
const QUEUE_USED: u32 = 0x30;

export const VIRTIO_MSI_NO_VECTOR: u32 = 0xffff;
/** Longest time that a reset may take, in ms. */
const RESET_PATIENCE = 100;

/** A driver of a type of devices. */
// @ts-ignore: decorator
@unmanaged export class VirtioDriver {
  /** String literal. */
  name: usize;
  /** Features that it can use. */
  feature_table: u64;
  probe: (vdev: VirtioDevice) => bool;
  /** Undoes probe. The device may be gone. */
  remove: (vdev: VirtioDevice) => void;
}

const id_table = memory.data<u32>([
  ((VIRTIO_PCI_MODERN_ID + VIRTIO_ID_NET) << 16) | PCI_VENDOR_ID_REDHAT_QUMRANET, 0,
]);
const driver = changetype<PciDriver>(memory.data(48, 16));
/** What drives network devices, the only ones that there are. */
const net_driver = memory.data(4, 4);
const numbers = memory.data(4, 4);

// @ts-ignore: decorator
@inline function virtio_net_driver(): VirtioDriver { return changetype<VirtioDriver>(load<usize>(net_driver)); }

// ---------------------------------------------------------------------------------------------------------------------
// What drivers call

export function virtio_get_status(vdev: VirtioDevice): u32 { return readb(vdev.common + DEVICE_STATUS); }

function virtio_add_status(vdev: VirtioDevice, status: u32): void {
  writeb(<u8>(virtio_get_status(vdev) | status), vdev.common + DEVICE_STATUS);
}

export function virtio_device_ready(vdev: VirtioDevice): void { virtio_add_status(vdev, VIRTIO_CONFIG_S_DRIVER_OK); }

/** The device touches no memory any more when this returns. One that is gone touches none. */
export function virtio_reset_device(vdev: VirtioDevice): void {
  writeb(0, vdev.common + DEVICE_STATUS);
  for (let i = 0; i < RESET_PATIENCE && virtio_get_status(vdev) != 0; i++) {
    if (pci_dev_is_disconnected(vdev.pdev)) return;
    msleep(1);
  }
}

/** The device's own configuration, read as often as it takes to have it from one moment. */
export function virtio_cread16(vdev: VirtioDevice, offset: u32): u32 {
  let generation: u32;
  let value: u32;
  do {
    generation = readb(vdev.common + CONFIG_GENERATION);
    value = readw(vdev.device + offset);
  } while (readb(vdev.common + CONFIG_GENERATION) != <u8>generation);
  return value;
}

/** Parts of the configuration that never change. */
export function virtio_cread_bytes(vdev: VirtioDevice, offset: u32, to: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) store<u8>(to + i, readb(vdev.device + offset + i));
}

/** Has configuration changes interrupt with `vector`; false if the device has no such vector. */
export function virtio_config_vector(vdev: VirtioDevice, vector: u32): bool {
  writew(<u16>vector, vdev.common + MSIX_CONFIG);
  return readw(vdev.common + MSIX_CONFIG) == <u16>vector;
}

function write64(address: usize, at: usize): void {
  writel(<u32>address, at);
  writel(0, at + 4);
}

/** Places queue `index`, which interrupts with `vector`, and turns it on; null if there is none, or no memory. */
export function setup_vq(vdev: VirtioDevice, index: u32, vector: u32): Virtqueue | null {
  const common = vdev.common;
  writew(<u16>index, common + QUEUE_SELECT);
  const num: u32 = readw(common + QUEUE_SIZE);
  if (num == 0 || (num & (num - 1)) != 0 || readw(common + QUEUE_ENABLE) != 0) return null;
  const notify = vdev.notify_base + <usize>readw(common + QUEUE_NOTIFY_OFF) * vdev.notify_offset_multiplier;
  const vq = vring_create_virtqueue(vdev, index, num, notify);
  if (vq === null) return null;
  write64(vq.desc, common + QUEUE_DESC);
  write64(vq.avail, common + QUEUE_AVAIL);
  write64(vq.used, common + QUEUE_USED);
  writew(<u16>vector, common + QUEUE_MSIX_VECTOR);
  writew(1, common + QUEUE_ENABLE);
  return vq;
}

// ---------------------------------------------------------------------------------------------------------------------
// Probe

/** Finds the structure of a type: where its capability lies in configuration space, or 0. */
function virtio_pci_find_capability(pdev: PciDev, cfg_type: u32): u32 {
  let at = pci_read_config_byte(pdev, PCI_CAPABILITY_LIST) & ~3;
  for (let ttl = 48; ttl > 0 && at >= 0x40; ttl--) {
    const header = pci_read_config_dword(pdev, at);
    // What lies in a BAR that is not there is for somebody else.
    const usable = (header & 0xff) == PCI_CAP_ID_VNDR && header >> 24 == cfg_type;
    if (usable && pci_iomap(pdev, pci_read_config_byte(pdev, at + VIRTIO_PCI_CAP_BAR)) != 0) return at;
    at = (header >> 8) & 0xfc;
  }
  return 0;
}

function vp_modern_map_capability(pdev: PciDev, cfg_type: u32): usize {
  const at = virtio_pci_find_capability(pdev, cfg_type);
  if (at == 0) return 0;
  const base = pci_iomap(pdev, pci_read_config_byte(pdev, at + VIRTIO_PCI_CAP_BAR));
  return base + pci_read_config_dword(pdev, at + VIRTIO_PCI_CAP_OFFSET);
}

function vp_modern_probe(vdev: VirtioDevice): bool {
  const pdev = vdev.pdev;
  vdev.common = vp_modern_map_capability(pdev, VIRTIO_PCI_CAP_COMMON_CFG);
  vdev.isr = vp_modern_map_capability(pdev, VIRTIO_PCI_CAP_ISR_CFG);
  vdev.notify_base = vp_modern_map_capability(pdev, VIRTIO_PCI_CAP_NOTIFY_CFG);
  vdev.device = vp_modern_map_capability(pdev, VIRTIO_PCI_CAP_DEVICE_CFG);
  if (vdev.common == 0) {
    pr_err('virtio-pci %S: leaving for legacy driver', pdev.name);
    return false;
  }
  if (vdev.isr == 0 || vdev.notify_base == 0) {
    pr_err('virtio-pci %S: missing capabilities', pdev.name);
    return false;
  }
  const notify = virtio_pci_find_capability(pdev, VIRTIO_PCI_CAP_NOTIFY_CFG);
  vdev.notify_offset_multiplier = pci_read_config_dword(pdev, notify + VIRTIO_PCI_NOTIFY_CAP_MULT);
  return true;
}

function vp_get_features(vdev: VirtioDevice): u64 {
  writel(0, vdev.common + DEVICE_FEATURE_SELECT);
  const low: u64 = readl(vdev.common + DEVICE_FEATURE);
  writel(1, vdev.common + DEVICE_FEATURE_SELECT);
  return low | (<u64>readl(vdev.common + DEVICE_FEATURE) << 32);
}

/** Agrees with the device on features; false if it does not. */
function virtio_features_ok(vdev: VirtioDevice, wanted: u64): bool {
  vdev.features = vp_get_features(vdev) & (wanted | VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM);
  if ((vdev.features & VIRTIO_F_VERSION_1) == 0) {
    pr_err('virtio-pci %S: virtio: device uses modern interface but does not have VIRTIO_F_VERSION_1', vdev.pdev.name);
    return false;
  }
  writel(0, vdev.common + GUEST_FEATURE_SELECT);
  writel(<u32>vdev.features, vdev.common + GUEST_FEATURE);
  writel(1, vdev.common + GUEST_FEATURE_SELECT);
  writel(<u32>(vdev.features >> 32), vdev.common + GUEST_FEATURE);
  virtio_add_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);
  if (virtio_get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK) return true;
  pr_err('virtio%u: device refuses features: %x', vdev.index, <u32>vdev.features);
  return false;
}

function free_vdev(vdev: VirtioDevice): void {
  kfree(vdev.name);
  kfree(changetype<usize>(vdev));
}

function virtio_pci_probe(pdev: PciDev): bool {
  const vdev = changetype<VirtioDevice>(kmalloc(offsetof<VirtioDevice>()));
  vdev.pdev = pdev;
  vdev.name = kmalloc(16);
  vdev.index = load<u32>(numbers);
  store<u8>(vdev.name + scnprintf(vdev.name, 15, 'virtio%u', vdev.index), 0);
  pci_enable_device(pdev);
  pci_set_master(pdev);
  if (!vp_modern_probe(vdev)) {
    free_vdev(vdev);
    return false;
  }
  store<u32>(numbers, vdev.index + 1);
  pdev.drvdata = changetype<usize>(vdev);
  virtio_reset_device(vdev);
  virtio_add_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
  virtio_add_status(vdev, VIRTIO_CONFIG_S_DRIVER);
  const type = virtio_net_driver();
  if (virtio_features_ok(vdev, type.feature_table) && type.probe(vdev)) return true;
  virtio_add_status(vdev, VIRTIO_CONFIG_S_FAILED);
  pci_disable_msix(pdev);
  pci_disable_device(pdev);
  pdev.drvdata = 0;
  free_vdev(vdev);
  return false;
}

function virtio_pci_remove(pdev: PciDev): void {
  const vdev = changetype<VirtioDevice>(pdev.drvdata);
  virtio_net_driver().remove(vdev);
  pci_disable_device(pdev);
  pdev.drvdata = 0;
  free_vdev(vdev);
}

/** Boot CPU, once PCI is there: has `type` drive every network device. */
export function register_virtio_driver(type: VirtioDriver): void {
  store<usize>(net_driver, changetype<usize>(type));
  driver.name = str('virtio-pci');
  driver.id_table = id_table;
  driver.probe = virtio_pci_probe;
  driver.remove = virtio_pci_remove;
  pci_register_driver(driver);
}
