// The device's registers for interrupts and queues, set up.
import { pr_err } from '../../../kernel/printk';
import { msleep } from '../../../kernel/sched';
import { ktime_get } from '../../../kernel/time';
import { str } from '../../../lib/string';
import {
  IXGBE_DCA_RXCTRL_DEFAULT,
  IXGBE_DCA_TXCTRL_DEFAULT,
  IXGBE_DESC_SIZE,
  IXGBE_IVAR_ALLOC_VAL,
  IXGBE_RXDCTL_ENABLE,
  IXGBE_RXDCTL_VME,
  IXGBE_SRRCTL_BSIZEHDR_256,
  IXGBE_SRRCTL_BSIZEPKT_2K,
  IXGBE_SRRCTL_DESCTYPE_ADV_ONEBUF,
  IXGBE_SRRCTL_DROP_EN,
  IXGBE_TXDCTL_ENABLE,
  IXGBE_TXDCTL_SWFLSH,
  IXGBE_VFDCA_RXCTRL,
  IXGBE_VFDCA_TXCTRL,
  IXGBE_VFRDBAH,
  IXGBE_VFRDBAL,
  IXGBE_VFRDH,
  IXGBE_VFRDLEN,
  IXGBE_VFRDT,
  IXGBE_VFRXDCTL,
  IXGBE_VFSRRCTL,
  IXGBE_VFTDBAH,
  IXGBE_VFTDBAL,
  IXGBE_VFTDH,
  IXGBE_VFTDLEN,
  IXGBE_VFTDT,
  IXGBE_VFTDWBAH,
  IXGBE_VFTDWBAL,
  IXGBE_VFTXDCTL,
  IXGBE_VTEIAC,
  IXGBE_VTEIAM,
  IXGBE_VTEIMC,
  IXGBE_VTEIMS,
  IXGBE_VTIVAR,
  IXGBE_VTIVAR_MISC,
} from './defines';
import {
  IXGBE_WRITE_FLUSH,
  IxgbevfAdapter,
  NUM_MSIX_VECTORS,
  OTHER_VECTOR,
  QUEUE_VECTOR,
  ixgbe_read_reg,
  ixgbe_write_reg,
} from './ixgbevf';
import { IXGBE_20K_ITR, ixgbevf_alloc_rx_buffers, ixgbevf_write_eitr } from './txrx';

const ALL_CAUSES: u32 = (1 << NUM_MSIX_VECTORS) - 1;

// ---------------------------------------------------------------------------------------------------------------------
// Interrupts

export function ixgbevf_configure_msix(adapter: IxgbevfAdapter): void {
  const queue = QUEUE_VECTOR | IXGBE_IVAR_ALLOC_VAL;
  ixgbe_write_reg(adapter, IXGBE_VTIVAR, queue | (queue << 8));
  ixgbe_write_reg(adapter, IXGBE_VTIVAR_MISC, OTHER_VECTOR | IXGBE_IVAR_ALLOC_VAL);
  adapter.itr = IXGBE_20K_ITR;
  adapter.itr_time = ktime_get();
  ixgbevf_write_eitr(adapter, QUEUE_VECTOR, adapter.itr);
}

export function ixgbevf_irq_enable(adapter: IxgbevfAdapter): void {
  ixgbe_write_reg(adapter, IXGBE_VTEIAM, ALL_CAUSES);
  ixgbe_write_reg(adapter, IXGBE_VTEIAC, ALL_CAUSES);
  ixgbe_write_reg(adapter, IXGBE_VTEIMS, ALL_CAUSES);
}

export function ixgbevf_irq_disable(adapter: IxgbevfAdapter): void {
  ixgbe_write_reg(adapter, IXGBE_VTEIAM, 0);
  ixgbe_write_reg(adapter, IXGBE_VTEIMC, 0xffff_ffff);
  ixgbe_write_reg(adapter, IXGBE_VTEIAC, 0);
  IXGBE_WRITE_FLUSH(adapter);
}

// ---------------------------------------------------------------------------------------------------------------------
// Queues

/** Waits until a queue's control register shows `enable` as `on`. */
function ixgbevf_poll_enable(adapter: IxgbevfAdapter, reg: u32, enable: u32, on: bool): void {
  for (let tries = 10; tries > 0; tries--) {
    if (((ixgbe_read_reg(adapter, reg) & enable) != 0) == on) return;
    msleep(1);
  }
  if (adapter.hw_addr == 0) return;
  pr_err('ixgbevf %S: Could not %s queue', adapter.pdev.name, on ? str('enable') : str('disable'));
}

export function ixgbevf_configure_tx_ring(adapter: IxgbevfAdapter): void {
  const ring = adapter.tx_ring;
  ixgbe_write_reg(adapter, IXGBE_VFTXDCTL, IXGBE_TXDCTL_SWFLSH);
  IXGBE_WRITE_FLUSH(adapter);
  ixgbe_write_reg(adapter, IXGBE_VFTDBAL, <u32>ring.desc);
  ixgbe_write_reg(adapter, IXGBE_VFTDBAH, 0);
  ixgbe_write_reg(adapter, IXGBE_VFTDLEN, ring.count * IXGBE_DESC_SIZE);
  ixgbe_write_reg(adapter, IXGBE_VFTDWBAH, 0);
  ixgbe_write_reg(adapter, IXGBE_VFTDWBAL, 0);
  ixgbe_write_reg(adapter, IXGBE_VFDCA_TXCTRL, IXGBE_DCA_TXCTRL_DEFAULT);
  ixgbe_write_reg(adapter, IXGBE_VFTDH, 0);
  ixgbe_write_reg(adapter, IXGBE_VFTDT, 0);
  ring.tail = adapter.io_addr + IXGBE_VFTDT;
  // Write back 8 at a time, fetch 32 ahead, one at least.
  ixgbe_write_reg(adapter, IXGBE_VFTXDCTL, IXGBE_TXDCTL_ENABLE | (8 << 16) | (1 << 8) | 32);
  ixgbevf_poll_enable(adapter, IXGBE_VFTXDCTL, IXGBE_TXDCTL_ENABLE, true);
}

export function ixgbevf_configure_rx_ring(adapter: IxgbevfAdapter): void {
  const ring = adapter.rx_ring;
  ixgbevf_disable_rx_queue(adapter);
  ixgbe_write_reg(adapter, IXGBE_VFRDBAL, <u32>ring.desc);
  ixgbe_write_reg(adapter, IXGBE_VFRDBAH, 0);
  ixgbe_write_reg(adapter, IXGBE_VFRDLEN, ring.count * IXGBE_DESC_SIZE);
  ixgbe_write_reg(adapter, IXGBE_VFDCA_RXCTRL, IXGBE_DCA_RXCTRL_DEFAULT);
  ixgbe_write_reg(adapter, IXGBE_VFRDH, 0);
  ixgbe_write_reg(adapter, IXGBE_VFRDT, 0);
  ring.tail = adapter.io_addr + IXGBE_VFRDT;
  const sizes = IXGBE_SRRCTL_BSIZEHDR_256 | IXGBE_SRRCTL_BSIZEPKT_2K;
  ixgbe_write_reg(adapter, IXGBE_VFSRRCTL, sizes | IXGBE_SRRCTL_DROP_EN | IXGBE_SRRCTL_DESCTYPE_ADV_ONEBUF);
  ixgbe_write_reg(adapter, IXGBE_VFRXDCTL, IXGBE_RXDCTL_ENABLE | IXGBE_RXDCTL_VME);
  ixgbevf_poll_enable(adapter, IXGBE_VFRXDCTL, IXGBE_RXDCTL_ENABLE, true);
  ixgbevf_alloc_rx_buffers(adapter, ring.count - 1);
}

export function ixgbevf_disable_rx_queue(adapter: IxgbevfAdapter): void {
  const value = ixgbe_read_reg(adapter, IXGBE_VFRXDCTL);
  if (adapter.hw_addr == 0) return;
  ixgbe_write_reg(adapter, IXGBE_VFRXDCTL, value & ~IXGBE_RXDCTL_ENABLE);
  ixgbevf_poll_enable(adapter, IXGBE_VFRXDCTL, IXGBE_RXDCTL_ENABLE, false);
}
