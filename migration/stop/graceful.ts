/** In good order if the guest follows in time, and without it if not. */
import { ordinary } from '../approach.js';
import { acpiEject } from './acpi-eject.js';
import { failover } from './failover.js';
import { hotUnplug } from './hot-unplug.js';
import { hotUnplugQuick } from './hot-unplug-quick.js';
import type { StopDescriptor } from './stop.js';
import { surprise } from './surprise.js';

export const graceful: StopDescriptor = {
  ...surprise,
  ...ordinary,
  name: 'graceful',
  text: 'the guest is asked to let the device go, in the best way that it has; at the deadline the device is cut off',
  steps: [
    'the first of failover, quick hot-unplug, ejection by ACPI and ordinary hot-unplug that fits machine and guest is tried',
    'where the guest refuses, or its time is up, what was asked is taken back and the next is tried',
    'in the end the device is cut off, which needs nobody',
  ],
  use: 'For guests that mostly follow, in moves that must come to an end even if this one does not.',
  limits: 'Each way that is tried may take its whole deadline.',
  needs: ['slot', 'fn'],
  tries: [failover, hotUnplugQuick, acpiEject, hotUnplug, surprise],
};
