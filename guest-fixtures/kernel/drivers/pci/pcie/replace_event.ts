// The event "device replaced": the host says that what is below a port is another device of the same kind.
import { str } from '../../../lib/string';
import { pci_bridge_replaced } from '../err';
import { PciDev } from '../pci';
import { channel_word, ferry_channel_register } from './ferry_channel';

function pci_replace_event(port: PciDev, _argument: u32): u32 {
  return channel_word(pci_bridge_replaced(port) ? str('done') : str('fail'));
}

/** Boot CPU. */
export function pci_replace_event_init(): void {
  ferry_channel_register(str('rplc'), pci_replace_event);
}
