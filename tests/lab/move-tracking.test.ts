/** Each way to know what the device wrote, on a real move under echoes: real processes, all bytes compared. */
import { describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { migrate } from '../../dist/lab/index.js';

const TIMEOUT_MS = 120_000;

describe('ferry migrate --tracking', () => {
  it.each(['device-log', 'unmap-touch', 'driver-touch', 'ring-snoop'])(
    '%s: the guest arrives byte for byte, with its traffic',
    async (tracking) => {
      const { record, verdict } = await migrate({
        memoryBytes: 64 * MIB,
        settleMs: 200,
        rate: 2000,
        seed: 7,
        verify: 'full',
        tracking,
      });
      const others = verdict.checks.filter(({ outcome }) => outcome !== 'held');
      expect(others.map(({ name, outcome, seen }) => `${name}: ${outcome}, ${seen}`)).toEqual([]);
      expect(record!.approaches?.tracking).toBe(tracking);
      expect(record!.dirtied.cpu + record!.dirtied.device + record!.dirtied.both).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});
