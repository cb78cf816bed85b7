/**
 * A migration on paper: the product's own decisions (when rounds end, when a guest is slowed down, what blackout is expected)
 * over a guest that writes its working set at random, devices that fill their rings in turn, and a link of a constant rate.
 */
import { type Duration, nanoseconds, PAGE_BYTES } from '../../base/units.js';
import { AutoConverge, expectedBlackout, LinkRate, Shrinking } from '../../migration/estimate.js';
import { defaultParameters } from '../../migration/parameters.js';
import type { BlackoutRecord, RoundsEnd } from '../../migration/record.js';
import { type PlanInputs, trackingOf } from './inputs.js';

/** A page on the wire, with its share of headers: 4,096 to 4,105 bytes in moves that were recorded. */
const PAGE_WIRE_BYTES = 4100;

/**
 * Scan of VT-d's leaf tables, from `ferry bench iommu` (docs/benchmarks.md): a clean leaf, what a dirty one costs to clear and
 * flush, and each page that it names in the bitmap.
 */
const LEAF_NS = 0.31;
const DIRTY_LEAF_NS = 5.4;
const NAMED_PAGE_NS = 0.08;

export interface PlannedRound {
  readonly round: number;
  readonly pages: number;
  readonly zeroPages: number;
  readonly bytes: number;
  readonly durationNs: number;
  readonly harvestNs: number;
  /** Pages that have to be sent again, by who wrote them. */
  readonly dirtied: { readonly cpu: number; readonly device: number };
  readonly throttlePercent: number;
}

export interface Plan {
  readonly rounds: readonly PlannedRound[];
  readonly roundsEnd: RoundsEnd;
  /** Sent while the guest stands still. */
  readonly lastPages: number;
  readonly blackout: BlackoutRecord;
  /** As the source would expect it when it ends the rounds: it measures the link under its limit. */
  readonly expected: BlackoutRecord;
  /** What is left of the blackout when there is no page to send: no round shortens it. */
  readonly floorNs: number;
  readonly meetsLimit: boolean;
  /** From the command to the guest's first instruction at the destination. */
  readonly totalNs: number;
  /** Of RAM and devices, on the wire. */
  readonly bytes: number;
}

/** Pages of `all` that are written at least once, by `writes` to random ones. */
const touched = (all: number, writes: number): number => (all === 0 ? 0 : all * -Math.expm1(-writes / all));

/**
 * What the tracking names of what the functions write in `ns`: pages that are not zero, and leaves of VT-d's tables that are
 * dirty. All that is named with a page that was written travels with it.
 */
function deviceWrites(inputs: PlanInputs, ns: number): { readonly pages: number; readonly leaves: number } {
  const { vfs, deviceDirtyRate, deviceMemory, memory, used, leaves, buffers } = inputs;
  if (vfs === 0) return { pages: 0, leaves: 0 };
  const { converges, byLeaf } = trackingOf(inputs);
  if (!converges) return { pages: used / PAGE_BYTES, leaves: 0 };
  // Rings come round: no page is new after one turn.
  const written = Math.min(vfs * deviceMemory, (vfs * deviceDirtyRate * ns) / 1e9) / PAGE_BYTES;
  const inLeaf = byLeaf ? leaves / PAGE_BYTES : 1;
  if (inLeaf === 1) return { pages: written, leaves: written };
  const total = memory / PAGE_BYTES;
  // Where they lie together, what is beside them is in use as well.
  if (buffers === 'together') {
    const dirty = Math.min(vfs * Math.ceil(deviceMemory / leaves), written);
    return { pages: Math.min(total, dirty * inLeaf), leaves: dirty };
  }
  const dirty = touched(memory / leaves, written);
  return { pages: written + Math.max(0, dirty * inLeaf - written) * (used / memory), leaves: dirty };
}

/** Reading what was written: the vCPUs' log and the devices' answers, and the tables that hold dirty bits. */
function harvestOf(inputs: PlanInputs, device: { readonly pages: number; readonly leaves: number }): number {
  const { memory, leaves, vfs, harvest } = inputs;
  if (vfs === 0 || !trackingOf(inputs).byLeaf) return harvest;
  return harvest + (memory / leaves) * LEAF_NS + device.leaves * DIRTY_LEAF_NS + device.pages * NAMED_PAGE_NS;
}

/** What is written in `ns`, while the guest is throttled by `percent`. */
function dirtiedIn(inputs: PlanInputs, ns: number, percent: number): PlannedRound['dirtied'] {
  const { dirtyRate, workingSet, cpuLoad, used } = inputs;
  const left = cpuLoad === 0 ? 1 : Math.min(1, (100 - percent) / cpuLoad);
  const cpu = touched(workingSet / PAGE_BYTES, (dirtyRate * left * ns) / 1e9 / PAGE_BYTES);
  // Of what both write, a page travels once.
  const device = Math.min(deviceWrites(inputs, ns).pages, Math.max(0, used / PAGE_BYTES - cpu));
  return { cpu, device };
}

/** The whole migration. */
export function planMigration(inputs: PlanInputs): Plan {
  const { memory, used, bandwidth, maxBandwidth, zeroRate, roundTrip, vfs, deviceState, stateAhead } = inputs;
  const { stateRate, setUp, downtimeLimit, autoConverge } = inputs;
  const parameters = { ...defaultParameters, autoConverge };
  const converge = new AutoConverge();
  const shrinking = new Shrinking();
  const link = new LinkRate();
  const allowed = maxBandwidth === 0 ? bandwidth : Math.min(bandwidth, maxBandwidth);
  const ahead = (vfs * deviceState * stateAhead) / 100;
  const rounds: PlannedRound[] = [];
  let pages = memory / PAGE_BYTES;
  let zeroPages = (memory - used) / PAGE_BYTES;
  let throttlePercent = 0;
  let bytes = ahead;
  let totalNs = setUp;
  for (;;) {
    const round = rounds.length + 1;
    const sentBytes = (pages - zeroPages) * PAGE_WIRE_BYTES;
    const durationNs = (sentBytes / allowed) * 1e9 + ((zeroPages * PAGE_BYTES) / zeroRate) * 1e9 + roundTrip;
    const stateNs = round === 1 && vfs > 0 ? (ahead / Math.min(allowed, vfs * stateRate)) * 1e9 : 0;
    const before = durationNs + stateNs;
    const harvestNs = harvestOf(inputs, deviceWrites(inputs, before));
    const dirtied = dirtiedIn(inputs, before + harvestNs, throttlePercent);
    const left = dirtied.cpu + dirtied.device;
    rounds.push({
      round,
      pages,
      zeroPages,
      bytes: sentBytes,
      durationNs,
      harvestNs,
      dirtied,
      throttlePercent,
    });
    bytes += sentBytes;
    totalNs += before + harvestNs;
    link.add(sentBytes, nanoseconds(durationNs));
    const rate = link.bytesPerSecond;
    const expected = blackoutWith(inputs, Math.round(left), rate, harvestNs);
    const shrunk = shrinking.over(expected.totalNs, sentBytes, nanoseconds(durationNs));
    const roundsEnd = endOf(inputs, round, Math.round(left), expected, shrunk);
    if (roundsEnd !== undefined) {
      // The limit is for the time in which the guest runs; until it stands, it goes on writing.
      const untilStill = before + harvestNs + inputs.pause + (vfs === 0 ? 0 : inputs.quiesce);
      const { cpu, device } = dirtiedIn(inputs, untilStill, throttlePercent);
      const lastPages = Math.round(cpu + device);
      const blackout = blackoutWith(inputs, lastPages, bandwidth, harvestNs);
      return {
        rounds,
        roundsEnd,
        lastPages,
        blackout,
        expected,
        floorNs: blackoutWith(inputs, 0, bandwidth, harvestNs).totalNs,
        meetsLimit: blackout.totalNs <= downtimeLimit,
        totalNs: totalNs + blackout.totalNs,
        bytes: bytes + lastPages * PAGE_WIRE_BYTES + (vfs * deviceState - ahead),
      };
    }
    throttlePercent =
      converge.judge(parameters, sentBytes, nanoseconds(durationNs), dirtied.cpu) ?? throttlePercent;
    pages = left;
    zeroPages = 0;
  }
}

/** Whether, and why, the source ends pre-copy with this round. */
function endOf(
  inputs: PlanInputs,
  round: number,
  left: number,
  expected: BlackoutRecord,
  shrunk: boolean,
): RoundsEnd | undefined {
  const { downtimeLimit, maxRounds, vfs } = inputs;
  if (left === 0) return 'nothing-left';
  if (expected.totalNs <= downtimeLimit) return 'fits-downtime-limit';
  if (vfs > 0 && !trackingOf(inputs).converges) return 'same-pages';
  if (shrunk) return 'no-longer-shrinks';
  return round >= maxRounds ? 'max-rounds' : undefined;
}

/** The blackout with so many pages left, over a link of that rate. */
function blackoutWith(
  inputs: PlanInputs,
  remainingPages: number,
  bytesPerSecond: number,
  harvestNs: number,
): BlackoutRecord {
  const { vfs, deviceState, stateAhead, stateRate, deviceLoad, memory, pinRate } = inputs;
  const state = deviceState * (1 - stateAhead / 100);
  const lastPagesNs = harvestNs + ((remainingPages * PAGE_BYTES) / bytesPerSecond) * 1e9;
  // Devices give their state beside each other and beside the pages, but all of it takes the same link.
  const linkNs = lastPagesNs + ((vfs * state) / bytesPerSecond) * 1e9;
  const deviceStateNs = vfs === 0 ? 0 : Math.max((state / stateRate) * 1e9, linkNs);
  const ns = (value: number): Duration => nanoseconds(value);
  return expectedBlackout({
    remainingPages,
    bytesPerSecond,
    roundTripNs: ns(inputs.roundTrip),
    quiesceNs: ns(vfs === 0 ? 0 : inputs.quiesce),
    pauseNs: ns(inputs.pause),
    harvestNs: ns(harvestNs),
    deviceStateNs: ns(deviceStateNs),
    loadNs: ns(inputs.load + vfs * deviceLoad + (vfs === 0 || pinRate === 0 ? 0 : (memory / pinRate) * 1e9)),
    startNs: ns(inputs.start),
  });
}
