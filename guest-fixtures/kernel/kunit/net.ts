import { PciDev } from '../drivers/pci/pci';
import { dma_debug_errors, dma_debug_init } from '../drivers/base/dma-debug';
import {
  DMA_FROM_DEVICE,
  DMA_TO_DEVICE,
  dma_alloc_coherent,
  dma_free_coherent,
  dma_map_single,
  dma_sync_single_for_cpu,
  dma_unmap_single,
} from '../drivers/base/dma-mapping';
import { param_ipv4 } from '../kernel/params';
import { csum_fold, csum_partial } from '../lib/checksum';
import { bytes_equal, str } from '../lib/string';
import { scnprintf } from '../lib/vsprintf';
import { alloc_pages, free_pages } from '../mm/page_alloc';
import { kmalloc } from '../mm/slab';
import { alloc_skb, kfree_skb, skb_pull, skb_push, skb_put } from '../net/skbuff';
import { FlowReceiver, flow_lost, flow_receive, flow_receiver_init, flow_write } from '../workloads/net/flow';
import { expect } from './test';

const buffer = memory.data(256, 16);
/** The example of RFC 1071, section 3. */
const rfc1071 = memory.data<u8>([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);

function new_device(): PciDev {
  const dev = changetype<PciDev>(kmalloc(offsetof<PciDev>()));
  dev.name = kmalloc(16);
  scnprintf(dev.name, 15, '0000:00:1f.7');
  return dev;
}

/** Whether what has happened since `before` was reported. */
function reported(before: u32): bool {
  return dma_debug_errors() != before;
}

function test_dma(): void {
  dma_debug_init();
  const dev = new_device();
  const page = alloc_pages(0);
  let before = dma_debug_errors();
  const dma = dma_map_single(dev, page, 1000, DMA_TO_DEVICE);
  dma_unmap_single(dev, dma, 1000, DMA_TO_DEVICE);
  expect(!reported(before), 'dma: a mapping that is undone as it was made is fine');
  dma_map_single(dev, page, 2048, DMA_FROM_DEVICE);
  dma_sync_single_for_cpu(dev, page, 100, DMA_FROM_DEVICE);
  expect(!reported(before), 'dma: part of a mapping may be synced');
  dma_sync_single_for_cpu(dev, page, 100, DMA_TO_DEVICE);
  expect(reported(before), 'dma: a sync in the wrong direction is reported');
  before = dma_debug_errors();
  dma_sync_single_for_cpu(dev, page, 2049, DMA_FROM_DEVICE);
  expect(reported(before), 'dma: a sync beyond the mapping is reported');
  before = dma_debug_errors();
  dma_map_single(dev, page, 2048, DMA_FROM_DEVICE);
  expect(reported(before), 'dma: memory that is mapped twice is reported');
  dma_unmap_single(dev, page, 2048, DMA_FROM_DEVICE);
  before = dma_debug_errors();
  dma_unmap_single(dev, page, 2048, DMA_TO_DEVICE);
  expect(reported(before), 'dma: an unmap in the wrong direction is reported');
  before = dma_debug_errors();
  dma_unmap_single(dev, page, 2048, DMA_FROM_DEVICE);
  expect(reported(before), 'dma: an unmap of what is not mapped is reported');
  before = dma_debug_errors();
  dma_map_single(dev, page, 512, DMA_FROM_DEVICE);
  dma_unmap_single(dev, page, 511, DMA_FROM_DEVICE);
  expect(reported(before), 'dma: an unmap of another size is reported');
  before = dma_debug_errors();
  const coherent = dma_alloc_coherent(dev, 5000);
  expect(coherent != 0 && (coherent & 4095) == 0 && load<u64>(coherent) == 0, 'dma: coherent memory is whole, zeroed pages');
  dma_free_coherent(dev, 5000, coherent);
  expect(!reported(before), 'dma: coherent memory that is freed as it was taken is fine');
  free_pages(page, 0);
}

function test_checksum(): void {
  expect(csum_fold(csum_partial(rfc1071, 8, 0)) == <u16>~bswap<u16>(0xddf2), 'checksum: the example of RFC 1071');
  memory.copy(buffer, rfc1071, 8);
  const sum = csum_fold(csum_partial(buffer, 7, 0));
  store<u8>(buffer, 0, 7);
  expect(sum == csum_fold(csum_partial(buffer, 8, 0)), 'checksum: an odd byte counts as if a zero followed');
}

function test_skb(): void {
  const skb = alloc_skb();
  const at = skb_put(skb, 100);
  expect(skb_push(skb, 14) == at - 14 && skb.len == 114, 'skb: headers go in front of the data');
  skb_pull(skb, 14);
  expect(skb.data == at && skb.len == 100, 'skb: what was pushed can be pulled');
  kfree_skb(skb);
}

function test_flow(): void {
  const receiver = changetype<FlowReceiver>(kmalloc(offsetof<FlowReceiver>()));
  flow_receiver_init(receiver);
  for (let sequence: u32 = 0; sequence < 10; sequence++) {
    flow_write(buffer, 101, 3, sequence, 1000);
    if (sequence != 4) flow_receive(receiver, buffer, 101);
  }
  expect(receiver.received == 9 && flow_lost(receiver) == 1, 'flow: one that is missing counts as lost');
  flow_receive(receiver, buffer, 101);
  expect(receiver.duplicated == 1 && receiver.received == 9, 'flow: one that comes twice counts as duplicate');
  flow_write(buffer, 101, 3, 4, 1000);
  flow_receive(receiver, buffer, 101);
  expect(receiver.reordered == 1 && flow_lost(receiver) == 0, 'flow: one that comes late is not lost');
  let noticed = true;
  for (let at: u32 = 0; at < 101; at++) {
    flow_write(buffer, 101, 3, 20, 1000);
    store<u8>(buffer + at, load<u8>(buffer + at) ^ 0x10);
    const before = receiver.corrupt;
    flow_receive(receiver, buffer, 101);
    if (receiver.corrupt == before) noticed = false;
  }
  expect(noticed, 'flow: a wrong byte anywhere is noticed');
}

function test_addresses(): void {
  store<u64>(buffer + 64, 0x0000_0100_0000_5452);
  const length = scnprintf(buffer, 64, '%pM|%pI4|', buffer + 64, buffer + 64);
  expect(bytes_equal(buffer, length, str('52:54:00:00:00:01|82.84.0.0|')), 'scnprintf: addresses');
  expect(param_ipv4('address', 0) == 0x0200_0a0a && param_ipv4('none', 7) == 7, 'params: addresses');
}

export function test_net(): void {
  test_checksum();
  test_skb();
  test_flow();
  test_addresses();
  test_dma();
}
