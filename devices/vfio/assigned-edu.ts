/** The `edu` device, assigned to a guest, as a migratable device. */
import type { EduDevice } from '../edu/device.js';
import { EDU_BUFFER_BYTES, eduBars, eduIdentity } from '../edu/registers.js';
import type { AssignedFunction } from '../pci/assigned-function.js';
import { AssignedHardware } from './assigned-hardware.js';
import type { DeviceIdentity } from './stream.js';

/** All that is not configuration. */
const LATE: ReadonlySet<string> = new Set(['edu/registers', 'edu/buffer']);

const identity: DeviceIdentity = {
  vendorId: eduIdentity.vendorId,
  deviceId: eduIdentity.deviceId,
  revision: eduIdentity.revision,
  classCode: eduIdentity.classCode,
  subsystemVendorId: eduIdentity.subsystemVendorId!,
  subsystemId: eduIdentity.subsystemId!,
  ...Object.fromEntries(eduBars.map(({ index, bytes }) => [`bar${index}Bytes`, bytes])),
  bufferBytes: EDU_BUFFER_BYTES,
};

export class AssignedEdu extends AssignedHardware {
  /** `assigned` is what the guest sees of `edu`; its name is the device's. */
  constructor(edu: EduDevice, assigned: AssignedFunction) {
    super({ role: 'edu', hardware: edu, assigned, identity, late: LATE });
  }
}
