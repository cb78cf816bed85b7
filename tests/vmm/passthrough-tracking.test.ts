/**
 * The ways to know what an assigned device wrote, each on a whole move of a guest under traffic in both directions, with
 * every byte compared after the stop; and beside each the defect that the comparison must find.
 */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import { builtIn } from '../../migration/registry.js';
import type { StopDescriptor } from '../../migration/stop/stop.js';
import type { TrackingDescriptor } from '../../migration/tracking/tracking.js';
import { moveUnderTraffic, RATE } from './passthrough-world.js';

/** The guest gets more at the end than it can take in, and all that was written before has been sent. */
const unconsumed = { sink: true, framesAtStop: 400, parameters: { maxBandwidth: 0 } };

/** Frames between two looks that the ring snooper can follow. */
const FOLLOWED = 60;

const caught = /verification-failed|integrity-mismatch/;

/** A move by `tracking` that went well: no byte wrong, and nothing lost but what the blackout drops. */
async function moved(
  tracking: string,
  scene: Parameters<typeof moveUnderTraffic>[0] = {},
): ReturnType<typeof moveUnderTraffic> {
  const result = await moveUnderTraffic({ ...scene, parameters: { ...scene.parameters, tracking } });
  const { source, flow, nic } = result;
  expect(source.error).toBeUndefined();
  expect(source.status).toBe('completed');
  expect(source.approaches?.tracking).toBe(tracking);
  expect(source.rounds.length).toBeGreaterThan(2);
  expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
  expect(flow.arrived!.lost).toBeLessThanOrEqual((flow.arrived!.longestGapNs / 1e9) * RATE + 2);
  expect(flow.arrived!.received).toBeGreaterThan(1000);
  expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
  return result;
}

describe("iommu-dirty by the tables of VT-d's first stage", () => {
  it('moves a guest under traffic, with writes on their way at any time, and names pages that were written', async () => {
    const { source } = await moved('iommu-dirty', { nic: { stage: 'first' }, writesInFlight: 8 });
    expect(source.verification).toMatchObject({ established: true, differences: [] });
    expect(source.dirtied.device).toBeGreaterThan(100);
    expect(source.rounds.at(-1)!.pages).toBeLessThan(source.migratedPages / 4);
  });
});

describe('device-log: the NIC logs what it writes', () => {
  it('moves a guest under traffic, and names pages that it wrote, not all that are mapped', async () => {
    const { source } = await moved('device-log');
    expect(source.dirtied.device).toBeGreaterThan(100);
    expect(source.rounds.at(-1)!.pages).toBeLessThan(source.migratedPages / 4);
  });

  it('moves it with writes on their way at any time, and with several functions, each with its log', async () => {
    await moved('device-log', { writesInFlight: 8 });
    const { source, flows } = await moveUnderTraffic({
      functions: 2,
      parameters: { tracking: 'device-log' },
    });
    expect(source.error).toBeUndefined();
    for (const { arrived } of flows) expect(arrived).toMatchObject({ corrupt: 0, duplicated: 0 });
    const reports = source.timeline.filter(({ what }) => what === 'report');
    expect(new Set(reports.map(({ who }) => who))).toEqual(new Set(['vf0', 'vf1']));
  });

  it('whose ranges miss what was mapped later is found out: verification names pages', async () => {
    const { source } = await moveUnderTraffic({
      parameters: { tracking: 'device-log' },
      nicFaults: { source: [{ site: 'nic/log-range-missed' }] },
    });
    expect(source.error?.code).toMatch(caught);
    expect(source.error?.message).toMatch(/pages? \d/);
  });
});

describe("ring-snoop: the hypervisor reads the NIC's rings", () => {
  it('moves a guest under traffic, and names the buffers that were used, not all that are mapped', async () => {
    const { source } = await moved('ring-snoop');
    expect(source.dirtied.device).toBeGreaterThan(100);
    expect(source.rounds.at(-1)!.pages).toBeLessThan(source.migratedPages / 4);
  });

  it('moves it with writes on their way at any time, and with more at the end than the guest takes in', async () => {
    for (const framesAtStop of [FOLLOWED, 400]) {
      const parameters = { ...unconsumed.parameters, tracking: 'ring-snoop' };
      const { source } = await moveUnderTraffic({
        ...unconsumed,
        framesAtStop,
        writesInFlight: 8,
        parameters,
      });
      expect(source.error).toBeUndefined();
      // So many between two looks may have filled the ring more than once, and then everything counts as written.
      const all = source.rounds.at(-1)!.pages > source.migratedPages / 2;
      expect(all, `after ${framesAtStop} frames`).toBe(framesAtStop !== FOLLOWED);
    }
  });

  it('and not the rings themselves is found out: verification names pages', async () => {
    // A ring of many pages: those that the device writes at the end are not those that the driver did.
    const parameters = { ...unconsumed.parameters, tracking: 'ring-snoop' };
    const scene = { ...unconsumed, commandLine: 'rx_ring=4096', parameters };
    const unsnooped = [{ site: 'nic/rings-unsnooped', count: 1000 }] as const;
    const { source } = await moveUnderTraffic({ ...scene, nicFaults: { source: unsnooped } });
    expect(source.error?.code).toMatch(caught);
    expect(source.error?.message).toMatch(/pages? \d/);
    expect((await moveUnderTraffic(scene)).source.error).toBeUndefined();
  });
});

/** `stop`, after which the device goes on until its state is read. */
const neverQuiesced = (stop: StopDescriptor): StopDescriptor => ({
  ...stop,
  make: (...given) => ({ ...stop.make(...given), quiesce: async () => undefined }),
});

/** `tracking`, which never hears that a harvest is the last: what is mapped until the end is left out. */
const withoutMapped = (tracking: TrackingDescriptor): TrackingDescriptor => ({
  ...tracking,
  make: (machine, devices) => {
    const made = tracking.make(machine, devices);
    return { ...made, harvest: (into) => made.harvest(into, false) };
  },
});

describe.each(['unmap-touch', 'driver-touch'])(
  '%s: the guest stores to the pages that the NIC wrote',
  (name) => {
    it('moves a guest under traffic, and touches no more over there', async () => {
      const { source, console } = await moved(name);
      expect(source.dirtied.cpu).toBeGreaterThan(100);
      const toggled = console.filter((line) => / ferry: (umap|rxwb) is /.test(line));
      expect(toggled.map((line) => line.split(' ').at(-1))).toEqual(['on', 'off']);
      expect(source.rounds.at(-1)!.pages).toBeLessThan(source.migratedPages / 4);
    });

    it('moves one that has not taken in what was written last: it is mapped, and so in the last pass', async () => {
      const parameters = { ...unconsumed.parameters, tracking: name };
      const { source } = await moveUnderTraffic({ ...unconsumed, parameters });
      expect(source.error).toBeUndefined();
    });

    it('without what is mapped until the end is found out: verification names pages', async () => {
      const { source } = await moveUnderTraffic({
        ...unconsumed,
        parameters: { ...unconsumed.parameters, tracking: name },
        registry: {
          ...builtIn,
          tracking: builtIn.tracking.map((one) => (one.name === name ? withoutMapped(one) : one)),
        },
      });
      expect(source.error?.code).toMatch(caught);
      expect(source.error?.message).toMatch(/pages? \d/);
    });
  },
);

describe('unmap-touch, while the device is never stopped', () => {
  it('is found out: what it writes after the last pass is missing', async () => {
    const { source } = await moveUnderTraffic({
      ...unconsumed,
      parameters: { ...unconsumed.parameters, tracking: 'unmap-touch' },
      framesAfterLastPass: 16,
      registry: { ...builtIn, stop: builtIn.stop.map(neverQuiesced) },
    });
    expect(source.error?.code).toMatch(caught);
    expect(source.error?.message).toMatch(/pages? \d/);
  });
});

describe('hybrid', () => {
  it('leaves it to the guest where the guest offers to touch, and the record says so', async () => {
    const { source } = await moveUnderTraffic({ parameters: { tracking: 'hybrid' } });
    expect(source.error).toBeUndefined();
    expect(source.approaches?.tracking).toBe('unmap-touch');
  });

  it('reads the dirty bits of the IOMMU where the guest offers and never answers, and the record says why', async () => {
    const { source, destination } = await moveUnderTraffic({
      commandLine: 'behaviour=silent',
      parameters: { tracking: 'hybrid', requestTimeoutMs: 100 },
    });
    expect([source.error, source.afterwards, destination.afterwards]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(source.approaches?.tracking).toBe('iommu-dirty');
    expect(source.fallbacks).toEqual([
      {
        effort: 'tracking',
        from: 'unmap-touch',
        to: 'iommu-dirty',
        because: expect.stringMatching(/did not answer umap within 100 ms/),
      },
    ]);
    // Asked once, and not waited for when it is told that nobody wants it any more.
    expect(source.setupNs).toBeLessThan(milliseconds(150));
  });

  it('reads the dirty bits of the IOMMU where it does not; touching alone is refused with the reason', async () => {
    const commandLine = 'pcie_ports=compat';
    const { source } = await moveUnderTraffic({ commandLine, parameters: { tracking: 'hybrid' } });
    expect(source.error).toBeUndefined();
    expect(source.approaches?.tracking).toBe('iommu-dirty');
    const refused = await moveUnderTraffic({ commandLine, parameters: { tracking: 'unmap-touch' } });
    expect(refused.source.error?.message).toMatch(/unmap-touch: vf0: its driver does not offer umap/);
  });
});
