// What the kernel has in use, for who wants to know that nothing was left behind: by devices that came and went, by moves.
import { str } from '../lib/string';
import { dma_debug_mappings } from '../drivers/base/dma-debug';
import { irq_handlers } from '../kernel/irq';
import { tty_print } from '../kernel/printk';
import { timers_armed } from '../kernel/timer';
import { nr_free_pages } from '../mm/page_alloc';
import { nr_slab_objects } from '../mm/slab';
import { NetDevice, netdev_list } from '../net/core/dev';
import { neigh_reachable } from '../net/ipv4/arp';
import { InDevice, in_dev_get } from '../net/ipv4/devinet';
import { skb_cached } from '../net/skbuff';
import { status_period } from './params';
import { start_periodic } from './periodic';

// @ts-ignore: decorator
@unmanaged export class Resources {
  /** Page frames that nobody has. */
  free_pages: u32;
  /** Of kmalloc, but for buffers that are kept for packets to come. */
  objects: u32;
  /** 0 with `dma_debug=off`. */
  mappings: u32;
  /** Interrupt vectors with a handler. */
  vectors: u32;
  /** Armed ones, of the boot CPU. */
  timers: u32;
}

export function count_resources(now: Resources): void {
  now.free_pages = nr_free_pages();
  now.objects = nr_slab_objects() - skb_cached();
  now.mappings = dma_debug_mappings();
  now.vectors = irq_handlers();
  now.timers = timers_armed(0);
}

function resources_status(context: usize): bool {
  const now = changetype<Resources>(context);
  count_resources(now);
  tty_print(
    'resources: %u pages free, %u objects, %u DMA mappings, %u vectors, %u timers', now.free_pages, now.objects,
    now.mappings, now.vectors, now.timers,
  );
  for (let entry = netdev_list().next; entry != netdev_list(); entry = entry.next) {
    const dev = changetype<NetDevice>(entry);
    const in_dev = in_dev_get(dev);
    if (in_dev === null) continue;
    tty_print(
      'resources: %S %pM %pI4 %s, %u neighbours', dev.name, dev.dev_addr,
      changetype<usize>(in_dev) + offsetof<InDevice>('ifa_local'), dev.carrier != 0 ? str('up') : str('down'),
      neigh_reachable(in_dev),
    );
  }
  return false;
}

const counted = changetype<Resources>(memory.data(32, 16));

/** Says it once in each status period. */
export function start_resources(): void {
  start_periodic(0, status_period(), status_period(), resources_status, changetype<usize>(counted));
}
