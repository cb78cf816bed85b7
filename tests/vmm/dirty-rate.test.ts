/** The dirty rate of a guest under traffic: a tracking at work without a migration, in virtual time. */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import { measureDirtyRate } from '../../migration/dirty-rate.js';
import { MigrationParameters } from '../../migration/parameters.js';
import { type Alone, echoingAlone } from './passthrough-world.js';

const measure = ({ machine, scheduler }: Alone, tracking: string, ms = 20) =>
  measureDirtyRate({
    machine: machine.outgoing,
    scheduler,
    parameters: new MigrationParameters({ tracking }),
    duration: milliseconds(ms),
    period: milliseconds(5),
    signal: new AbortController().signal,
  });

describe('the dirty rate of a guest whose device writes', () => {
  it('has the writes of both, by whichever tracking, and leaves the machine as it was', () =>
    echoingAlone(async (world) => {
      const { machine, scheduler } = world;
      await scheduler.sleep(milliseconds(10));
      const dirty = await measure(world, 'iommu-dirty');
      expect(dirty).toMatchObject({ tracking: 'iommu-dirty', harvests: 4 });
      expect(dirty.durationNs).toBeGreaterThanOrEqual(20e6);
      expect(dirty.dirtied.device).toBeGreaterThan(50);
      expect(dirty.dirtied.cpu).toBeGreaterThan(4);
      expect(machine.query().variant).toBe('run');
      // By the guest: the same pages are the vCPU's.
      const touched = await measure(world, 'unmap-touch');
      expect(touched.dirtied.device).toBe(0);
      expect(touched.dirtied.cpu).toBeGreaterThan(dirty.dirtied.cpu + 50);
      expect(machine.query().variant).toBe('run');
      // A page that is mapped counts in each harvest.
      const pinned = await measure(world, 'pinned');
      const all = machine.description.migratedPages;
      expect(pinned.dirtied.device + pinned.dirtied.both).toBe(pinned.harvests * all);
    }));

  it('is not measured by what the machine does not allow', () =>
    echoingAlone(async (world) => {
      await expect(measure(world, 'cpu-log')).rejects.toMatchObject({ code: 'migration/approach' });
      expect(world.machine.query().variant).toBe('run');
    }));
});
