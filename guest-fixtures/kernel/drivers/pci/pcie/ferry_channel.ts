// The hypervisor's channel: the vendor block of a root port, on which the host asks something of this kernel, and it
// answers. Who can do something registers a word for it; words of up to four characters fit a register (docs/guest-interface).
import { hotplug_lock } from '../../../kernel/hotplug';
import { BUG_ON } from '../../../kernel/panic';
import { pr_err, pr_info } from '../../../kernel/printk';
import { INIT_WORK, WorkStruct, schedule_work } from '../../../kernel/workqueue';
import { INIT_LIST_HEAD, ListHead, list_add_tail } from '../../../lib/list';
import { str, str_at, str_length } from '../../../lib/string';
import { kmalloc } from '../../../mm/slab';
import { pci_driver_has_all } from '../bus';
import {
  PciDev,
  PciDriver,
  pci_find_ext_capability,
  pci_read_config_dword,
  pci_read_config_word,
  pci_write_config_dword,
  pci_write_config_word,
} from '../pci';
import { PCI_EXT_CAP_ID_DVSEC } from '../pci_regs';
import { PciePortService, pcie_port_service_register } from './portdrv';

const CHANNEL_VENDOR: u32 = 0xfe44;
const CHANNEL_ID: u32 = 1;

const CHANNEL_HEADER1: u32 = 0x04;
const CHANNEL_HEADER2: u32 = 0x08;
const CHANNEL_CONTROL: u32 = 0x0c;
const CHANNEL_CONTROL_INTERRUPT: u32 = 1;
const CHANNEL_STATUS: u32 = 0x0e;
const CHANNEL_STATUS_REQUEST: u32 = 1;
const CHANNEL_HOST_SEQUENCE: u32 = 0x10;
const CHANNEL_HOST_REQUEST: u32 = 0x14;
const CHANNEL_HOST_ARGUMENT: u32 = 0x18;
const CHANNEL_GUEST_SEQUENCE: u32 = 0x28;
const CHANNEL_GUEST_ANSWER: u32 = 0x2c;
const CHANNEL_GUEST_ARGUMENT: u32 = 0x30;
const CHANNEL_GUEST_FEATURE: u32 = 0x40;
const CHANNEL_FEATURES: u32 = 8;

/** Something that the host may ask. */
// @ts-ignore: decorator
@unmanaged export class ChannelRequest extends ListHead {
  /** As it stands in the register. */
  word: u32;
  /**
   * Does it for the devices below `port`, with the hot-plug lock, in task context. `argument` is the first of the host's. Returns
   * the word that is answered.
   */
  handler: (port: PciDev, argument: u32) => u32;
  /** Offered only by ports below which every device is this driver's; null: by all. */
  driver: PciDriver | null;
  /** Offered only by ports that can do it; null: by all. */
  served: ((port: PciDev) => bool) | null;
}

// @ts-ignore: decorator
@unmanaged class Channel {
  port: PciDev;
  /** Of the vendor block. */
  at: u32;
  work: WorkStruct;
}

const requests = changetype<ListHead>(memory.data(16, 16));
const service = changetype<PciePortService>(memory.data(32, 16));

/** A literal of one to four characters as a register holds it. */
export function channel_word(text: usize): u32 {
  let word: u32 = 0;
  for (let i: u32 = str_length(text); i > 0; i--) word = (word << 8) | str_at(text, i - 1);
  return word;
}

/**
 * Boot CPU, before pcie_portdrv_init: what this kernel can do when asked by `word`, a literal; with `driver`, what that one can do for
 * its devices; with `served`, what it can do at the ports of which that is true.
 */
export function ferry_channel_register(
  word: usize, handler: (port: PciDev, argument: u32) => u32, driver: PciDriver | null = null,
  served: ((port: PciDev) => bool) | null = null,
): void {
  const request = changetype<ChannelRequest>(kmalloc(offsetof<ChannelRequest>()));
  request.word = channel_word(word);
  request.handler = handler;
  request.driver = driver;
  request.served = served;
  list_add_tail(request, requests);
}

/** `handler` does what is asked by `word`, a literal, in the place of who did; returns who, or null if nobody is asked by it. */
export function ferry_channel_replace(
  word: usize, handler: (port: PciDev, argument: u32) => u32,
): ((port: PciDev, argument: u32) => u32) | null {
  const request = find_request(channel_word(word));
  if (request === null) return null;
  const before = request.handler;
  request.handler = handler;
  return before;
}

function find_request(word: u32): ChannelRequest | null {
  for (let entry = requests.next; entry != requests; entry = entry.next) {
    const request = changetype<ChannelRequest>(entry);
    if (request.word == word) return request;
  }
  return null;
}

/** Hands over `answer`, under the number of what is answered. */
function answer(channel: Channel, sequence: u32, word: u32): void {
  pci_write_config_dword(channel.port, channel.at + CHANNEL_GUEST_ANSWER, word);
  pci_write_config_dword(channel.port, channel.at + CHANNEL_GUEST_SEQUENCE, sequence);
}

/** For a handler: argument `index` (0 to 3) of the answer that it returns. */
export function ferry_channel_reply(port: PciDev, index: u32, value: u32): void {
  const at = pci_find_ext_capability(port, PCI_EXT_CAP_ID_DVSEC);
  pci_write_config_dword(port, at + CHANNEL_GUEST_ARGUMENT + (index << 2), value);
}

function ferry_channel_work(work: WorkStruct): void {
  const channel = changetype<Channel>(work.data);
  const sequence = pci_read_config_dword(channel.port, channel.at + CHANNEL_HOST_SEQUENCE);
  const word = pci_read_config_dword(channel.port, channel.at + CHANNEL_HOST_REQUEST);
  const argument = pci_read_config_dword(channel.port, channel.at + CHANNEL_HOST_ARGUMENT);
  const request = find_request(word);
  if (request === null) {
    pr_err('pcieport %S: ferry: the host asks 0x%08x, which nobody here knows', channel.port.name, word);
    answer(channel, sequence, channel_word(str('what')));
    return;
  }
  answer(channel, sequence, request.handler(channel.port, argument));
}

function ferry_channel_irq(data: usize): bool {
  const channel = changetype<Channel>(data);
  if ((pci_read_config_word(channel.port, channel.at + CHANNEL_STATUS) & CHANNEL_STATUS_REQUEST) == 0) return false;
  pci_write_config_word(channel.port, channel.at + CHANNEL_STATUS, CHANNEL_STATUS_REQUEST);
  schedule_work(channel.work);
  return true;
}

function ferry_channel_probe(port: PciDev): usize {
  const at = pci_find_ext_capability(port, PCI_EXT_CAP_ID_DVSEC);
  if (at == 0 || (pci_read_config_dword(port, at + CHANNEL_HEADER1) & 0xffff) != CHANNEL_VENDOR) return 0;
  if (pci_read_config_word(port, at + CHANNEL_HEADER2) != CHANNEL_ID) return 0;
  const channel = changetype<Channel>(kmalloc(offsetof<Channel>()));
  channel.port = port;
  channel.at = at;
  channel.work = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
  INIT_WORK(channel.work, ferry_channel_work, changetype<usize>(channel), hotplug_lock());
  let feature: u32 = 0;
  for (let entry = requests.next; entry != requests; entry = entry.next) {
    const request = changetype<ChannelRequest>(entry);
    const driver = request.driver;
    if (driver !== null && !pci_driver_has_all(port, driver)) continue;
    const served = request.served;
    if (served !== null && !served(port)) continue;
    BUG_ON(feature == CHANNEL_FEATURES, 'ferry: more features than the channel has room for');
    pci_write_config_dword(port, at + CHANNEL_GUEST_FEATURE + (feature << 2), request.word);
    feature++;
  }
  pr_info('pcieport %S: ferry: host channel with %u features', port.name, feature);
  return changetype<usize>(channel);
}

function ferry_channel_enable(data: usize): void {
  const channel = changetype<Channel>(data);
  pci_write_config_word(channel.port, channel.at + CHANNEL_CONTROL, CHANNEL_CONTROL_INTERRUPT);
}

/** Boot CPU, before who registers what the host may ask. */
export function ferry_channel_init(): void {
  INIT_LIST_HEAD(requests);
  service.name = str('ferry');
  service.probe = ferry_channel_probe;
  service.enable = ferry_channel_enable;
  service.irq = ferry_channel_irq;
  pcie_port_service_register(service);
}
