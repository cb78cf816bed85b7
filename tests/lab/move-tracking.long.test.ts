/** Each way to know what the device wrote, on a real move under echoes: real processes, all bytes compared. */
import { describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { migrate } from '../../dist/lab/index.js';

const TIMEOUT_MS = 120_000;

describe('ferry migrate --tracking', () => {
  it.each([
    ['device-log'],
    // The same guest, with a device of another kind whose driver does nothing for it.
    ['unmap-touch', 'edu'],
    ['driver-touch'],
    ['ring-snoop'],
  ] as const)(
    '%s: the guest arrives byte for byte, with its traffic',
    async (tracking, device?: 'edu') => {
      const { record, verdict } = await migrate({
        memoryBytes: 64 * MIB,
        settleMs: 200,
        rate: 2000,
        seed: 7,
        verify: 'full',
        tracking,
        ...(device === undefined ? {} : { device }),
      });
      const others = verdict.checks.filter(({ outcome }) => outcome !== 'held');
      expect(others.map(({ name, outcome, seen }) => `${name}: ${outcome}, ${seen}`)).toEqual([]);
      expect(record!.approaches?.tracking).toBe(tracking);
      expect(verdict.checks.some(({ seen }) => /pages copied by edu/.test(seen))).toBe(device === 'edu');
      expect(record!.dirtied.cpu + record!.dirtied.device + record!.dirtied.both).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});
