// What a machine has beyond CPUs and memory: found and started before the workload. Without PCI nothing of this runs.
import { edu_init_module } from '../drivers/misc/edu';
import { ixgbevf_init_module } from '../drivers/net/ixgbevf/main';
import { acpiphp_init } from '../drivers/pci/hotplug/acpiphp';
import { pcie_hp_init } from '../drivers/pci/hotplug/pciehp_core';
import { pcie_aer_init } from '../drivers/pci/pcie/aer';
import { pci_replace_event_init } from '../drivers/pci/pcie/replace_event';
import { ferry_channel_init } from '../drivers/pci/pcie/ferry_channel';
import { ferry_pm_init } from '../drivers/pci/pcie/ferry_pm';
import { ferry_dma_init } from '../drivers/pci/pcie/ferry_dma';
import { ferry_keep_init } from '../drivers/pci/pcie/ferry_keep';
import { pcie_port_bus_init, pcie_portdrv_init } from '../drivers/pci/pcie/portdrv';
import { virtio_net_driver_init } from '../drivers/net/virtio_net';
import { pci_subsys_init } from '../drivers/pci/probe';
import { dma_debug_init } from '../drivers/base/dma-debug';
import { dma_mapped_init } from '../drivers/base/dma-touch';
import { net_dev_init } from '../net/core/dev';
import { inet_init } from '../net/ipv4/af_inet';
import { ip_auto_config } from '../net/ipv4/ipconfig';

export function devices_init(): void {
  net_dev_init();
  inet_init();
  if (!pci_subsys_init()) return;
  dma_mapped_init();
  dma_debug_init();
  pcie_port_bus_init();
  ferry_channel_init();
  ferry_keep_init();
  ferry_dma_init();
  pcie_hp_init();
  pcie_aer_init();
  pci_replace_event_init();
  ferry_pm_init();
  virtio_net_driver_init();
  ixgbevf_init_module();
  edu_init_module();
  pcie_portdrv_init();
  acpiphp_init();
  ip_auto_config();
}
