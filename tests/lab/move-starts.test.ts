/** Each way to stop a device and start it again that is not its state's, on a real move under echoes: all bytes compared. */
import { describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { migrate } from '../../dist/lab/index.js';

const TIMEOUT_MS = 120_000;

describe('ferry migrate --stop --start', () => {
  it.each([
    ['capability', 'capability', 'vf'],
    ['surprise', 'replace-event', 'vf'],
    ['surprise', 'error-recovery', 'vf'],
    ['surprise', 'state-replay', 'vf'],
    ['hot-unplug-quick', 'hot-plug', 'vf,slot=quick'],
  ] as const)(
    '%s, %s: the guest arrives byte for byte, its device works again, and every packet is accounted for',
    async (stop, start, nic) => {
      const { record, verdict } = await migrate({
        memoryBytes: 64 * MIB,
        settleMs: 200,
        rate: 2000,
        seed: 7,
        nic,
        verify: 'full',
        stop,
        start,
      });
      const others = verdict.checks.filter(({ outcome }) => outcome !== 'held');
      expect(others.map(({ name, outcome, seen }) => `${name}: ${outcome}, ${seen}`)).toEqual([]);
      expect(record!.approaches).toMatchObject({ stop, start });
      const [device] = record!.devices;
      expect(device!.problem).toBeUndefined();
      expect(device!.startedAfterNs).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});
