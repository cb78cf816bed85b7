/** Where a device of QEMU's machine is, as its guest or firmware has numbered the buses. */
import { labErrors } from '../errors.js';
import type { Linux } from './linux.js';
import type { PciPlace } from './qtest.js';

interface PciDevice {
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
  readonly qdev_id: string;
  readonly pci_bridge?: { readonly devices?: readonly PciDevice[] };
}

/** Rejects with `lab/monitor-refused` where there is no such device. */
export async function placeOf(linux: Linux, id: string): Promise<PciPlace> {
  const buses = (await linux.command('query-pci')) as readonly { readonly devices: readonly PciDevice[] }[];
  const queue = buses.flatMap(({ devices }) => devices);
  for (let device = queue.pop(); device !== undefined; device = queue.pop()) {
    if (device.qdev_id === id) return device;
    queue.push(...(device.pci_bridge?.devices ?? []));
  }
  throw labErrors.error('monitor-refused', {
    command: 'query-pci',
    class: '',
    desc: `there is no device ${id}`,
  });
}
