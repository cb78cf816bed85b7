/** The new device begins as a broken one: PCI Express error recovery, which every operating system has, sets it up. */
import { ordinary } from '../approach.js';
import { startByRecovery } from './recover.js';
import type { StartDescriptor } from './start.js';

const FATAL = 'error-recovery';
const NONFATAL = 'error-recovery-nonfatal';

const common = {
  ...ordinary,
  use: 'After a stop that the guest did not notice. Interface, addresses and neighbours stay; nothing is asked of the driver but error handlers, which most have.',
  limits:
    'The device must be of the same kind, and have as many vectors and queues as the driver uses: it is not probed again.',
  needs: ['fn'],
  takes: ['lost'],
  copesWith: ['revision', 'vectors', 'queues', 'link-down'],
  afterRun: true,
} as const satisfies Partial<StartDescriptor>;

export const errorRecovery: StartDescriptor = {
  ...common,
  name: FATAL,
  // Linux waits 2 ms with the bus reset, and 100 ms after it.
  goals: { gapMs: 60 + 102 },
  text: "the root port reports a fatal error of the device, and the guest's error recovery resets it and sets it up anew",
  steps: [
    'the device is in its place, cut off as it was at the source, until the guest runs',
    'it answers again, and its root port reports a fatal error of it',
    'the driver lets go of the device; the port resets the bus below it: 2 ms, and 100 ms until the device may be asked',
    'the PCI core restores addresses, the driver sets up rings and interrupts, and the interface goes on',
  ],
  make: (device) => startByRecovery(FATAL, device, (fn) => fn.reportError('fatal')),
};

export const errorRecoveryNonfatal: StartDescriptor = {
  ...common,
  name: NONFATAL,
  goals: { gapMs: 60 },
  text: 'the same with a non-fatal error, for which Linux resets nothing and waits for nothing',
  steps: [
    'the device is in its place, cut off as it was at the source, until the guest runs',
    'it answers again, and its root port reports a non-fatal error of it',
    'the driver lets go of the device, sets up rings and interrupts, and the interface goes on: no reset, no wait',
  ],
  make: (device) => startByRecovery(NONFATAL, device, (fn) => fn.reportError('nonfatal')),
};
