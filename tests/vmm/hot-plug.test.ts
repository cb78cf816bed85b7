/**
 * A guest that is moved without its device: asked to let it go, and given another. All of it real but time: the kernel's
 * hot-plug driver, the slot, the NIC, both flows of the migration, the network.
 */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { moveUnderTraffic, type TrafficScene } from './passthrough-world.js';

/** Few packets: a guest that is unplugged by a button takes seconds of its time. */
const RATE = 500;
const SETTLED_MS = 400;

const move = (scene: TrafficScene): ReturnType<typeof moveUnderTraffic> =>
  moveUnderTraffic({
    rate: RATE,
    afterwardsMs: SETTLED_MS,
    commandLine: 'status_ms=1000',
    ...scene,
    parameters: { start: 'hot-plug', ...scene.parameters },
  });

const slotStates = ({ timeline }: MigrationRecord | DestinationRecord): string[] =>
  timeline
    .filter(({ who, what }) => who === 'vf0' && what === 'slot')
    .map(({ facts = {} }) => facts)
    .map(({ present, powerIndicator }) => `${present ? 'occupied' : 'empty'}, ${powerIndicator}`);

describe.each([
  { stop: 'hot-unplug', slot: 'ordinary', least: 6000, most: 6100, link: 120, off: 1000 },
  { stop: 'hot-unplug-quick', slot: 'ordinary', least: 1000, most: 1100, link: 120, off: 1000 },
  { stop: 'hot-unplug-quick', slot: 'quick', least: 0, most: 100, link: 120, off: 0 },
  { stop: 'acpi-eject', slot: 'acpi', least: 0, most: 100, link: 0, off: 0 },
] as const)(
  'a guest whose device leaves its $slot slot by $stop',
  ({ stop, slot, least, most, link, off }) => {
    it('is moved, verified, and has traffic with the device that is put in there; nothing wrong arrives', async () => {
      const { source, destination, flow, console } = await move({ nic: { slot }, parameters: { stop } });
      expect(source.error).toBeUndefined();
      expect([source.status, destination.status]).toEqual(['completed', 'completed']);
      expect([source.afterwards, destination.afterwards]).toEqual([undefined, undefined]);
      expect(source.fallbacks).toEqual([]);
      const asked = source.timeline.find(({ who, what }) => who === 'vf0' && what === 'request')!;
      expect(asked.duration! / 1e6).toBeGreaterThanOrEqual(least);
      expect(asked.duration! / 1e6).toBeLessThan(most);
      expect(slotStates(source).at(-1)).toBe('empty, off');
      expect(slotStates(destination)[0]).toBe('occupied, off');
      expect(slotStates(destination).at(-1)).toBe('occupied, on');
      // Where the port handles hot-plug, the link is waited for before the first access.
      const started = destination.timeline.find(({ who, what }) => who === 'vf0' && what === 'start')!;
      expect(started.duration! / 1e6).toBeGreaterThanOrEqual(link);
      expect(started.duration! / 1e6).toBeLessThan(link + 40);
      expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
      // Traffic ends with the device, and goes on with the next: not a second is lost that the slot does not take.
      const gapMs = flow.arrived!.longestGapNs / 1e6;
      expect(gapMs).toBeGreaterThanOrEqual(link);
      expect(gapMs).toBeLessThan(off + link + 130);
      expect(flow.arrived!.silentNs / 1e6).toBeLessThan(50);
      expect(console.filter((line) => /DMA-API: ixgbevf|BUG/.test(line))).toEqual([]);
      expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(2);
    });
  },
);

describe('the interface of a device that comes back', () => {
  const again = async (start: 'hot-plug' | 'hot-plug-restore') => {
    const { source, destination, flow, console } = await move({
      nic: { slot: 'quick' },
      parameters: { stop: 'hot-unplug-quick', start },
    });
    expect([source.status, source.afterwards, destination.afterwards]).toEqual([
      'completed',
      undefined,
      undefined,
    ]);
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(flow.arrived!.silentNs / 1e6).toBeLessThan(50);
    const lines = (pattern: RegExp): number => console.filter((line) => pattern.test(line)).length;
    return {
      configured: lines(/IP-Config: Complete/),
      back: lines(/eth0: ipaddr=10.0.0.2 and 1 neighbours/),
    };
  };

  it('is set up by the command line again, unless the guest was asked to keep what it had', async () => {
    expect(await again('hot-plug')).toEqual({ configured: 2, back: 0 });
    expect(await again('hot-plug-restore')).toEqual({ configured: 1, back: 1 });
  });
});

describe('a guest whose device was asked to leave', () => {
  it.each([
    ['while it blinks', 'hot-unplug', { cancelAfterMs: 300 }, 1, undefined],
    ['while its slot loses power', 'hot-unplug-quick', { cancelAfterMs: 500 }, 2, undefined],
    [
      'when it is refused at the destination',
      'hot-unplug-quick',
      { nic: { slot: 'quick' }, destinationNic: { slot: 'ordinary' } },
      2,
      'was unplugged, and is plugged in again',
    ],
  ] as const)('has it back %s, and its traffic', async (_, stop, scene, linksUp, notice) => {
    const { source, flow, console } = await move({ ...scene, afterwardsMs: 2000, parameters: { stop } });
    expect(source.status).toBe('cancelAfterMs' in scene ? 'cancelled' : 'failed');
    expect(source.guest).toBe('here');
    expect(source.devices[0]!.takenBack).toBe(notice);
    expect(source.afterwards).toBeUndefined();
    expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(linksUp);
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(flow.arrived!.silentNs / 1e6).toBeLessThan(50);
    expect(console.filter((line) => /DMA-API: ixgbevf|BUG/.test(line))).toEqual([]);
  });

  it('keeps it where there is no answer in time', async () => {
    const { source, flow, console } = await move({
      commandLine: 'pcie_ports=compat status_ms=1000',
      parameters: { stop: 'hot-unplug', requestTimeoutMs: 200 },
    });
    expect(source.error).toMatchObject({ code: 'migration/still-plugged-in' });
    expect(source.guest).toBe('here');
    expect(flow.arrived).toMatchObject({ lost: 0, corrupt: 0 });
    expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(1);
  });
});

describe('a guest whose button is pressed again while its slot blinks', () => {
  it('keeps its device, and nobody waits any longer', async () => {
    const { source, flow, console } = await move({
      commandLine: 'behaviour=cancelling status_ms=1000',
      parameters: { stop: 'hot-unplug' },
    });
    expect(source.error).toMatchObject({ code: 'migration/unplug-cancelled' });
    expect(source.guest).toBe('here');
    expect(source.totalNs).toBeLessThan(milliseconds(1000));
    expect(flow.arrived).toMatchObject({ lost: 0, corrupt: 0 });
    expect(console.filter((line) => /canceling request to power off/.test(line))).toHaveLength(1);
  });
});

describe('a guest that hears nothing', () => {
  it('of ACPI either keeps its device', async () => {
    const { source } = await move({
      commandLine: 'behaviour=silent status_ms=1000',
      nic: { vfioMigration: false, slot: 'acpi' },
      parameters: { stop: 'acpi-eject', start: 'hot-plug', requestTimeoutMs: 100 },
    });
    expect(source.error?.code).toBe('migration/still-plugged-in');
    expect(source.guest).toBe('here');
  });

  it('is moved without its device in the end, and is asked for nothing twice', async () => {
    const { source } = await move({
      commandLine: 'behaviour=silent status_ms=1000',
      parameters: {
        stop: 'graceful',
        start: 'hot-plug-restore',
        requestTimeoutMs: 100,
        deviceStartTimeoutMs: 100,
      },
    });
    expect(source).toMatchObject({ status: 'completed', guest: 'there', error: undefined });
    expect(source.fallbacks.map(({ from, because }) => [from, because])).toEqual([
      ['hot-unplug-quick', expect.stringMatching(/did not answer keep within 100 ms/)],
      ['hot-unplug', expect.stringMatching(/has not let vf0 go in 100 ms/)],
    ]);
    const [device] = source.devices;
    expect(device!.unprepared).toMatch(/did not answer keep/);
    expect(device!.problem).toMatch(/has not taken vf0 into use in 100 ms/);
  });
});

describe('a slot that ACPI handles', () => {
  it('is not for the port to turn off: who is left to choose asks ACPI, and nobody else first', async () => {
    const { source, flow } = await move({
      nic: { slot: 'acpi', vfioMigration: false },
      parameters: { stop: 'graceful' },
    });
    expect(source.error).toBeUndefined();
    expect(source.approaches).toMatchObject({ stop: 'acpi-eject', start: 'hot-plug' });
    expect(source.fallbacks).toEqual([]);
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
  });

  it('has who wants the port to turn it off refused before anything is sent; its guest does not say that it could', async () => {
    const offered: (readonly string[])[] = [];
    const { source, flow } = await move({
      nic: { slot: 'acpi' },
      parameters: { stop: 'hot-unplug-quick' },
      before: async ({ devices }) => {
        offered.push(await devices[0]!.guest!.features());
      },
    });
    expect(source.error).toMatchObject({
      code: 'migration/approach',
      message: expect.stringMatching(/vf0: ACPI handles its slot; .* stop = .*acpi-eject/),
    });
    expect([source.guest, source.transferred.pages]).toEqual(['here', 0]);
    expect(flow.arrived).toMatchObject({ lost: 0, corrupt: 0 });
    expect(offered[0]).toContain('susp');
    expect(offered[0]).not.toContain('off');
  });

  it('is found out to hold another device than before, of which nobody was told', async () => {
    const { source, destination, flow, console } = await move({
      nic: { slot: 'acpi' },
      parameters: { stop: 'surprise' },
    });
    expect([source.error, source.afterwards, destination.afterwards]).toEqual(Array(3).fill(undefined));
    expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(2);
    expect(flow.arrived!.silentNs / 1e6).toBeLessThan(50);
    expect(console.filter((line) => /DMA-API: ixgbevf|BUG/.test(line))).toEqual([]);
  });
});

describe('a guest that does not let its device go in time', () => {
  it.each([
    ['by surprise, at once', 'surprise', {}, []],
    [
      'at its deadline, though it blinks',
      'graceful',
      { requestTimeoutMs: 300 },
      ['hot-unplug-quick', 'hot-unplug'],
    ],
  ] as const)('loses it %s, and has traffic with the next', async (_, stop, more, tried) => {
    const { source, destination, flow, console } = await move({ parameters: { stop, ...more } });
    expect(source.error).toBeUndefined();
    expect([source.afterwards, destination.afterwards]).toEqual([undefined, undefined]);
    expect(source.approaches).toMatchObject({ stop: 'surprise', start: 'hot-plug' });
    expect(source.fallbacks.map(({ from }) => from)).toEqual(tried);
    // One that was turning its slot off has let the device go in good order meanwhile.
    const pulledOut = console.filter((line) => /Slot\(1\): (Link Down|Card not present)/.test(line));
    expect(pulledOut).toHaveLength(stop === 'surprise' ? 2 : 0);
    expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(2);
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(flow.arrived!.silentNs / 1e6).toBeLessThan(50);
    expect(console.filter((line) => /DMA-API: ixgbevf|BUG/.test(line))).toEqual([]);
  });
});
