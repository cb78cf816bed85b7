/** The union of the vCPUs' log and the devices': each writer is asked, once, before the log that names its pages. */
import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { milliseconds } from '../../base/units.js';
import type { AssignedDevice, DmaWriter, SourceMachine } from '../../migration/ports.js';
import { unionWith } from '../../migration/tracking/union.js';

const PATIENT = {
  patience: { duration: milliseconds(1), over: new Promise<void>(() => undefined) },
  givenUp: new Promise<void>(() => undefined),
};

/** Two devices of one domain and one that has a domain for itself, on a machine; all note what they are asked. */
function asked() {
  const calls: string[] = [];
  const writer = (name: string): DmaWriter => ({
    track: async (how) => void calls.push(`${name} tracks ${how}`),
    readDirty: async () => {
      calls.push(`${name} begins to read`);
      await Promise.resolve();
      calls.push(`${name} has read`);
    },
  });
  const [common, own] = [writer('common domain'), writer('own domain')];
  const devices = [common, common, own].map((dma, i) => ({ name: `vf${i}`, dma }) as AssignedDevice);
  const machine = {
    startDirtyLog: async () => void calls.push('log starts'),
    harvest: async () => {
      calls.push('log is harvested');
      return { cpuPages: 0, devicePages: 0, bothPages: 0 };
    },
    stopDirtyLog: async () => void calls.push('log stops'),
  } as unknown as SourceMachine;
  return { calls, tracking: unionWith(machine, devices, 'dirty-bits') };
}

describe('devices behind one IOMMU domain', () => {
  it('are asked once for all of them: a second look would flush, drain and clear for nothing', async () => {
    const { calls, tracking } = asked();
    await tracking.start(PATIENT);
    expect(calls.splice(0)).toEqual([
      'common domain tracks dirty-bits',
      'own domain tracks dirty-bits',
      'log starts',
    ]);
    await tracking.harvest(new AtomicBitmap(64), false);
    expect(calls.splice(0)).toEqual([
      'common domain begins to read',
      'own domain begins to read',
      'common domain has read',
      'own domain has read',
      'log is harvested',
    ]);
    await tracking.stop(PATIENT);
    expect(calls.toSorted()).toEqual([
      'common domain tracks undefined',
      'log stops',
      'own domain tracks undefined',
    ]);
  });
});
