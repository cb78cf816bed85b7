// Answers as if the kernel had done what it was asked, while it goes on using its device.
import { str } from '../lib/string';
import { PciDev } from '../drivers/pci/pci';
import { channel_word } from '../drivers/pci/pcie/ferry_channel';

export function pretend_suspend(_port: PciDev, _argument: u32): u32 {
  return channel_word(str('susp'));
}

export function pretend_disable(_port: PciDev, _argument: u32): u32 {
  return channel_word(str('ok'));
}

export function pretend_replaced(_port: PciDev, _argument: u32): u32 {
  return channel_word(str('done'));
}
