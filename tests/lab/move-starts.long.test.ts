/** Each way to stop a device and start it again that is not its state's, on a real move under echoes: all bytes compared. */
import { describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { detailOf } from '../../dist/lab/compare/figures.js';
import { migrate } from '../../dist/lab/index.js';

const TIMEOUT_MS = 120_000;

/** In a quick slot; what of it the guest's console has not, the host and the peer saw. */
const PLUG_STEPS = [
  'power off, and move',
  'wait for the link',
  'configuration',
  'probe, until the reset',
  'reset, until the mailbox',
  'mailbox, until the probe is over',
  'transmit ring',
  'receive ring',
  'interrupts',
  'address',
  'link of the interface',
  'first packet at the peer',
];

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
      const result = await migrate({
        memoryBytes: 64 * MIB,
        settleMs: 200,
        rate: 2000,
        seed: 7,
        nic,
        verify: 'full',
        stop,
        start,
      });
      const { record, verdict } = result;
      const others = verdict.checks.filter(({ outcome }) => outcome !== 'held');
      expect(others.map(({ name, outcome, seen }) => `${name}: ${outcome}, ${seen}`)).toEqual([]);
      expect(record!.approaches).toMatchObject({ stop, start });
      const [device] = record!.devices;
      expect(device!.problem).toBeUndefined();
      expect(device!.startedAfterNs).toBeGreaterThan(0);
      const steps = detailOf(result)!.plug.map(({ what }) => what);
      // Whether the slot says that its link is up as well is chance.
      expect(steps.filter((what) => what !== 'presence and power')).toEqual(
        start === 'hot-plug' ? PLUG_STEPS : [],
      );
    },
    TIMEOUT_MS,
  );
});
