/** For a machine without an assigned device. */
import { ordinary } from '../approach.js';
import type { StopDescriptor } from './stop.js';

export const noStop: StopDescriptor = {
  ...ordinary,
  name: 'none',
  text: 'there is no assigned device',
  steps: ['nothing is asked and nothing is stopped but the vCPUs'],
  use: 'For a machine without an assigned device.',
  limits: 'It refuses a machine that has one.',
  serves: 'none',
  leaves: 'nothing',
  refuses: (names) => `${names} would go on writing`,
  make: () => ({ quiesce: async () => undefined, resume: async () => undefined }),
};
