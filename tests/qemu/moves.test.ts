/** What becomes of the function and its guest when QEMU moves a Linux: the rows of the table in docs/real-linux.md, each by our command. */
import { describe, expect, it } from 'vitest';
import { moveLinux, type QemuMoveOptions } from '../../lab/qemu/move.js';
import { findWorld } from '../../lab/qemu/world.js';

const found = findWorld();
const why = typeof found === 'string' ? ` (skipped: ${found})` : '';
/** Few: the guest is emulated, and other guests may be beside it. */
const RATE = 20;

interface Way {
  readonly options: QemuMoveOptions;
  /** What the guest's kernel says of it. */
  readonly says: readonly RegExp[];
}

const WAYS: readonly Way[] = [
  {
    options: { stop: 'failover', start: 'hot-plug' },
    says: [/failover primary slave:\S+ unregistered/, /failover primary slave:\S+ registered/],
  },
  { options: { stop: 'hot-unplug', start: 'hot-plug' }, says: [/pciehp: Slot\(1\)/] },
  { options: { stop: 'acpi-eject', start: 'hot-plug' }, says: [/failover primary slave:\S+ registered/] },
  { options: { stop: 'surprise', start: 'hot-plug-agent' }, says: [/pciehp: Slot\(1\)/] },
  {
    options: { stop: 'surprise', start: 'error-recovery-nonfatal' },
    says: [/AER: device recovery successful/],
  },
  { options: { stop: 'device-state', start: 'device-state' }, says: [] },
];

describe.skipIf(typeof found === 'string')(`a Linux that QEMU moves${why}`, () => {
  it.each(WAYS.map((way) => [`${way.options.stop}, ${way.options.start}`, way] as const))(
    '%s: the guest arrives unharmed, its function works, and its traffic goes on',
    async (_name, { options, says }) => {
      const { verdict, record, network, kernelLog } = await moveLinux({ ...options, rate: RATE });
      expect(verdict.checks.filter(({ outcome }) => outcome !== 'held')).toEqual([]);
      expect(verdict.outcome).toBe('verified');
      expect(record).toMatchObject({ status: 'completed', approaches: options });
      expect(record.blackout!.totalNs).toBeGreaterThan(0);
      expect(network!.move.flows[0]!.arrived!.received).toBeGreaterThan(0);
      for (const line of says) expect(kernelLog.join('\n')).toMatch(line);
    },
  );
});
