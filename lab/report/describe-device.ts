/** What devices have saved, in words, for `ferry inspect`: the devices themselves know what their bytes mean. */
import type { DeviceRecord } from '../../base/device-record.js';
import { FerryError } from '../../base/errors.js';
import type { AssignedHardware } from '../../devices/vfio/assigned-hardware.js';
import { StreamReader } from '../../devices/vfio/stream-reader.js';
import type { DeviceDataDescriber } from '../../migration/describe-message.js';
import { PLATFORM_DEVICES } from '../../vmm/machine/devices.js';
import { describePlatform } from '../../vmm/machine/platform-records.js';
import {
  unconnectedAssigned,
  unconnectedBridge,
  unconnectedPorts,
  unconnectedRootPorts,
  unconnectedVirtio,
} from './unconnected.js';

/** Undefined for a device that this version does not know. Never throws for bad bytes. */
export function describeDevice(record: DeviceRecord): readonly (readonly [string, string])[] | undefined {
  const knows = ({ name, version }: { readonly name: string; readonly version: number }): boolean =>
    name === record.name && version === record.version;
  const pci = [unconnectedBridge, ...unconnectedRootPorts, ...unconnectedVirtio].find(knows);
  if (pci !== undefined) return pci.describe(record);
  const model = PLATFORM_DEVICES.find(knows);
  return model?.create(unconnectedPorts).describe(record) ?? describePlatform(record);
}

const OPENING_BRACE = 0x7b;

const printable = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?')).join('');

interface Stream {
  readonly assigned: AssignedHardware;
  readonly reader: StreamReader;
  broken: boolean;
}

/**
 * Explains the data streams of assigned devices: with the last piece, the state that the stream has come to,
 * register by register. What is damaged, or is the state of another kind of device, is said and never thrown.
 */
export function deviceDataDescriber(): DeviceDataDescriber {
  const streams = new Map<string, Stream>();
  return (device, data, last) => {
    let stream = streams.get(device);
    // What a start has remembered of an interface, and no state of a device.
    if (stream === undefined && data[0] === OPENING_BRACE) return [`remembered: ${printable(data)}`];
    if (stream === undefined) {
      stream = open(device);
      streams.set(device, stream);
    }
    if (last) streams.delete(device);
    if (stream.broken) return [];
    const { assigned, reader } = stream;
    try {
      reader.write(data);
      if (!last) return [];
      return assigned.describe(reader.finish()).map(([name, value]) => `${name} = ${value}`);
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      stream.broken = true;
      return [`damaged: ${error.message}`];
    }
  };
}

function open(device: string): Stream {
  const assigned = unconnectedAssigned(device);
  const sections = assigned.save().map(({ name, version }) => ({ name, version }));
  return {
    assigned,
    reader: new StreamReader({ device, identity: assigned.identity, sections }),
    broken: false,
  };
}
