/**
 * Starts without VFIO's help, and a destination whose device is not quite the source's: with what they cope, and that what they
 * say of themselves is so, of what they refuse as well.
 */
import { describe, expect, it } from 'vitest';
import { WHOLE_PART } from '../../devices/nic82599/offer.js';
import { DIFFERENCES, type Difference } from '../../migration/approach.js';
import { builtIn } from '../../migration/registry.js';
import type { NicOptions } from '../../vmm/passthrough/records.js';
import { moveUnderTraffic } from './passthrough-world.js';

const RATE = 100;
/** Until the guest has its device, and some time for traffic; `reset` waits for a driver that resets once in ten seconds. */
const AFTERWARDS_MS = { 'state-replay': 500, reset: 10_500 } as const;
type Start = keyof typeof AFTERWARDS_MS;

const OTHERS: Partial<Record<Difference, Partial<NicOptions>>> = {
  queues: { offer: { ...WHOLE_PART, queues: 1 } },
  revision: { offer: { ...WHOLE_PART, revision: 9 } },
  vectors: { offer: { ...WHOLE_PART, vectors: 2 } },
  'mac-policy': { macs: [[0x52, 0x54, 0, 0, 0, 0x77]] },
};

function move(start: Start, difference: Difference, copesWith?: readonly Difference[]) {
  const starts = builtIn.start.map((one) =>
    one.name === start && copesWith !== undefined ? { ...one, copesWith } : one,
  );
  return moveUnderTraffic({
    rate: RATE,
    afterwardsMs: AFTERWARDS_MS[start],
    registry: { ...builtIn, start: starts },
    destinationNic: OTHERS[difference]!,
    parameters: { stop: 'surprise', start },
  });
}

describe.each(['state-replay', 'reset'] as const)('%s', (start) => {
  const { copesWith } = builtIn.start.find(({ name }) => name === start)!;

  it.each(['queues', 'revision'] as const)(
    'copes with a device that differs in %s, and says so',
    async (difference) => {
      expect(copesWith).toContain(difference);
      const { source, destination, flow } = await move(start, difference);
      expect([source.error, source.afterwards, destination.afterwards]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
      expect([source.guest, source.devices[0]!.problem]).toEqual(['there', undefined]);
      const { arrived } = flow;
      expect(arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
      // To the end.
      const missed = (arrived!.longestGapNs / 1e9) * RATE;
      expect(flow.sent - arrived!.received).toBeLessThan(missed + 10);
      expect(missed).toBeLessThan(start === 'reset' ? 10.1 * RATE : 10);
    },
  );

  it.each(['vectors', 'mac-policy'] as const)(
    'refuses one that differs in %s, before any page, and names what would do',
    async (difference) => {
      const { source, flow } = await move(start, difference);
      expect(source.error?.message).toMatch(/vf0 .*(vectors 3 at the source, 2 here|mac .*:77 here)/);
      expect([source.guest, source.transferred.pages]).toEqual(['here', 0]);
      expect(flow.arrived!.lost).toBe(0);
    },
  );
});

describe('what they refuse would not do', () => {
  it.each([
    ['state-replay', 'vectors', /fixed bits of msix/],
    ['state-replay', 'mac-policy', /its address is .* and the policy here fixes/],
    ['reset', 'vectors', /fixed bits of msix/],
  ] as const)('%s, %s: the device can not be put back', async (start, difference, reason) => {
    const { source } = await move(start, difference, DIFFERENCES);
    expect(source.error?.message).toMatch(reason);
    expect(source.guest).toBe('here');
  });

  it('reset, mac-policy: the guest moves, and nobody finds it', async () => {
    const { source, flow } = await move('reset', 'mac-policy', DIFFERENCES);
    expect(source.guest).toBe('there');
    expect(flow.arrived!.received).toBeLessThan(flow.sent / 10);
  });
});
