// virtio devices as their drivers see them: status, features, configuration; transports fill that in (virtio_pci_modern).
// Virtio 1.2, chapters 2 and 3.
import { PciDev } from '../pci/pci';

export const VIRTIO_CONFIG_S_ACKNOWLEDGE: u32 = 1;
export const VIRTIO_CONFIG_S_DRIVER: u32 = 2;
export const VIRTIO_CONFIG_S_DRIVER_OK: u32 = 4;
export const VIRTIO_CONFIG_S_FEATURES_OK: u32 = 8;
export const VIRTIO_CONFIG_S_NEEDS_RESET: u32 = 0x40;
export const VIRTIO_CONFIG_S_FAILED: u32 = 0x80;

// Features, by bit.
export const VIRTIO_F_VERSION_1: u64 = 1 << 32;
export const VIRTIO_F_ACCESS_PLATFORM: u64 = 1 << 33;

// @ts-ignore: decorator
@unmanaged export class VirtioDevice {
  /** `virtio0` with a NUL. */
  name: usize;
  pdev: PciDev;
  /** Features that driver and device agree on. */
  features: u64;
  /** Where the structures of the modern transport lie; `device` is 0 without a configuration of the device's own. */
  common: usize;
  isr: usize;
  device: usize;
  notify_base: usize;
  notify_offset_multiplier: u32;
  /** The driver's own. */
  priv: usize;
  /** Number of `virtioN`. */
  index: u32;
}

// @ts-ignore: decorator
@inline export function virtio_has_feature(vdev: VirtioDevice, feature: u64): bool {
  return (vdev.features & feature) != 0;
}
