// ixgbevf: the driver of the 82599's virtual function. Probe, up and down, and the service task that watches the link.
import { boot_params } from '../../../asm/setup';
import { hotplug_lock } from '../../../kernel/hotplug';
import { param_u64 } from '../../../kernel/params';
import { pr_err, pr_info } from '../../../kernel/printk';
import { NSEC_PER_SEC, ktime_get } from '../../../kernel/time';
import { TimerList, mod_timer, timer_delete, timer_setup } from '../../../kernel/timer';
import { INIT_WORK, WorkStruct, cancel_work_sync } from '../../../kernel/workqueue';
import { mix64 } from '../../../lib/random';
import { str } from '../../../lib/string';
import { kfree, kmalloc } from '../../../mm/slab';
import {
  IFF_UP,
  NapiStruct,
  NetDevice,
  alloc_netdev,
  free_netdev,
  napi_disable,
  napi_enable,
  napi_schedule,
  netif_carrier_off,
  netif_carrier_on,
  netif_device_attach,
  netif_device_detach,
  netif_napi_add,
  netif_stop_queue,
  netif_wake_queue,
  register_netdev,
  unregister_netdev,
} from '../../../net/core/dev';
import { ETH_HLEN, is_valid_ether_addr } from '../../../net/ethernet/eth';
import { DMA_TOUCH_BY_DRIVER } from '../../base/dma-touch';
import { channel_word, ferry_channel_register } from '../../pci/pcie/ferry_channel';
import { ferry_dma_toggle } from '../../pci/pcie/ferry_dma';
import { pci_driver_has_all, pci_register_driver } from '../../pci/bus';
import {
  PCI_ERS_RESULT_DISCONNECT,
  PCI_ERS_RESULT_NEED_RESET,
  PCI_ERS_RESULT_RECOVERED,
  PciDev,
  PciDriver,
  PciErrorHandlers,
  pci_channel_io_perm_failure,
  pci_channel_offline,
  pci_dev_is_disconnected,
  pci_disable_device,
  pci_enable_device,
  pci_iomap,
  pci_set_master,
} from '../../pci/pci';
import { pci_disable_msix, pci_enable_msix, pci_free_irq, pci_request_irq } from '../../pci/msi';
import {
  IXGBE_DEV_ID_82599_VF,
  IXGBE_LINKS_SPEED_10G_82599,
  IXGBE_LINKS_SPEED_1G_82599,
  IXGBE_TXDCTL_SWFLSH,
  IXGBE_VFPSRTYPE,
  IXGBE_VFTXDCTL,
  IXGBE_VTEICR,
  IXGBE_VTEICS,
  IXGBE_VTEIMS,
  PCI_VENDOR_ID_INTEL,
} from './defines';
import {
  IXGBEVF_DEFAULT_RXD,
  IXGBEVF_MAX_DESC,
  IXGBEVF_MIN_DESC,
  IXGBEVF_DEFAULT_TXD,
  IxgbevfAdapter,
  IxgbevfRing,
  NUM_MSIX_VECTORS,
  OTHER_VECTOR,
  QUEUE_VECTOR,
  __IXGBEVF_DOWN,
  __IXGBEVF_REMOVED,
  __IXGBEVF_RESET_REQUESTED,
  __IXGBEVF_SERVICE_INITED,
  clear_state,
  ixgbe_read_reg,
  ixgbe_write_reg,
  ixgbevf_remove_adapter,
  ixgbevf_service_event_schedule,
  set_state,
  test_state,
} from './ixgbevf';
import {
  ixgbevf_clean_rx_ring,
  ixgbevf_clean_tx_ring,
  ixgbevf_free_rx_resources,
  ixgbevf_free_tx_resources,
  ixgbevf_poll,
  ixgbevf_setup_rx_resources,
  ixgbevf_setup_tx_resources,
  ixgbevf_xmit_flush,
  ixgbevf_xmit_frame,
} from './txrx';
import {
  ixgbevf_check_mac_link_vf,
  ixgbevf_get_link_state_vf,
  ixgbevf_get_queues,
  ixgbevf_negotiate_api,
  ixgbevf_reset_hw_vf,
  ixgbevf_set_rar_vf,
  ixgbevf_set_rlpml_vf,
  ixgbevf_set_rx_mode,
  ixgbevf_vlan_rx_add_vid,
} from './vf';
import {
  ixgbevf_configure_msix,
  ixgbevf_configure_rx_ring,
  ixgbevf_configure_tx_ring,
  ixgbevf_disable_rx_queue,
  ixgbevf_irq_disable,
  ixgbevf_irq_enable,
} from './configure';

const SERVICE_PERIOD: u64 = 2 * NSEC_PER_SEC;
const RESET_INTERVAL: u64 = 10 * NSEC_PER_SEC;
const FCS_AND_HEADER: u32 = ETH_HLEN + 4;
const ETH_DATA_LEN: u32 = 1500;
const ETH_MIN_MTU: u32 = 68;
/** A frame has one receive buffer. */
const IXGBEVF_MAX_MTU: u32 = 2000;

const id_table = memory.data<u32>([(IXGBE_DEV_ID_82599_VF << 16) | PCI_VENDOR_ID_INTEL, 0]);
const driver = changetype<PciDriver>(memory.data(48, 16));
const error_handlers = changetype<PciErrorHandlers>(memory.data(16, 16));

// ---------------------------------------------------------------------------------------------------------------------
// Interrupts

function ixgbevf_msix_clean_rings(data: usize): void {
  // Masked by the device itself until the poll is done.
  napi_schedule(changetype<IxgbevfAdapter>(data).napi);
}

function ixgbevf_msix_other(data: usize): void {
  const adapter = changetype<IxgbevfAdapter>(data);
  adapter.get_link_status = true;
  ixgbevf_service_event_schedule(adapter);
  ixgbe_write_reg(adapter, IXGBE_VTEIMS, 1 << OTHER_VECTOR);
}

function ixgbevf_request_msix_irqs(adapter: IxgbevfAdapter): bool {
  const data = changetype<usize>(adapter);
  if (!pci_request_irq(adapter.pdev, QUEUE_VECTOR, 0, ixgbevf_msix_clean_rings, str('eth-TxRx-0'), data)) return false;
  if (pci_request_irq(adapter.pdev, OTHER_VECTOR, 0, ixgbevf_msix_other, str('eth-other'), data)) return true;
  pci_free_irq(adapter.pdev, QUEUE_VECTOR);
  return false;
}

// ---------------------------------------------------------------------------------------------------------------------
// Up and down

/** A PF that does not grant frames of that size lets the VF receive nothing: it is asked for ordinary ones then. */
function ixgbevf_set_mtu(adapter: IxgbevfAdapter): void {
  const netdev = adapter.netdev;
  if (ixgbevf_set_rlpml_vf(adapter, netdev.mtu + FCS_AND_HEADER)) return;
  pr_err('ixgbevf %S: Failed to set MTU at %u', adapter.pdev.name, netdev.mtu);
  if (netdev.mtu == ETH_DATA_LEN) return;
  netdev.mtu = ETH_DATA_LEN;
  if (!ixgbevf_set_rlpml_vf(adapter, netdev.mtu + FCS_AND_HEADER)) {
    pr_err('ixgbevf %S: Failed to set MTU at %u', adapter.pdev.name, netdev.mtu);
  }
}

function ixgbevf_configure(adapter: IxgbevfAdapter): void {
  ixgbevf_set_rx_mode(adapter);
  if (!ixgbevf_vlan_rx_add_vid(adapter, 0)) pr_err('ixgbevf %S: Unable to add VLAN 0', adapter.pdev.name);
  ixgbevf_configure_tx_ring(adapter);
  ixgbe_write_reg(adapter, IXGBE_VFPSRTYPE, 0);
  ixgbevf_set_mtu(adapter);
  ixgbevf_configure_rx_ring(adapter);
}

function ixgbevf_up_complete(adapter: IxgbevfAdapter): void {
  ixgbevf_configure_msix(adapter);
  ixgbevf_set_rar_vf(adapter, adapter.netdev.dev_addr);
  adapter.link_state = ixgbevf_get_link_state_vf(adapter);
  clear_state(adapter, __IXGBEVF_DOWN);
  napi_enable(adapter.napi);
  ixgbe_read_reg(adapter, IXGBE_VTEICR);
  ixgbevf_irq_enable(adapter);
  netif_wake_queue(adapter.netdev);
  adapter.get_link_status = true;
  mod_timer(adapter.service_timer, ktime_get());
}

/** Resets the device and finds out again what the PF offers; false if that failed. */
function ixgbevf_reset(adapter: IxgbevfAdapter): bool {
  const netdev = adapter.netdev;
  adapter.last_reset = ktime_get();
  if (!ixgbevf_reset_hw_vf(adapter, netdev.dev_addr)) {
    pr_err('ixgbevf %S: PF still resetting', adapter.pdev.name);
    return false;
  }
  ixgbevf_negotiate_api(adapter);
  return true;
}

/** Stops everything, then resets the device, so that it touches memory no more. One that is cut off or gone touches none. */
function ixgbevf_down(adapter: IxgbevfAdapter): void {
  if (set_state(adapter, __IXGBEVF_DOWN) != 0) return;
  ixgbevf_disable_rx_queue(adapter);
  netif_stop_queue(adapter.netdev);
  netif_carrier_off(adapter.netdev);
  ixgbevf_irq_disable(adapter);
  napi_disable(adapter.napi);
  timer_delete(adapter.service_timer);
  ixgbe_write_reg(adapter, IXGBE_VFTXDCTL, IXGBE_TXDCTL_SWFLSH);
  if (adapter.hw_addr != 0 && !pci_channel_offline(adapter.pdev)) ixgbevf_reset(adapter);
  ixgbevf_clean_tx_ring(adapter);
  ixgbevf_clean_rx_ring(adapter);
}

function ixgbevf_reinit_locked(adapter: IxgbevfAdapter): void {
  ixgbevf_down(adapter);
  if (adapter.hw_addr == 0) return;
  ixgbevf_configure(adapter);
  ixgbevf_up_complete(adapter);
}

/** Descriptors of a ring, as `ethtool -G` would set them: a multiple of 8 within the bounds. */
function ring_size(name: string, fallback: u32): u32 {
  return (<u32>min<u64>(max<u64>(param_u64(name, fallback), IXGBEVF_MIN_DESC), IXGBEVF_MAX_DESC) + 7) & ~7;
}

function ixgbevf_open(netdev: NetDevice): bool {
  const adapter = changetype<IxgbevfAdapter>(netdev.priv);
  if (!ixgbevf_setup_tx_resources(adapter, ring_size('tx_ring', IXGBEVF_DEFAULT_TXD)) ||
      !ixgbevf_setup_rx_resources(adapter, ring_size('rx_ring', IXGBEVF_DEFAULT_RXD))) {
    pr_err('ixgbevf %S: no memory for the rings', adapter.pdev.name);
    ixgbevf_free_all_resources(adapter);
    return false;
  }
  ixgbevf_configure(adapter);
  if (!ixgbevf_request_msix_irqs(adapter)) {
    ixgbevf_reset(adapter);
    ixgbevf_free_all_resources(adapter);
    return false;
  }
  set_state(adapter, __IXGBEVF_SERVICE_INITED);
  ixgbevf_up_complete(adapter);
  return true;
}

function ixgbevf_free_all_resources(adapter: IxgbevfAdapter): void {
  ixgbevf_free_tx_resources(adapter);
  ixgbevf_free_rx_resources(adapter);
}

/** Undoes ixgbevf_open. */
function ixgbevf_close(netdev: NetDevice): void {
  const adapter = changetype<IxgbevfAdapter>(netdev.priv);
  ixgbevf_down(adapter);
  pci_free_irq(adapter.pdev, QUEUE_VECTOR);
  pci_free_irq(adapter.pdev, OTHER_VECTOR);
  ixgbevf_free_all_resources(adapter);
}

// ---------------------------------------------------------------------------------------------------------------------
// The service task

function link_speed_name(speed: u32): usize {
  if (speed == IXGBE_LINKS_SPEED_10G_82599) return str('10 Gbps');
  return speed == IXGBE_LINKS_SPEED_1G_82599 ? str('1 Gbps') : str('100 Mbps');
}

function ixgbevf_watchdog_link(adapter: IxgbevfAdapter): void {
  if (!ixgbevf_check_mac_link_vf(adapter) && ktime_get() > adapter.last_reset + RESET_INTERVAL) {
    set_state(adapter, __IXGBEVF_RESET_REQUESTED);
    ixgbevf_service_event_schedule(adapter);
  }
  const netdev = adapter.netdev;
  const up = adapter.link_up && adapter.link_state;
  if (up && netdev.carrier == 0) {
    pr_info('ixgbevf %S %S: NIC Link is Up %s', adapter.pdev.name, netdev.name, link_speed_name(adapter.link_speed));
    netif_carrier_on(netdev);
  } else if (!up && netdev.carrier != 0) {
    pr_info('ixgbevf %S %S: NIC Link is Down', adapter.pdev.name, netdev.name);
    netif_carrier_off(netdev);
  }
}

function ixgbevf_service_task(work: WorkStruct): void {
  const adapter = changetype<IxgbevfAdapter>(work.data);
  if (test_state(adapter, __IXGBEVF_REMOVED)) {
    ixgbevf_down(adapter);
    return;
  }
  if (clear_state(adapter, __IXGBEVF_RESET_REQUESTED) != 0 && !test_state(adapter, __IXGBEVF_DOWN)) {
    pr_err('ixgbevf %S: Reset adapter', adapter.pdev.name);
    ixgbevf_reinit_locked(adapter);
  }
  if (test_state(adapter, __IXGBEVF_DOWN)) return;
  ixgbevf_watchdog_link(adapter);
  // An interrupt that got lost anywhere is made up for.
  if (adapter.netdev.carrier != 0) ixgbe_write_reg(adapter, IXGBE_VTEICS, 1 << QUEUE_VECTOR);
}

function ixgbevf_service_timer(timer: TimerList): void {
  const adapter = changetype<IxgbevfAdapter>(timer.data);
  mod_timer(timer, ktime_get() + SERVICE_PERIOD);
  ixgbevf_service_event_schedule(adapter);
}

// ---------------------------------------------------------------------------------------------------------------------
// Probe

/** A locally administered address, from the machine's seed. */
function eth_hw_addr_random(address: usize): void {
  const random = mix64(boot_params().seed ^ boot_params().wall_clock_ns);
  store<u32>(address, <u32>random);
  store<u16>(address, <u16>(random >> 32), 4);
  store<u8>(address, (load<u8>(address) & 0xfe) | 0x02);
}

function ixgbevf_alloc_adapter(pdev: PciDev): IxgbevfAdapter {
  const adapter = changetype<IxgbevfAdapter>(kmalloc(offsetof<IxgbevfAdapter>()));
  adapter.pdev = pdev;
  adapter.netdev = alloc_netdev();
  adapter.netdev.priv = changetype<usize>(adapter);
  adapter.netdev.parent = changetype<usize>(pdev);
  adapter.netdev.open = ixgbevf_open;
  adapter.netdev.stop = ixgbevf_close;
  adapter.netdev.start_xmit = ixgbevf_xmit_frame;
  adapter.netdev.mtu = <u32>min<u64>(max<u64>(param_u64('mtu', ETH_DATA_LEN), ETH_MIN_MTU), IXGBEVF_MAX_MTU);
  adapter.netdev.xmit_flush = ixgbevf_xmit_flush;
  adapter.state = __IXGBEVF_DOWN;
  adapter.tx_ring = changetype<IxgbevfRing>(kmalloc(offsetof<IxgbevfRing>()));
  adapter.rx_ring = changetype<IxgbevfRing>(kmalloc(offsetof<IxgbevfRing>()));
  adapter.napi = changetype<NapiStruct>(kmalloc(offsetof<NapiStruct>()));
  netif_napi_add(adapter.napi, ixgbevf_poll, changetype<usize>(adapter));
  adapter.service_timer = changetype<TimerList>(kmalloc(offsetof<TimerList>()));
  timer_setup(adapter.service_timer, ixgbevf_service_timer, changetype<usize>(adapter));
  adapter.service_task = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
  INIT_WORK(adapter.service_task, ixgbevf_service_task, changetype<usize>(adapter), hotplug_lock());
  return adapter;
}

/** Nothing of it is in use. */
function ixgbevf_free_adapter(adapter: IxgbevfAdapter): void {
  timer_delete(adapter.service_timer);
  cancel_work_sync(adapter.service_task);
  kfree(changetype<usize>(adapter.service_task));
  kfree(changetype<usize>(adapter.service_timer));
  kfree(changetype<usize>(adapter.napi));
  kfree(changetype<usize>(adapter.rx_ring));
  kfree(changetype<usize>(adapter.tx_ring));
  free_netdev(adapter.netdev);
  kfree(changetype<usize>(adapter));
}

function ixgbevf_probe(pdev: PciDev): bool {
  pci_enable_device(pdev);
  pci_set_master(pdev);
  const io_addr = pci_iomap(pdev, 0);
  if (io_addr == 0) {
    pr_err('ixgbevf %S: BAR 0 has no address', pdev.name);
    return false;
  }
  const adapter = ixgbevf_alloc_adapter(pdev);
  adapter.io_addr = io_addr;
  adapter.hw_addr = io_addr;
  const address = adapter.netdev.dev_addr;
  if (!ixgbevf_reset(adapter)) {
    ixgbevf_free_adapter(adapter);
    return false;
  }
  if (!is_valid_ether_addr(address)) {
    pr_info('ixgbevf %S: MAC address not assigned by administrator.', pdev.name);
    pr_info('ixgbevf %S: Assigning random MAC address', pdev.name);
    eth_hw_addr_random(address);
  }
  if (!ixgbevf_get_queues(adapter) || !pci_enable_msix(pdev, NUM_MSIX_VECTORS)) {
    pr_err('ixgbevf %S: no queues or no MSI-X vectors', pdev.name);
    ixgbevf_free_adapter(adapter);
    return false;
  }
  pdev.drvdata = changetype<usize>(adapter);
  if (!register_netdev(adapter.netdev)) {
    pci_disable_msix(pdev);
    ixgbevf_free_adapter(adapter);
    return false;
  }
  pr_info('ixgbevf %S: Multiqueue Disabled: Rx Queue count = 1, Tx Queue count = 1', pdev.name);
  pr_info('ixgbevf %S: %pM', pdev.name, address);
  pr_info('ixgbevf %S: MAC: 1', pdev.name);
  pr_info('ixgbevf %S: Intel(R) 82599 Virtual Function', pdev.name);
  return true;
}

/** Undoes ixgbevf_probe. Of a device that is gone nothing is asked: whoever reads it learns so from the first read. */
function ixgbevf_remove(pdev: PciDev): void {
  const adapter = changetype<IxgbevfAdapter>(pdev.drvdata);
  if (pci_dev_is_disconnected(pdev)) ixgbevf_remove_adapter(adapter);
  clear_state(adapter, __IXGBEVF_SERVICE_INITED);
  cancel_work_sync(adapter.service_task);
  unregister_netdev(adapter.netdev);
  pci_disable_msix(pdev);
  pci_disable_device(pdev);
  ixgbevf_free_adapter(adapter);
  pdev.drvdata = 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// Recovery from errors

/** Closes the interface, which goes on being up for those who use it. */
function ixgbevf_close_suspend(adapter: IxgbevfAdapter): void {
  clear_state(adapter, __IXGBEVF_SERVICE_INITED);
  cancel_work_sync(adapter.service_task);
  const started = (adapter.netdev.flags & IFF_UP) != 0 && adapter.netdev.detached == 0;
  netif_device_detach(adapter.netdev);
  if (started) ixgbevf_close(adapter.netdev);
}

/** Lets go of the device: whatever was wrong, it is set up anew. */
function ixgbevf_io_error_detected(pdev: PciDev, state: u32): u32 {
  const adapter = changetype<IxgbevfAdapter>(pdev.drvdata);
  if (!test_state(adapter, __IXGBEVF_SERVICE_INITED)) return PCI_ERS_RESULT_DISCONNECT;
  ixgbevf_close_suspend(adapter);
  if (state == pci_channel_io_perm_failure) return PCI_ERS_RESULT_DISCONNECT;
  pci_disable_msix(pdev);
  pci_disable_device(pdev);
  return PCI_ERS_RESULT_NEED_RESET;
}

function ixgbevf_io_slot_reset(pdev: PciDev): u32 {
  const adapter = changetype<IxgbevfAdapter>(pdev.drvdata);
  pci_enable_device(pdev);
  adapter.hw_addr = adapter.io_addr;
  clear_state(adapter, __IXGBEVF_REMOVED);
  pci_set_master(pdev);
  if (ixgbevf_reset(adapter) && pci_enable_msix(pdev, NUM_MSIX_VECTORS)) return PCI_ERS_RESULT_RECOVERED;
  return PCI_ERS_RESULT_DISCONNECT;
}

function ixgbevf_io_resume(pdev: PciDev): void {
  const netdev = changetype<IxgbevfAdapter>(pdev.drvdata).netdev;
  netif_device_attach(netdev);
  if ((netdev.flags & IFF_UP) != 0 && !ixgbevf_open(netdev)) {
    pr_err('ixgbevf %S: Failed to open %S after a reset', pdev.name, netdev.name);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Suspend and resume

function ixgbevf_suspend(pdev: PciDev): bool {
  ixgbevf_close_suspend(changetype<IxgbevfAdapter>(pdev.drvdata));
  pci_disable_msix(pdev);
  pci_disable_device(pdev);
  return true;
}

function ixgbevf_resume(pdev: PciDev): bool {
  if (ixgbevf_io_slot_reset(pdev) != PCI_ERS_RESULT_RECOVERED) return false;
  ixgbevf_io_resume(pdev);
  return true;
}

/** The host asks that the receive path touches what it consumes, or does not any more. Devices of other drivers may have come since this was offered. */
function ixgbevf_touch_received(port: PciDev, on: u32): u32 {
  if (on != 0 && !pci_driver_has_all(port, driver)) return channel_word(str('no'));
  return ferry_dma_toggle(port, DMA_TOUCH_BY_DRIVER, on, str('rxwb'));
}

/** Boot CPU, once PCI is there. */
export function ixgbevf_init_module(): void {
  pr_info('ixgbevf: Intel(R) 10 Gigabit PCI Express Virtual Function Network Driver');
  error_handlers.error_detected = ixgbevf_io_error_detected;
  error_handlers.slot_reset = ixgbevf_io_slot_reset;
  error_handlers.resume = ixgbevf_io_resume;
  driver.name = str('ixgbevf');
  driver.id_table = id_table;
  driver.probe = ixgbevf_probe;
  driver.remove = ixgbevf_remove;
  driver.err_handler = error_handlers;
  driver.suspend = ixgbevf_suspend;
  driver.resume = ixgbevf_resume;
  pci_register_driver(driver);
  ferry_channel_register(str('rxwb'), ixgbevf_touch_received, driver);
}
