// What the host may ask of the DMA layer while it moves this machine: that pages which devices wrote are touched.
import { DMA_TOUCH_ON_UNMAP, dma_mapped_counts, dma_mapped_pages, dma_set_touching } from '../../base/dma-touch';
import { pr_info } from '../../../kernel/printk';
import { str } from '../../../lib/string';
import { PciDev } from '../pci';
import { channel_word, ferry_channel_register, ferry_channel_reply } from './ferry_channel';

/**
 * Has `who` (DMA_TOUCH_*) touch from now on, or no more, as the host's argument says, and tells where the counts of mappings
 * lie. Returns the answer: the request's own `word`, a literal, or `no` without counts.
 */
export function ferry_dma_toggle(port: PciDev, who: u32, on: u32, word: usize): u32 {
  if (dma_mapped_counts() == 0) return channel_word(str('no'));
  dma_set_touching(who, on != 0);
  pr_info('pcieport %S: ferry: %s is %s', port.name, word, on != 0 ? str('on') : str('off'));
  ferry_channel_reply(port, 0, <u32>dma_mapped_counts());
  ferry_channel_reply(port, 1, dma_mapped_pages());
  return channel_word(word);
}

function touch_on_unmap(port: PciDev, on: u32): u32 {
  return ferry_dma_toggle(port, DMA_TOUCH_ON_UNMAP, on, str('umap'));
}

/** Boot CPU, before the ports are driven. */
export function ferry_dma_init(): void {
  ferry_channel_register(str('umap'), touch_on_unmap);
}
