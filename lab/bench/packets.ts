/**
 * Packets between a guest and a peer: through the guest's network stack and driver, the emulated VF behind VT-d, the
 * cable's socket, a switch process and back. Measured are rates at which everything arrives, and what each thread ran
 * for a packet, so that one sees which of them is the limit; beside it what the bare switch forwards.
 */

import { type FabricProcess, spawnFabric } from '../fabric/spawn.js';
import { KERNEL_IMAGE } from '../move/scenario.js';
import { median } from '../report/median.js';
import { spawnVmm, type Vmm } from '../vmm-client/spawn.js';
import { threadTimes, timesBetween } from '../vmm-client/thread-times.js';
import { benchFabric, type FabricFigure } from './fabric.js';

export interface BenchPacketsOptions {
  /**
   * Measured turns of each figure, 30 at most (default: 5): each is a flow of its own, as is each try of the search, and
   * a peer has 64.
   */
  readonly runs?: number;
  /** Those to measure (default: all). */
  readonly directions?: readonly Direction[];
  /** Bytes in a datagram (default: a small and a large one). */
  readonly payloads?: readonly number[];
  /** Told before each part, for people who wait. */
  readonly onPart?: (what: string) => void;
}

const DIRECTIONS = ['guest to peer', 'peer to guest', 'echo'] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** Threads that a packet passes, in microseconds of CPU time each; `other` is what else the VMM's process ran. */
export interface ThreadCosts {
  readonly vcpu: number;
  readonly device: number;
  readonly fabric: number;
  readonly other: number;
}

export interface PacketFigure {
  /** An echo is counted once, though it is a packet there and one back. */
  readonly direction: Direction;
  /** Bytes in a datagram. */
  readonly payloadBytes: number;
  /** Without FCS. */
  readonly frameBytes: number;
  /** Medians. */
  readonly packetsPerSecond: number;
  /** Bits of frames, without FCS, in one direction. */
  readonly bitsPerSecond: number;
  readonly costsUs: ThreadCosts;
  /** Over all turns: packets offered, and of them those that did not arrive, or not as they were sent. */
  readonly offered: number;
  readonly lost: number;
  readonly corrupt: number;
}

export interface BenchPacketsResult {
  /** The switch alone, from socket to socket, with frames of the same sizes. */
  readonly limits: readonly FabricFigure[];
  readonly figures: readonly PacketFigure[];
}

const PAYLOADS = [64, 1472];
/** Ethernet, IPv4 and UDP headers. */
const HEADER_BYTES = 42;
const GUEST_IP = '10.0.0.2';
const PEER_IP = '10.0.0.1';
/** What whoever measures packets sets: long rings, as with `ethtool -G`, and no checks of the driver's DMA. */
const TUNING = 'rx_ring=2048 tx_ring=4096 dma_debug=off';
const TURN_MS = 800;
/** A flow runs for a while before it is measured, and on behind it. */
const LEAD_MS = 200;
const RATE_FIRST = 20_000;
/** What the peer's flows can be asked for. */
const RATE_MAX = 1_000_000;
/** A rate holds if no more than this share gets lost. */
const LOSS_SHARE_MAX = 0.001;
/** Steps of the search for the highest rate that holds, once one is found that does not. */
const BISECTIONS = 4;
/** Measured a little below it, so that a moment's disturbance is no loss. */
const RATE_SHARE = 0.92;
const SETTLE_MS = 100;

/** Takes about two minutes. Rejects with the FerryErrors of the processes. */
export async function benchPackets(options: BenchPacketsOptions = {}): Promise<BenchPacketsResult> {
  const { runs = 5, directions = DIRECTIONS, payloads = PAYLOADS, onPart = () => {} } = options;
  const frames = payloads.map((payload) => HEADER_BYTES + payload);
  onPart('the bare switch');
  const { figures: limits } = await benchFabric({ runs, frameBytes: frames });
  const figures: PacketFigure[] = [];
  for (const direction of directions) {
    for (const payloadBytes of payloads) {
      onPart(`${direction}, ${payloadBytes} bytes`);
      figures.push(await measured(direction, payloadBytes, runs));
    }
  }
  return { limits, figures };
}

function measured(direction: Direction, payloadBytes: number, runs: number): Promise<PacketFigure> {
  if (direction === 'guest to peer') {
    const sending = `workload=udp-stream rate=${RATE_MAX} payload=${payloadBytes} tick_us=100`;
    return inWorld(sending, (world) => world.measureSending(payloadBytes, runs));
  }
  const answering = 'workload=udp-echo,udp-stream rate=0';
  return inWorld(answering, (world) => world.measureOffered(direction, payloadBytes, runs));
}

/** Counts and times at one moment. */
interface Sample {
  readonly atMs: number;
  readonly arrived: number;
  readonly lost: number;
  readonly corrupt: number;
  readonly vmm: ReadonlyMap<number, number>;
  readonly fabric: ReadonlyMap<number, number>;
}

interface Turn {
  readonly perSecond: number;
  readonly costsUs: ThreadCosts;
  readonly offered: number;
  readonly lost: number;
  readonly corrupt: number;
}

async function inWorld<T>(append: string, measure: (world: World) => Promise<T>): Promise<T> {
  const fabric = await spawnFabric({ peers: [`ip=${PEER_IP}`] });
  try {
    const vmm = await spawnVmm({
      guest: KERNEL_IMAGE,
      nic: 'vf',
      netdev: fabric.address,
      append: `${append} ip=${GUEST_IP} peer=${PEER_IP} status_ms=100 ${TUNING}`,
    });
    try {
      await vmm.waitForConsole(/Link is Up/);
      return await measure(new World(fabric, vmm));
    } finally {
      await vmm.quit();
    }
  } finally {
    await fabric.quit();
  }
}

/** A guest with a peer, for measuring. */
class World {
  readonly #fabric: FabricProcess;
  readonly #vmm: Vmm;
  /** Flows of the peer so far. */
  #flows = 0;

  constructor(fabric: FabricProcess, vmm: Vmm) {
    this.#fabric = fabric;
    this.#vmm = vmm;
  }

  /** The guest sends as fast as its device takes it. */
  async measureSending(payloadBytes: number, runs: number): Promise<PacketFigure> {
    const sample = (): Promise<Sample> => this.#sample(() => this.#comeIn());
    await sleep(LEAD_MS * 3);
    const turns: Turn[] = [];
    for (let run = 0; run < runs; run++) {
      const before = await sample();
      await sleep(TURN_MS);
      const after = await sample();
      turns.push(await this.#turn(before, after, after.arrived + after.lost - before.arrived - before.lost));
    }
    return figureOf('guest to peer', payloadBytes, turns);
  }

  /** The peer sends at the highest rate that arrives, which is looked for first. */
  async measureOffered(
    direction: Exclude<Direction, 'guest to peer'>,
    payloadBytes: number,
    runs: number,
  ): Promise<PacketFigure> {
    const holdsOnce = async (rate: number): Promise<boolean> => {
      const turn = await this.#offer(direction, payloadBytes, rate);
      return turn.lost <= turn.offered * LOSS_SHARE_MAX && turn.perSecond > rate * RATE_SHARE;
    };
    // A moment in which somebody else had the CPU says nothing about a rate.
    const holds = async (rate: number): Promise<boolean> => (await holdsOnce(rate)) || holdsOnce(rate);
    // The first packets meet code that was never run.
    await this.#offer(direction, payloadBytes, RATE_FIRST);
    let low = RATE_FIRST;
    while (low * 2 < RATE_MAX && (await holds(low * 2))) low *= 2;
    let high = low * 2;
    for (let i = 0; i < BISECTIONS; i++) {
      const middle = Math.round((low + high) / 2);
      if (await holds(middle)) low = middle;
      else high = middle;
    }
    const turns: Turn[] = [];
    for (let run = 0; run < runs; run++) {
      turns.push(await this.#offer(direction, payloadBytes, Math.round(low * RATE_SHARE)));
    }
    return figureOf(direction, payloadBytes, turns);
  }

  async #offer(
    direction: Exclude<Direction, 'guest to peer'>,
    payloadBytes: number,
    rate: number,
  ): Promise<Turn> {
    const count = Math.ceil((rate * (TURN_MS + 2 * LEAD_MS)) / 1000);
    const kind = direction === 'echo' ? 'echo' : 'out';
    const sample = (): Promise<Sample> =>
      this.#sample(direction === 'echo' ? () => this.#cameBack() : () => this.#wentIn());
    const start = await sample();
    await this.#fabric.startFlow(
      `to=${GUEST_IP},kind=${kind},size=${payloadBytes},rate=${rate},count=${count}`,
    );
    this.#flows++;
    await sleep(LEAD_MS);
    const before = await sample();
    await sleep(TURN_MS);
    const after = await sample();
    // Until all has been sent and nothing has come for a while: what is missing then is lost.
    let end = after;
    for (
      let arrived = -1;
      end.arrived - start.arrived < count && (arrived !== end.arrived || !(await this.#allSent(count)));
    ) {
      arrived = end.arrived;
      await sleep(SETTLE_MS);
      end = await sample();
    }
    const turn = await this.#turn(before, after, count);
    const lost = count - (end.arrived - start.arrived);
    return { ...turn, lost, corrupt: end.corrupt - start.corrupt };
  }

  async #turn(before: Sample, after: Sample, offered: number): Promise<Turn> {
    const packets = after.arrived - before.arrived;
    const vmm = timesBetween(before.vmm, after.vmm);
    const fabric = timesBetween(before.fabric, after.fabric);
    const cpus = (await this.#vmm.execute('query-cpus-fast')) as { 'thread-id': number }[];
    const vcpu = cpus.reduce((sum, cpu) => sum + (vmm.get(cpu['thread-id']) ?? 0), 0);
    for (const cpu of cpus) vmm.delete(cpu['thread-id']);
    const main = vmm.get(this.#vmm.pid) ?? 0;
    vmm.delete(this.#vmm.pid);
    // Of the threads without a name the one that works.
    const device = Math.max(0, ...vmm.values());
    const rest = sum(vmm.values()) - device + main;
    const us = (ns: number): number => ns / 1000 / Math.max(1, packets);
    return {
      perSecond: packets / ((after.atMs - before.atMs) / 1000),
      costsUs: { vcpu: us(vcpu), device: us(device), fabric: us(sum(fabric.values())), other: us(rest) },
      offered,
      lost: after.lost - before.lost,
      corrupt: after.corrupt - before.corrupt,
    };
  }

  async #sample(count: () => Promise<Pick<Sample, 'arrived' | 'lost' | 'corrupt'>>): Promise<Sample> {
    const counts = await count();
    const [vmm, fabric] = [threadTimes(this.#vmm.pid), threadTimes(this.#fabric.pid)];
    return { atMs: performance.now(), ...counts, vmm, fabric };
  }

  /** What the guest's own flow has brought to the peer. */
  async #comeIn(): Promise<Pick<Sample, 'arrived' | 'lost' | 'corrupt'>> {
    const { peers } = await this.#fabric.report();
    const flow = peers[0]!.flows.find(({ kind }) => kind === 'in')?.arrived;
    return { arrived: flow?.received ?? 0, lost: flow?.lost ?? 0, corrupt: flow?.corrupt ?? 0 };
  }

  /** What has come back of the last flow. */
  async #cameBack(): Promise<Pick<Sample, 'arrived' | 'lost' | 'corrupt'>> {
    const { peers } = await this.#fabric.report();
    const flows = peers[0]!.flows.filter(({ kind }) => kind === 'echo').map(({ arrived }) => arrived);
    return {
      arrived: sum(flows.map((flow) => flow?.received ?? 0)),
      lost: 0,
      corrupt: sum(flows.map((flow) => flow?.corrupt ?? 0)),
    };
  }

  /** What the guest's device has received, and what the guest found wrong with it. */
  async #wentIn(): Promise<Pick<Sample, 'arrived' | 'lost' | 'corrupt'>> {
    const [nic] = await this.#vmm.nics();
    const last = this.#vmm.console.findLast(({ text }) => /incoming longest gap/.test(text))?.text;
    const corrupt = Number(/(\d+) corrupt/.exec(last ?? '')?.[1] ?? 0);
    return { arrived: nic?.counters['frames-received'] ?? 0, lost: 0, corrupt };
  }

  async #allSent(count: number): Promise<boolean> {
    const { peers } = await this.#fabric.report();
    return (
      (peers[0]!.flows.find(({ flow, kind }) => kind !== 'in' && flow === this.#flows - 1)?.sent ?? 0) >=
      count
    );
  }
}

function figureOf(direction: Direction, payloadBytes: number, turns: readonly Turn[]): PacketFigure {
  const packetsPerSecond = median(turns.map((turn) => turn.perSecond));
  const cost = (thread: keyof ThreadCosts): number => median(turns.map(({ costsUs }) => costsUs[thread]));
  return {
    direction,
    payloadBytes,
    frameBytes: HEADER_BYTES + payloadBytes,
    packetsPerSecond,
    bitsPerSecond: packetsPerSecond * (HEADER_BYTES + payloadBytes) * 8,
    costsUs: { vcpu: cost('vcpu'), device: cost('device'), fabric: cost('fabric'), other: cost('other') },
    offered: sum(turns.map((turn) => turn.offered)),
    lost: sum(turns.map((turn) => turn.lost)),
    corrupt: sum(turns.map((turn) => turn.corrupt)),
  };
}

const sum = (values: Iterable<number>): number => [...values].reduce((total, value) => total + value, 0);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
