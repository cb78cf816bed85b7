/** An `edu` device of the host's as the guest has it. */
import { assignEdu } from '../../devices/edu/assigned.js';
import type { EduDevice } from '../../devices/edu/device.js';
import { AssignedEdu } from '../../devices/vfio/assigned-edu.js';
import { type FunctionPlace, GuestFunction } from './guest-function.js';
import { GuestInterrupts } from './interrupts.js';
import { eduName } from './records.js';

/** It has one message. */
const VECTORS = 1;

export class GuestEdu extends GuestFunction {
  readonly edu: EduDevice;

  /** Device number `index` of its kind. */
  constructor(index: number, edu: EduDevice, place: FunctionPlace) {
    const assigned = assignEdu(eduName(index), edu, new GuestInterrupts(place.iommu, place.source, VECTORS));
    super(assigned, new AssignedEdu(edu, assigned), place);
    this.edu = edu;
  }
}
