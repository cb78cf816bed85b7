/** The answer of `query-pci`, in the shape of QEMU's PciInfo (qapi/pci.json). */
import type { PciInfo } from '../passthrough/pci-info.js';

interface Range {
  readonly base: number;
  readonly limit: number;
}

export interface QmpPciDevice {
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
  readonly class_info: { readonly class: number; readonly desc?: string };
  readonly id: {
    readonly device: number;
    readonly vendor: number;
    readonly subsystem?: number;
    readonly 'subsystem-vendor'?: number;
  };
  readonly irq_pin: number;
  readonly qdev_id: string;
  readonly pci_bridge?: {
    readonly bus: {
      readonly number: number;
      readonly secondary: number;
      readonly subordinate: number;
      readonly io_range: Range;
      readonly memory_range: Range;
      readonly prefetchable_range: Range;
    };
    readonly devices?: readonly QmpPciDevice[];
  };
  readonly regions: readonly {
    readonly bar: number;
    readonly type: 'memory';
    readonly address: number;
    readonly size: number;
    readonly prefetch: boolean;
    readonly mem_type_64: boolean;
  }[];
}

export interface QmpPciBus {
  readonly bus: number;
  readonly devices: readonly QmpPciDevice[];
}

/** Those that occur here, in the words of the PCI code and ID assignment. */
const CLASSES: Readonly<Record<number, string>> = {
  512: 'Ethernet controller',
  1536: 'Host bridge',
  1540: 'PCI bridge',
};

/** No port forwards I/O. */
const NO_IO: Range = { base: 0xf000, limit: 0xfff };

/** Bus 0, with what is behind each of its bridges inside that; none of a machine without PCI. */
export function pciBuses(functions: readonly PciInfo[]): readonly QmpPciBus[] {
  return functions.length === 0 ? [] : [{ bus: 0, devices: onBus(0, functions) }];
}

const onBus = (bus: number, functions: readonly PciInfo[]): readonly QmpPciDevice[] =>
  functions.filter((one) => one.bus === bus).map((one) => deviceOf(one, functions));

function deviceOf(one: PciInfo, functions: readonly PciInfo[]): QmpPciDevice {
  const { name, bus, devfn, classCode, vendorId, deviceId, subsystem, interruptPin, regions, bridge } = one;
  const desc = CLASSES[classCode];
  return {
    bus,
    slot: devfn >>> 3,
    function: devfn & 7,
    class_info: { class: classCode, ...(desc !== undefined && { desc }) },
    id: {
      device: deviceId,
      vendor: vendorId,
      ...(subsystem && { subsystem: subsystem.deviceId, 'subsystem-vendor': subsystem.vendorId }),
    },
    irq_pin: interruptPin,
    qdev_id: name,
    ...(bridge && {
      pci_bridge: {
        bus: {
          number: bridge.primary,
          secondary: bridge.secondary,
          subordinate: bridge.subordinate,
          io_range: NO_IO,
          memory_range: bridge.memory,
          prefetchable_range: bridge.prefetchable,
        },
        // A bridge that nobody has numbered has nothing behind it.
        ...(bridge.secondary > bus && { devices: onBus(bridge.secondary, functions) }),
      },
    }),
    regions: regions.map(({ bar, address, bytes, prefetchable, wide }) => ({
      bar,
      type: 'memory',
      address,
      size: bytes,
      prefetch: prefetchable,
      mem_type_64: wide,
    })),
  };
}
