// What the host asks before it takes a device whose interface is to come back as it was.
import { str } from '../../../lib/string';
import { netdev_keep_init, netdev_keep_next } from '../../../net/ipv4/keep';
import { PciDev } from '../pci';
import { channel_word, ferry_channel_register } from './ferry_channel';

function keep_asked(_port: PciDev, _argument: u32): u32 {
  netdev_keep_next();
  return channel_word(str('ok'));
}

/** Boot CPU, before ports have their driver. */
export function ferry_keep_init(): void {
  netdev_keep_init();
  ferry_channel_register(str('keep'), keep_asked);
}
