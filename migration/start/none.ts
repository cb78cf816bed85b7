/** For a machine without an assigned device. */
import { ordinary } from '../approach.js';
import type { StartDescriptor } from './start.js';

export const noStart: StartDescriptor = {
  ...ordinary,
  name: 'none',
  text: 'there is no assigned device',
  steps: ['nothing is started but the vCPUs'],
  use: 'For a machine without an assigned device.',
  limits: 'It refuses a machine that has one.',
  serves: 'none',
  takes: ['nothing'],
  afterRun: false,
  refuses: (names) => `nothing would start ${names}`,
  make: () => ({}),
};
