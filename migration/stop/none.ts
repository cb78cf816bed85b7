/** For a machine without an assigned device. */
import { ordinary } from '../approach.js';
import type { StopDescriptor } from './stop.js';

export const noStop: StopDescriptor = {
  ...ordinary,
  name: 'none',
  text: 'there is no assigned device',
  serves: 'none',
  leaves: 'nothing',
  refuses: (names) => `${names} would go on writing`,
  make: () => ({ quiesce: async () => undefined, resume: async () => undefined }),
};
