/**
 * The device's own log of its writes, as VFIO has it (DMA logging, features 6 to 8): nothing is asked of IOMMU or guest.
 * The ranges are given once, at the start: a mapping that is made while the log runs is not in them, and what the device
 * writes there is lost to the migration. This machine maps all of its RAM before the device works, and nothing later.
 */
import { ordinary } from '../approach.js';
import type { WriteReporter } from '../ports.js';
import type { TrackingDescriptor } from './tracking.js';
import { unionWithReports } from './union.js';

export const deviceLog: TrackingDescriptor = {
  ...ordinary,
  name: 'device-log',
  text: "the device's own log of what it writes: VFIO's DMA logging",
  steps: [
    'the device is given the ranges that are mapped for it, and logs the pages that it writes there (DMA_LOGGING_START)',
    'before each harvest its log is read and cleared, behind a read that pushes the writes before it (DMA_LOGGING_REPORT)',
    'the pages found are sent with those that the vCPUs stored to, and in the end the log is stopped (DMA_LOGGING_STOP)',
  ],
  use: 'Where the device can log and the IOMMU keeps no dirty bits: the guest has no part in it, and a report names only what was written.',
  limits:
    'The ranges are fixed when the log starts: for a mapping made later it must be stopped, started anew, and all that was mapped sent again.',
  needs: ['log'],
  converges: true,
  make: (machine, devices) =>
    unionWithReports(
      machine,
      devices.map(({ log }) => log as WriteReporter),
    ),
};
