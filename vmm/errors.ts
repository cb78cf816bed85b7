/**
 * What can go wrong around a VMM, in the user's words. Exit statuses 30 to 49, each used once:
 * 30-37 machine, 38-43 transfer, 44-49 addresses, monitor and process.
 */
import { catalogue, entry } from '../base/errors.js';

export const vmmErrors = catalogue('vmm', {
  'bad-address': entry<{ address: string; why: string }>({
    exitStatus: 44,
    text: ({ address, why }) => `'${address}' is no socket address: ${why}`,
    advice: () => 'Write it as tcp:HOST:PORT or unix:PATH.',
  }),
  'listen-failed': entry<{ address: string; reason: string }>({
    exitStatus: 45,
    text: ({ address, reason }) => `can't listen at ${address}: ${reason}`,
    advice: () => 'Choose an address that is free and permitted, or end the process that uses it.',
  }),
});
