// The edu device, as QEMU documents it: a DMA engine with a buffer of 4 KiB, between which and memory it moves what it is told
// to, one transfer at a time. What this driver makes of it is a copy of memory to memory, through that buffer.
import { readl, writel } from '../../asm/io';
import { pr_err, pr_info } from '../../kernel/printk';
import { str } from '../../lib/string';
import { kfree, kmalloc } from '../../mm/slab';
import { DMA_FROM_DEVICE, DMA_TO_DEVICE, dma_map_single, dma_unmap_single } from '../base/dma-mapping';
import { pci_register_driver } from '../pci/bus';
import { pci_disable_msi, pci_enable_msi } from '../pci/msi';
import {
  PciDev,
  PciDriver,
  pci_disable_device,
  pci_enable_device,
  pci_iomap,
  pci_set_master,
} from '../pci/pci';

const EDU_ID: u32 = 0x11e8_1234;

const EDU_IDENTIFICATION: u32 = 0x00;
const EDU_NAME: u32 = 0xed;
const EDU_LIVENESS: u32 = 0x04;
const EDU_INTERRUPT_STATUS: u32 = 0x24;
const EDU_INTERRUPT_ACKNOWLEDGE: u32 = 0x64;
const EDU_DMA_SOURCE: u32 = 0x80;
const EDU_DMA_DESTINATION: u32 = 0x88;
const EDU_DMA_COUNT: u32 = 0x90;
const EDU_DMA_COMMAND: u32 = 0x98;
const EDU_DMA_START: u32 = 1;
const EDU_DMA_TO_MEMORY: u32 = 2;
const EDU_DMA_RAISES_INTERRUPT: u32 = 4;
const EDU_INTERRUPT_DMA: u32 = 0x100;

/** Where the device has its buffer, in addresses of its own. */
const EDU_BUFFER: u32 = 0x4_0000;
export const EDU_BUFFER_BYTES: u32 = 4096;

/** Called with what was handed over with the copy, and whether it came about: from an interrupt, or when the device goes. */
export type EduComplete = (data: usize, done: bool) => void;

// @ts-ignore: decorator
@unmanaged class Edu {
  pdev: PciDev;
  hw_addr: usize;
  /** The copy that is being made: 0 bytes without one. */
  bytes: u32;
  from: usize;
  to: usize;
  /** The first half is done: the bytes are in the device's buffer. */
  fetched: bool;
  complete: EduComplete;
  data: usize;
}

const id_table = memory.data<u32>([EDU_ID, 0]);
const driver = changetype<PciDriver>(memory.data(48, 16));
/** The device that copies are made by; 0 without one. */
const current = memory.data(4, 4);

// @ts-ignore: decorator
@inline function edu_current(): Edu | null { return changetype<Edu | null>(<usize>load<u32>(current)); }

/** Whether there is a device. */
export function edu_present(): bool { return edu_current() !== null; }

function edu_start(edu: Edu, source: usize, destination: usize, command: u32): void {
  writel(<u32>source, edu.hw_addr + EDU_DMA_SOURCE);
  writel(0, edu.hw_addr + EDU_DMA_SOURCE + 4);
  writel(<u32>destination, edu.hw_addr + EDU_DMA_DESTINATION);
  writel(0, edu.hw_addr + EDU_DMA_DESTINATION + 4);
  writel(edu.bytes, edu.hw_addr + EDU_DMA_COUNT);
  writel(command | EDU_DMA_START | EDU_DMA_RAISES_INTERRUPT, edu.hw_addr + EDU_DMA_COMMAND);
}

/**
 * Has `bytes` (EDU_BUFFER_BYTES at most) at `from` copied to `to`; neither may be touched until `complete` is called. False
 * without a device, or while it is busy.
 */
export function edu_copy(to: usize, from: usize, bytes: u32, complete: EduComplete, data: usize): bool {
  const edu = edu_current();
  if (edu === null || edu.bytes != 0) return false;
  edu.bytes = bytes;
  edu.fetched = false;
  edu.complete = complete;
  edu.data = data;
  edu.from = dma_map_single(edu.pdev, from, bytes, DMA_TO_DEVICE);
  edu.to = dma_map_single(edu.pdev, to, bytes, DMA_FROM_DEVICE);
  edu_start(edu, edu.from, EDU_BUFFER, 0);
  return true;
}

/** The copy is over, whether it came about or not. */
function edu_finish(edu: Edu, done: bool): void {
  dma_unmap_single(edu.pdev, edu.from, edu.bytes, DMA_TO_DEVICE);
  dma_unmap_single(edu.pdev, edu.to, edu.bytes, DMA_FROM_DEVICE);
  edu.bytes = 0;
  edu.complete(edu.data, done);
}

function edu_irq(data: usize): void {
  const edu = changetype<Edu>(data);
  const status = readl(edu.hw_addr + EDU_INTERRUPT_STATUS);
  // All ones: the device is gone, and its slot will say so.
  if (status == 0 || status == 0xffff_ffff) return;
  writel(status, edu.hw_addr + EDU_INTERRUPT_ACKNOWLEDGE);
  if ((status & EDU_INTERRUPT_DMA) == 0 || edu.bytes == 0) return;
  if (edu.fetched) {
    edu_finish(edu, true);
    return;
  }
  edu.fetched = true;
  edu_start(edu, EDU_BUFFER, edu.to, EDU_DMA_TO_MEMORY);
}

function edu_probe(dev: PciDev): bool {
  pci_enable_device(dev);
  const hw_addr = pci_iomap(dev, 0);
  const version = hw_addr != 0 ? readl(hw_addr + EDU_IDENTIFICATION) : 0;
  if ((version & 0xffff) != EDU_NAME) {
    pr_err('edu %S: no device answers: 0x%08x', dev.name, version);
    return false;
  }
  writel(version, hw_addr + EDU_LIVENESS);
  if (readl(hw_addr + EDU_LIVENESS) != ~version) {
    pr_err('edu %S: the device is not alive', dev.name);
    return false;
  }
  const edu = changetype<Edu>(kmalloc(offsetof<Edu>()));
  edu.pdev = dev;
  edu.hw_addr = hw_addr;
  edu.bytes = 0;
  if (!pci_enable_msi(dev, 0, edu_irq, str('edu'), changetype<usize>(edu))) {
    pr_err('edu %S: no interrupt', dev.name);
    kfree(changetype<usize>(edu));
    return false;
  }
  pci_set_master(dev);
  dev.drvdata = changetype<usize>(edu);
  pr_info('edu %S: version %u.%u, %u bytes of buffer', dev.name, version >> 24, (version >> 16) & 0xff, EDU_BUFFER_BYTES);
  if (edu_current() === null) store<u32>(current, <u32>changetype<usize>(edu));
  return true;
}

function edu_remove(dev: PciDev): void {
  const edu = changetype<Edu>(dev.drvdata);
  if (edu_current() === edu) store<u32>(current, 0);
  pci_disable_device(dev);
  pci_disable_msi(dev);
  if (edu.bytes != 0) edu_finish(edu, false);
  kfree(changetype<usize>(edu));
}

/** Boot CPU. */
export function edu_init_module(): void {
  driver.name = str('edu');
  driver.id_table = id_table;
  driver.probe = edu_probe;
  driver.remove = edu_remove;
  pci_register_driver(driver);
}
