/** What can go wrong before a control link stands; once it stands, see the migration's errors. */
import { catalogue, entry } from '../../base/errors.js';

export const linkErrors = catalogue('control-link', {
  'connect-failed': entry<{ address: string; reason: string }>({
    exit: 'environment',
    text: ({ address, reason }) => `can't connect to the destination at ${address}: ${reason}`,
    advice: () =>
      'Start the destination first (`ferry vmm --incoming ADDRESS`) and check that its address can be reached.',
  }),
});
