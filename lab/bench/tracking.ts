/**
 * What it costs to know which pages a device writes: packets, CPU time of the guest and of the host, while a tracking is at work,
 * against the same traffic without it. Trackings and none take turns, at several packet rates and sizes of RAM. No migration is under way:
 * the tracking is asked at even times, as the rounds of one would.
 */
import { MIB } from '../../base/units.js';
import { builtIn } from '../../migration/registry.js';
import type { DirtyRateInfo } from '../../vmm/monitor/control.js';
import { labErrors } from '../errors.js';
import { type FabricProcess, spawnFabric } from '../fabric/spawn.js';
import { guestIp, KERNEL_IMAGE, PEER_IP } from '../move/scenario.js';
import { type Spread, spreadOf } from '../report/median.js';
import { spawnVmm, type Vmm } from '../vmm-client/spawn.js';
import { threadTimes, timesBetween } from '../vmm-client/thread-times.js';
import { TRACKING_MEMORIES, TRACKING_RATES } from './tracking-defaults.js';

export interface BenchTrackingOptions {
  /** Turns of each tracking, at each rate and size (default: 3). */
  readonly runs?: number;
  /** Echoes a second that the peer asks for (default: TRACKING_RATES). */
  readonly rates?: readonly number[];
  /** Guest RAM, bytes (default: TRACKING_MEMORIES). */
  readonly memories?: readonly number[];
  /** Names, or `module:PATH`; all that serve a machine with a device if absent. */
  readonly trackings?: readonly string[];
  /** What is measured of a turn, milliseconds (default: 700). */
  readonly turnMs?: number;
  /** Between two times that the tracking is asked (default: 100). */
  readonly periodMs?: number;
  /** Told before each part, for people who wait. */
  readonly onPart?: (what: string) => void;
}

/** One tracking, at one rate and with one size of RAM; each value against the turns without it that stood beside. */
export interface TrackingFigure {
  readonly tracking: string;
  readonly memoryBytes: number;
  /** Echoes a second that were asked for. */
  readonly rate: number;
  /** Echoes a second that came back, and of those that came back without a tracking the share. */
  readonly packetsPerSecond: Spread;
  readonly packetShare: Spread;
  /** CPU time in a second, as a share of one CPU: without the tracking, and what comes on top with it. */
  readonly guestCpu: Spread;
  readonly guestCost: Spread;
  readonly hostCpu: Spread;
  readonly hostCost: Spread;
  /** Of the host's, what the VMM's main thread takes, which asks; devices and their IOMMU have a thread of their own. */
  readonly askingCost: Spread;
  /** Pages that it named, a second, and what one time of asking took, milliseconds. */
  readonly pagesPerSecond: Spread;
  readonly harvestMs: Spread;
}

export interface BenchTrackingResult {
  readonly runs: number;
  readonly turnMs: number;
  readonly periodMs: number;
  readonly figures: readonly TrackingFigure[];
  /** Trackings that the machine does not allow, and why. */
  readonly refused: readonly { readonly tracking: string; readonly reason: string }[];
}

/** The peer's flows start and end with what is not measured. */
const LEAD_MS = 400;
/** What a tracking works before and behind what is measured of it, at first. */
const MARGIN_MS = 100;
const POLL_MS = 10;
const PATIENCE_MS = 30_000;
const PAYLOAD_BYTES = 64;

/** Takes some four minutes. Rejects with the FerryErrors of the processes. */
export async function benchTracking(options: BenchTrackingOptions = {}): Promise<BenchTrackingResult> {
  const { runs = 3, rates = TRACKING_RATES, memories = TRACKING_MEMORIES, onPart = () => {} } = options;
  const { turnMs = 700, periodMs = 100 } = options;
  const wanted = options.trackings ?? trackingsOf();
  const figures: TrackingFigure[] = [];
  const refused = new Map<string, string>();
  for (const memoryBytes of memories) {
    await inWorld(memoryBytes, { turnMs, periodMs }, async (world) => {
      const names = await world.allowed(wanted, refused);
      for (const rate of rates) {
        onPart(`${memoryBytes / MIB} MiB, ${rate} packets a second, ${names.length} trackings in turn`);
        await world.startTraffic(rate);
        const rounds: Round[] = [];
        for (let run = 0; run < runs; run++) rounds.push(await world.round(names));
        const after = await world.turn(undefined);
        await world.stopTraffic();
        for (const name of names) figures.push(figureOf(name, memoryBytes, rate, rounds, after));
      }
    });
  }
  const reasons = [...refused].map(([tracking, reason]) => ({ tracking, reason }));
  return { runs, turnMs, periodMs, figures, refused: reasons };
}

/** Of those that try several others, the others are enough. */
const trackingsOf = (): readonly string[] =>
  builtIn.tracking
    .filter(({ serves, tries }) => serves === 'device' && tries === undefined)
    .map(({ name }) => name);

/** What was measured of one turn, each a second. */
interface Turn {
  readonly packets: number;
  readonly guestCpu: number;
  readonly hostCpu: number;
  readonly askingCpu: number;
  readonly pages: number;
  readonly harvestMs: number;
}

/** A turn without a tracking, then one with each. */
interface Round {
  readonly without: Turn;
  readonly with: ReadonlyMap<string, Turn>;
}

async function inWorld(
  memoryBytes: number,
  times: TurnTimes,
  measure: (world: World) => Promise<void>,
): Promise<void> {
  const fabric = await spawnFabric({ peers: [`ip=${PEER_IP}`] });
  try {
    const append = 'workload=udp-echo status_ms=1000';
    const vmm = await spawnVmm({
      guest: KERNEL_IMAGE,
      nic: 'vf',
      netdev: fabric.address,
      memoryBytes,
      append,
    });
    try {
      await vmm.waitForConsole(/Link is Up/);
      await measure(new World(fabric, vmm, times));
    } finally {
      await vmm.quit();
    }
  } finally {
    await fabric.quit();
  }
}

interface TurnTimes {
  readonly turnMs: number;
  readonly periodMs: number;
}

interface Sample {
  readonly atMs: number;
  readonly arrived: number;
  readonly threads: ReadonlyMap<number, number>;
}

/** A guest with a peer, for measuring. */
class World {
  readonly #fabric: FabricProcess;
  readonly #vmm: Vmm;
  readonly #times: TurnTimes;

  constructor(fabric: FabricProcess, vmm: Vmm, times: TurnTimes) {
    this.#fabric = fabric;
    this.#vmm = vmm;
    this.#times = times;
  }

  /** Those of `wanted` that the machine allows, by the names that they go by; the others are put into `refused`. */
  async allowed(wanted: readonly string[], refused: Map<string, string>): Promise<readonly string[]> {
    const names: string[] = [];
    for (const word of wanted) {
      await this.#vmm.execute('migrate-set-parameters', { tracking: word });
      const info = await this.#work(1, async () => {});
      const name = info['x-ferry-tracking'];
      if (name === undefined) refused.set(word, info['error-desc'] ?? '');
      else if (!names.includes(name)) names.push(name);
    }
    return names;
  }

  /** Resolves when echoes come back. */
  async startTraffic(rate: number): Promise<void> {
    const before = await this.#arrived();
    await this.#fabric.startFlow(`to=${guestIp(0)},kind=echo,size=${PAYLOAD_BYTES},rate=${rate}`);
    await until('an echo', async () => ((await this.#arrived()) > before ? true : undefined));
    await sleep(LEAD_MS);
  }

  async stopTraffic(): Promise<void> {
    await this.#fabric.stopFlows();
  }

  async round(names: readonly string[]): Promise<Round> {
    const without = await this.turn(undefined);
    const turns = new Map<string, Turn>();
    for (const name of names) turns.set(name, await this.turn(name));
    return { without, with: turns };
  }

  async turn(tracking: string | undefined): Promise<Turn> {
    if (tracking === undefined) {
      // After one that ended a moment ago: the guest runs other code now, and its first steps take longer.
      await sleep(MARGIN_MS);
      return this.#measured(await this.#window(), undefined);
    }
    await this.#vmm.execute('migrate-set-parameters', { tracking });
    for (let margin = MARGIN_MS; ; margin *= 2) {
      let seen: readonly [Sample, Sample] | undefined;
      let covered = false;
      const info = await this.#work(this.#times.turnMs + 2 * margin, async () => {
        await sleep(margin);
        seen = await this.#window();
        covered = (await this.#info()).status === 'measuring';
      });
      if (info['error-desc'] !== undefined) {
        throw labErrors.error('monitor-refused', {
          command: `calc-dirty-rate with ${tracking}`,
          class: 'GenericError',
          desc: info['error-desc'],
        });
      }
      // On a busy host it may have ended before all was measured.
      if (covered) return this.#measured(seen!, info);
    }
  }

  /** Has the tracking work for so long; `meanwhile` begins when it does. Resolves with what came of it. */
  async #work(durationMs: number, meanwhile: () => Promise<void>): Promise<DirtyRateInfo> {
    await this.#vmm.execute('calc-dirty-rate', {
      'calc-time': Math.ceil(durationMs),
      'calc-time-unit': 'millisecond',
      'x-ferry-period': this.#times.periodMs,
    });
    const begun = await until('the tracking', async () => {
      const info = await this.#info();
      return info.status !== 'measuring' || info['x-ferry-tracking'] !== undefined ? info : undefined;
    });
    if (begun.status === 'measuring') await meanwhile();
    return until('the end of the tracking', async () => {
      const info = await this.#info();
      return info.status === 'measuring' ? undefined : info;
    });
  }

  async #info(): Promise<DirtyRateInfo> {
    return (await this.#vmm.execute('query-dirty-rate', {
      'calc-time-unit': 'millisecond',
    })) as DirtyRateInfo;
  }

  async #window(): Promise<readonly [Sample, Sample]> {
    const before = await this.#sample();
    await sleep(this.#times.turnMs);
    return [before, await this.#sample()];
  }

  async #sample(): Promise<Sample> {
    const arrived = await this.#arrived();
    return { atMs: performance.now(), arrived, threads: threadTimes(this.#vmm.pid) };
  }

  async #measured(
    [before, after]: readonly [Sample, Sample],
    info: DirtyRateInfo | undefined,
  ): Promise<Turn> {
    const seconds = (after.atMs - before.atMs) / 1000;
    const cpus = (await this.#vmm.execute('query-cpus-fast')) as readonly { readonly 'thread-id': number }[];
    const vcpus = new Set(cpus.map((cpu) => cpu['thread-id']));
    const spent = timesBetween(before.threads, after.threads);
    let [guestNs, hostNs] = [0, 0];
    for (const [thread, ns] of spent) {
      if (vcpus.has(thread)) guestNs += ns;
      else hostNs += ns;
    }
    const { cpu, device, both } = info?.['x-ferry-dirtied'] ?? { cpu: 0, device: 0, both: 0 };
    const harvests = info?.['x-ferry-harvests'];
    return {
      packets: (after.arrived - before.arrived) / seconds,
      guestCpu: guestNs / 1e9 / seconds,
      hostCpu: hostNs / 1e9 / seconds,
      askingCpu: (spent.get(this.#vmm.pid) ?? 0) / 1e9 / seconds,
      pages: info === undefined ? 0 : (cpu + device + both) / (info['calc-time'] / 1000),
      harvestMs: harvests === undefined ? 0 : harvests['time-ns'] / 1e6 / Math.max(1, harvests.count),
    };
  }

  async #arrived(): Promise<number> {
    const { peers } = await this.#fabric.report();
    return peers[0]!.flows.reduce((sum, { arrived }) => sum + (arrived?.received ?? 0), 0);
  }
}

/** Each turn of a tracking stands between two without one: those are its measure. */
function figureOf(
  tracking: string,
  memoryBytes: number,
  rate: number,
  rounds: readonly Round[],
  after: Turn,
): TrackingFigure {
  const pairs = rounds.map((round, i) => {
    const next = rounds[i + 1]?.without ?? after;
    const beside = (pick: (turn: Turn) => number): number => (pick(round.without) + pick(next)) / 2;
    return { turn: round.with.get(tracking)!, beside };
  });
  const range = (of: (pair: (typeof pairs)[number]) => number): Spread => spreadOf(pairs.map(of));
  return {
    tracking,
    memoryBytes,
    rate,
    packetsPerSecond: range(({ turn }) => turn.packets),
    packetShare: range(
      ({ turn, beside }) =>
        turn.packets /
        Math.max(
          1,
          beside(({ packets }) => packets),
        ),
    ),
    guestCpu: range(({ beside }) => beside(({ guestCpu }) => guestCpu)),
    guestCost: range(({ turn, beside }) => turn.guestCpu - beside(({ guestCpu }) => guestCpu)),
    hostCpu: range(({ beside }) => beside(({ hostCpu }) => hostCpu)),
    hostCost: range(({ turn, beside }) => turn.hostCpu - beside(({ hostCpu }) => hostCpu)),
    askingCost: range(({ turn, beside }) => turn.askingCpu - beside(({ askingCpu }) => askingCpu)),
    pagesPerSecond: range(({ turn }) => turn.pages),
    harvestMs: range(({ turn }) => turn.harvestMs),
  };
}

/** What `look` finds, as soon as it finds something. */
async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw labErrors.error('timeout', { what, waitedMs: PATIENCE_MS });
    await sleep(POLL_MS);
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
