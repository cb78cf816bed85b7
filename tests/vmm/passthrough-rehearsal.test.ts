/** What a device thread goes through before a guest comes: frames that all arrive, and moves of a device into itself. */
import { describe, expect, it } from 'vitest';
import { rehearse } from '../../vmm/passthrough/rehearsal.js';

const mac = [2, 0, 0, 0, 0, 9] as const;

describe('the rehearsal of a device thread', () => {
  it.each([
    ['with a function', { macs: [mac] }],
    ['with tables of the first stage and large leaves', { macs: [mac], stage: 'first', leaves: 'huge' }],
    ['without a function', { macs: [] }],
  ] as const)('%s comes to its end, again and again', (_, options) => {
    expect(() => {
      rehearse(options);
      rehearse(options);
    }).not.toThrow();
  });
});
