/** The network of a move: a fabric process with a peer that runs and measures the scenario's flows, phase by phase. */
import { devicesOf } from '../../vmm/process/nic-options.js';
import type { FabricReport } from '../fabric/report.js';
import { type FabricProcess, spawnFabric } from '../fabric/spawn.js';
import type { ProcessExit } from '../vmm-client/child.js';
import type { ConsoleLine } from './check.js';
import {
  type FlowRecord,
  flowRecord,
  guestCounters,
  type HostDrops,
  type NetworkRecord,
  networkPhase,
} from './network-record.js';
import { guestIp, PEER_IP, type Scenario } from './scenario.js';

/**
 * Longest wait for traffic to flow, at the start and after the move, and for the last echoes, which on a busy host take their time.
 * Whether it does is for the verdict.
 */
const PATIENCE_MS = 5000;
const POLL_MS = 5;

/** What of a scenario says what traffic there is. */
export type TrafficScenario = Pick<
  Scenario,
  'nic' | 'flows' | 'rate' | 'payloadBytes' | 'pcap' | 'arrivals' | 'traceTo'
> & {
  /** Longest wait for traffic to flow and for the last echoes; 5 s if absent. */
  readonly trafficPatienceMs?: number;
};

export class Traffic {
  readonly #fabric: FabricProcess;
  readonly #scenario: TrafficScenario;
  #before: NetworkRecord['before'] | undefined;
  #move: NetworkRecord['move'] | undefined;
  #after: NetworkRecord['after'] | undefined;
  #total: Pick<NetworkRecord, 'total' | 'fabric'> | undefined;

  private constructor(fabric: FabricProcess, scenario: TrafficScenario) {
    this.#fabric = fabric;
    this.#scenario = scenario;
  }

  /** Spawns the fabric; see `spawnFabric` for what it may throw. */
  static async open(scenario: TrafficScenario): Promise<Traffic> {
    const { pcap } = scenario;
    const fabric = await spawnFabric({ peers: [`ip=${PEER_IP}`], ...(pcap === undefined ? {} : { pcap }) });
    return new Traffic(fabric, scenario);
  }

  /** By the number of the guest's interface. */
  get #names(): readonly string[] {
    return devicesOf(this.#scenario.nic) ?? [];
  }

  get #devices(): number {
    return this.#names.length;
  }

  get #patienceMs(): number {
    return this.#scenario.trafficPatienceMs ?? PATIENCE_MS;
  }

  get pid(): number {
    return this.#fabric.pid;
  }

  /** Where VMMs plug in. */
  get address(): string {
    return this.#fabric.address;
  }

  /** Starts the flows; resolves with true when they flow, or after so long with whether they do. */
  async start(patienceMs = this.#patienceMs): Promise<boolean> {
    const { rate, payloadBytes, flows } = this.#scenario;
    for (let i = 0; i < this.#devices; i++) {
      const peerFlow = (kind: string): Promise<void> =>
        this.#fabric.startFlow(`to=${guestIp(i)},kind=${kind},rate=${rate},size=${payloadBytes}`);
      if (flows.includes('echo')) await peerFlow('echo');
      if (flows.includes('to-guest')) await peerFlow('out');
    }
    return this.#flowing(patienceMs);
  }

  /** What came until now was to warm up. */
  async warm(): Promise<void> {
    await this.#fabric.nextPhase();
  }

  /** The move begins now. */
  async moving(): Promise<void> {
    this.#before = networkPhase(await this.#fabric.nextPhase(), this.#names);
  }

  /** The move is over when traffic flows again. */
  async moved(): Promise<void> {
    await this.#flowing();
    const arrivals = this.#scenario.arrivals || this.#scenario.traceTo !== undefined;
    this.#move = networkPhase(await this.#fabric.nextPhase({ arrivals }), this.#names);
  }

  /** Stops sending, and waits for the last echoes. */
  async stop(): Promise<void> {
    this.#after = networkPhase(await this.#fabric.nextPhase(), this.#names);
    await this.#fabric.stopFlows();
    await this.#until(this.#patienceMs, (records) => records.every(({ pending }) => pending === 0));
    const fabric = await this.#fabric.report();
    this.#total = { total: this.#flowsOf(fabric), fabric };
  }

  /**
   * The record, after `stop`; `console` is the guest's, with what it printed since then, and `before` so much of it as there
   * was when traffic flowed again.
   */
  record(
    console: readonly ConsoleLine[],
    before: readonly ConsoleLine[],
    drops: HostDrops,
  ): NetworkRecord | undefined {
    if (!this.#before || !this.#move || !this.#after || !this.#total) return undefined;
    const { rate, payloadBytes } = this.#scenario;
    const guestBefore = guestCounters(before, this.#devices);
    return {
      rate,
      payloadBytes,
      before: this.#before,
      move: this.#move,
      after: this.#after,
      ...this.#total,
      devices: guestCounters(console, this.#devices).map((guest, i) => ({
        name: this.#names[i]!,
        guest,
        guestBefore: guestBefore[i]!,
        nics: { source: drops.source?.[i], destination: drops.destination?.[i] },
      })),
    };
  }

  /** Ends the fabric; harmless when it has ended. */
  close(): Promise<ProcessExit> {
    return this.#fabric.quit();
  }

  /** Resolves with true when every flow that the peer measures has brought something since now; with false when that takes too long. */
  #flowing(patienceMs = this.#patienceMs): Promise<boolean> {
    const measured = this.#scenario.flows.filter((flow) => flow !== 'to-guest').length * this.#devices;
    const name = ({ device, flow }: FlowRecord): string => `${device} ${flow}`;
    let first: Map<string, number> | undefined;
    return this.#until(patienceMs, (records) => {
      const received = records.map((record) => [name(record), record.arrived?.received ?? 0] as const);
      first ??= new Map(received);
      return received.filter(([flow, count]) => count > (first!.get(flow) ?? 0)).length >= measured;
    });
  }

  #flowsOf({ peers }: FabricReport): readonly FlowRecord[] {
    return peers.flatMap(({ flows }) => flows.map((flow) => flowRecord(flow, this.#names)));
  }

  async #until(patienceMs: number, done: (records: NetworkRecord['total']) => boolean): Promise<boolean> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      if (done(this.#flowsOf(await this.#fabric.report()))) return true;
      if (performance.now() > deadline) return false;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}
