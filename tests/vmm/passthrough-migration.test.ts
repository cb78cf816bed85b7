/**
 * A guest with a virtual function behind VT-d, moved under traffic; and the defects that must be found out. All of it
 * real but time: kernel, driver, NIC, VT-d, both flows of the migration, the switch and the peer.
 */
import { describe, expect, it } from 'vitest';
import { RAM_BYTES_MAX } from '../../base/abi/platform.js';
import { FaultPlan } from '../../base/fault.js';
import { RegisterFile } from '../../base/registers.js';
import { milliseconds } from '../../base/units.js';
import { vfTable } from '../../devices/nic82599/registers.js';
import { decodeSections } from '../../devices/pci/state.js';
import type { Machine } from '../../vmm/machine/machine.js';
import { echoingAlone, moveUnderTraffic, RATE } from './passthrough-world.js';

/** More often than any run visits a site. */
const ALWAYS = 1_000_000;

const undisturbed = new Map<number, ReturnType<typeof moveUnderTraffic>>();

/** A move in which nothing is planted, made once for each seed. */
function ordinaryMove(seed = 1): ReturnType<typeof moveUnderTraffic> {
  const move = undisturbed.get(seed) ?? moveUnderTraffic({ seed });
  undisturbed.set(seed, move);
  return move;
}

const nothingWrong = { duplicated: 0, reordered: 0, corrupt: 0 };

describe('a guest with a virtual function', () => {
  it('is moved under traffic: verified, nothing lost but what the blackout drops, no wrong byte', async () => {
    const { source, destination, flow, nic, announcedAt, stationMoves } = await ordinaryMove();
    expect(source.error).toBeUndefined();
    expect([...new Set(announcedAt)], 'where its place was announced').toEqual(['destination']);
    expect(stationMoves, 'stations that the switch heard at another port').toBe(1);
    expect([source.status, destination.status]).toEqual(['completed', 'completed']);
    expect(source.approaches).toEqual({
      tracking: 'iommu-dirty',
      stop: 'device-state',
      start: 'device-state',
    });
    expect(flow.arrived).toMatchObject(nothingWrong);
    // What was sent while no device took it, and what was on its way.
    const gapPackets = (flow.arrived!.longestGapNs / 1e9) * RATE;
    expect(flow.arrived!.lost).toBeLessThanOrEqual(gapPackets + 2);
    expect(flow.sent).toBe(flow.arrived!.received + flow.arrived!.lost);
    expect(flow.arrived!.received).toBeGreaterThan(1000);
    // The rings and buffers: written by the device, and most of them by nobody else.
    expect(source.dirtied.device).toBeGreaterThan(100);
    expect(source.deviceDirtied?.pages).toBeGreaterThan(100);
    expect(source.rounds.length).toBeGreaterThan(2);
    expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
  });

  it.each([2, 8])('is moved with %i of them, each in its own slot with its own flow', async (functions) => {
    const { source, flows, nics, console } = await moveUnderTraffic({ functions });
    expect(source.error).toBeUndefined();
    expect(source.status).toBe('completed');
    const names = Array.from({ length: functions }, (_, i) => `vf${i}`);
    expect(source.devices.map(({ name }) => name)).toEqual(names);
    expect(flows).toHaveLength(functions);
    for (const flow of flows) {
      expect(flow.arrived).toMatchObject(nothingWrong);
      const gapPackets = ((flow.arrived!.longestGapNs / 1e9) * RATE) / functions;
      expect(flow.arrived!.lost, flow.remote).toBeLessThanOrEqual(gapPackets + 2);
      expect(flow.sent).toBe(flow.arrived!.received + flow.arrived!.lost);
      expect(flow.arrived!.received, flow.remote).toBeGreaterThan(500 / functions);
    }
    expect(nics.map(({ name }) => name)).toEqual(names);
    // Each function has its own address, and its own traffic went through it.
    expect(nics.map(({ mac }) => mac)).toEqual(
      names.map((_, i) => `52:54:00:12:34:${(0x56 + i).toString(16)}`),
    );
    for (const nic of nics) {
      expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
      expect(nic.counters['frames-sent'], nic.name).toBeGreaterThan(500 / functions);
    }
    expect(console.filter((line) => /Ethernet|PCIe Root Port/.test(line))).toHaveLength(functions);
    // One domain for all of them, whose tables are read once for each harvest.
    const harvests = source.timeline.filter(({ what }) => what === 'readDirty');
    expect(new Set(harvests.map(({ who }) => who))).toEqual(new Set(['vf0']));
  });

  it.each([2, 3])('is moved whatever comes first (seed %i)', async (seed) => {
    const { source, flow } = await ordinaryMove(seed);
    expect(source.status).toBe('completed');
    expect(flow.arrived).toMatchObject(nothingWrong);
  });

  it('is moved with writes on their way at any time, since a page is copied only after the drain', async () => {
    const { source, flow } = await moveUnderTraffic({ writesInFlight: 8 });
    expect(source.error).toBeUndefined();
    expect(source.status).toBe('completed');
    expect(flow.arrived).toMatchObject(nothingWrong);
  });

  it('is moved when every page that is mapped counts as written, and then most of RAM travels in the blackout', async () => {
    const { source, flow } = await moveUnderTraffic({ parameters: { tracking: 'pinned' } });
    expect(source.status).toBe('completed');
    expect(source.roundsEnd).toBe('same-pages');
    expect(source.rounds.at(-1)!.pages).toBe(source.migratedPages);
    expect(flow.arrived).toMatchObject(nothingWrong);
  });

  it('is moved while it stands still, device and all, and works when it runs again', async () => {
    const { source, flow, nic } = await moveUnderTraffic({ paused: true });
    expect(source.status).toBe('completed');
    expect(source.devices[0]?.preCopyBytes).toBe(0);
    expect(flow.arrived).toMatchObject(nothingWrong);
    expect(flow.arrived!.received).toBeGreaterThan(500);
    expect(nic.state).toBe('RUNNING');
  });

  it('is moved with large leaves, whose dirty bits stand for more than was written, unless they are split', async () => {
    const [small, huge, demote] = [
      await ordinaryMove(),
      await moveUnderTraffic({ leaves: 'huge' }),
      await moveUnderTraffic({ leaves: 'demote' }),
    ];
    for (const { source, flow } of [small, huge, demote]) {
      expect(source.status).toBe('completed');
      expect(flow.arrived).toMatchObject(nothingWrong);
    }
    const dirtied = ({ source }: typeof small): number => source.rounds[0]!.dirtied.device;
    expect(dirtied(demote)).toBe(dirtied(small));
    expect(dirtied(huge)).toBeGreaterThan(1.5 * dirtied(small));
  });

  it('is the same, event for event, for the same seed', async () => {
    const [first, second] = [await ordinaryMove(2), await moveUnderTraffic({ seed: 2 })];
    expect(first.hash).toBe(second.hash);
    expect(first.hash).not.toBe((await ordinaryMove(3)).hash);
  });
});

describe('a migration that does it wrong is found out', () => {
  const caught = /verification-failed|integrity-mismatch/;

  it('the flush after clearing the dirty bits is left out: verification names a page', async () => {
    const { source, flow, announcedAt, stationMoves } = await moveUnderTraffic({
      nicFaults: { source: [{ site: 'iommu/flush-skipped', count: ALWAYS }] },
    });
    expect(source.error?.code).toMatch(caught);
    expect(source.error?.message).toMatch(/pages? \d/);
    // The guest goes on where it was, and its traffic too.
    expect(source.status).toBe('failed');
    expect({ announcedAt, stationMoves }).toEqual({ announcedAt: [], stationMoves: 0 });
    expect(flow.arrived).toMatchObject(nothingWrong);
    expect(flow.outstanding).toBe(0);
  });

  // A guest that sends back what it gets writes to the same pages as the device, and its own log would cover the defect.
  it('pages are copied before the invalidation has drained: verification names them', async () => {
    // Frames come right before each harvest, whose pages are then copied at once: at every pace of guest and traffic
    // there are writes that were reported, and are on their way while their pages are copied.
    const scene = {
      sink: true,
      writesInFlight: 8,
      framesAtHarvest: 16,
      parameters: { maxBandwidth: 0 },
    } as const;
    const { source } = await moveUnderTraffic({
      ...scene,
      nicFaults: { source: [{ site: 'migration/copy-before-drain', count: ALWAYS }] },
    });
    expect(source.error?.code).toMatch(caught);
    expect(source.error?.message).toMatch(/pages? \d/);
    const { source: undisturbed } = await moveUnderTraffic(scene);
    expect(undisturbed.error).toBeUndefined();
    expect(undisturbed.status).toBe('completed');
  });

  it('nobody tracks what the device writes: verification names a page', async () => {
    const { source } = await moveUnderTraffic({
      faults: new FaultPlan([{ site: 'migration/device-untracked' }]),
    });
    expect(source.error?.code).toMatch(caught);
    expect(source.error?.message).toMatch(/pages? \d/);
  });

  it.each([
    [
      'the flush is left out',
      { nicFaults: { source: [{ site: 'iommu/flush-skipped', count: ALWAYS }] } },
      /^pages /,
    ],
    [
      'a ring index is off by one',
      { nicFaults: { destination: [{ site: 'nic/ring-index-off-by-one' }] } },
      /vf0-function/,
    ],
  ] as const)('%s: verification after the move says so too', async (_, defect, words) => {
    const { source } = await moveUnderTraffic({ parameters: { verify: 'after' }, ...defect });
    expect(source.status).toBe('completed');
    expect(source.verification?.differences.some((difference) => words.test(difference))).toBe(true);
  });

  it('nothing: verification after the move finds nothing, and costs the blackout nothing', async () => {
    const { source } = await moveUnderTraffic({ parameters: { verify: 'after' } });
    expect(source.verification).toMatchObject({ mode: 'after', differences: [] });
  });

  it('a ring index is restored off by one: verification names the device', async () => {
    const { source } = await moveUnderTraffic({
      nicFaults: { destination: [{ site: 'nic/ring-index-off-by-one' }] },
    });
    expect(source.error?.code).toMatch(caught);
    expect(source.error?.message).toMatch(/device vf0-function/);
  });

  it('a ring index is restored off by one, and nobody verifies: the traffic shows it', async () => {
    const { source, flow } = await moveUnderTraffic({
      parameters: { verify: 'root' },
      nicFaults: { destination: [{ site: 'nic/ring-index-off-by-one' }] },
    });
    expect(source.status).toBe('completed');
    const gapPackets = (flow.arrived!.longestGapNs / 1e9) * RATE;
    const healthy =
      flow.arrived!.corrupt === 0 &&
      flow.arrived!.duplicated === 0 &&
      flow.arrived!.reordered === 0 &&
      flow.outstanding === 0 &&
      flow.arrived!.lost <= gapPackets + 2;
    expect(healthy).toBe(false);
  });
});

describe('a guest with as much memory as a machine can have', () => {
  it('has all of it in reach of its virtual function', () =>
    echoingAlone(async ({ scheduler, network }) => {
      await scheduler.sleep(milliseconds(40));
      expect(network.peer.report()[0]!.arrived!.received).toBeGreaterThan(500);
    }, RAM_BYTES_MAX));
});

describe('a virtual function that is told to write elsewhere', () => {
  it('is blocked and recorded, and neither guest nor VMM suffers', () =>
    echoingAlone(async ({ machine, scheduler, console }) => {
      await scheduler.sleep(milliseconds(20));
      await machine.pause();
      const ring = await receiveRing(machine);
      const outside = machine.ram.length + 4096;
      const view = new DataView(machine.ram.buffer);
      for (let at = ring.base; at < ring.base + ring.bytes; at += 16) {
        view.setUint32(at, outside, true);
        view.setUint32(at + 4, 0, true);
      }
      const told: number[] = [];
      machine.on((event) => {
        if (event.kind === 'device' && event.event.kind === 'iommu-faults') told.push(event.event.count);
      });
      await machine.resume();
      const lines = console.length;
      await scheduler.sleep(milliseconds(100));
      const report = (await machine.nicReports())[0]!;
      expect(report.faults.count).toBeGreaterThan(0);
      expect(told.at(-1)).toBe(report.faults.count);
      expect(report.faults.last.length).toBeLessThanOrEqual(16);
      for (const fault of report.faults.last) expect(fault).toMatchObject({ address: outside, write: true });
      expect(machine.state).toBe('running');
      expect(console.slice(lines).some((line) => /udp-echo/.test(line))).toBe(true);
    }));
});

/** Where the guest's driver put the receive ring, as the device's record tells. */
async function receiveRing(machine: Machine): Promise<{ base: number; bytes: number }> {
  const records = await machine.devices[0]!.vfio!.save();
  const { sections } = decodeSections(records[0]!.state);
  const registers = new RegisterFile(vfTable);
  const bytes = sections.find(([name]) => name === 'registers')![1];
  expect(registers.restore(bytes)).toBeUndefined();
  return { base: registers.get(vfTable.reg.RDBAL), bytes: registers.get(vfTable.reg.RDLEN) };
}
