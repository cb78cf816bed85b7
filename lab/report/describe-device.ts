/** A device's record in words, for `ferry inspect`: the devices themselves know what their bytes mean. */
import type { DeviceRecord } from '../../base/device-record.js';
import { instant } from '../../base/units.js';
import { type DevicePorts, PLATFORM_DEVICES } from '../../vmm/machine/devices.js';
import { describePlatform } from '../../vmm/machine/platform-records.js';

/** Devices that are connected to nothing: they only explain. */
const UNCONNECTED: DevicePorts = {
  memory: { slots: [], contains: () => false, view: () => undefined, write: () => false, markDirty() {} },
  clock: { now: () => instant(0) },
  interrupt() {},
  print() {},
  power() {},
};

/** Undefined for a device that this version does not know. Never throws for bad bytes. */
export function describeDevice(record: DeviceRecord): readonly (readonly [string, string])[] | undefined {
  const model = PLATFORM_DEVICES.find(
    ({ name, version }) => name === record.name && version === record.version,
  );
  return model?.create(UNCONNECTED).describe(record) ?? describePlatform(record);
}
