/** What the machines and devices of these tests refuse with. */
import { catalogue, entry } from '../../base/errors.js';

const testErrors = catalogue('test', {
  refused: entry<{ why: string }>({
    exit: 'refused',
    text: ({ why }) => `refused by the test machine: ${why}`,
    advice: () => 'none',
  }),
});
export const refused = (why: string): Error => testErrors.error('refused', { why });
