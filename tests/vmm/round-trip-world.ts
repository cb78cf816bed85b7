/**
 * A guest that goes from machine to machine, as often as one likes, in one thread and virtual time; and the account of what
 * is in use when it rests: in the guest by its own count, on the host of what a migration begins and must end.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { milliseconds } from '../../base/units.js';
import type { FlowMeasurement } from '../../devices/ethernet/flow-receiver.js';
import { PORT_DISCARD, PORT_ECHO } from '../../devices/ethernet/peer.js';
import type { LinkRule } from '../../lab/simulator/link.js';
import { dataNetwork, simulatedMachine } from '../../lab/simulator/machine.js';
import { GUEST_IP, SimulatedNetwork } from '../../lab/simulator/network.js';
import { type SimulatedRecords, type SimulatedWorld, simulateMigration } from '../../lab/simulator/run.js';
import { MigrationParameters, type ParameterValues } from '../../migration/parameters.js';
import type { AssignedDevice } from '../../migration/ports.js';
import type { ApproachRegistry } from '../../migration/registry.js';
import type { Machine } from '../../vmm/machine/machine.js';
import type { NicOptions } from '../../vmm/passthrough/records.js';
import { image, PAYLOAD_BYTES } from './passthrough-world.js';

const RAM_MIB = 64;
const STATUS_MS = 20;
/** A link comes, and a neighbour answers. */
const SETTLE_MS = 60;
/** What the last packets caused is over. */
const REST_MS = 40;
const FLOW_MS = 20;
const COMMAND_LINE =
  `workload=ledger,udp-stream,resources rate=0 status_ms=${STATUS_MS} tick_us=20000 ` +
  'transactions=200 ledger_working_set=512K sweep_ms=500';
/** What the peer sends meanwhile: echoes, and with `incoming` what the guest itself judges as well. */
const FLOWS = {
  echo: [{ kind: 'echo', port: PORT_ECHO, rate: 200 }],
  incoming: [
    { kind: 'echo', port: PORT_ECHO, rate: 200 },
    { kind: 'out', port: PORT_DISCARD, rate: 500 },
  ],
} as const;

/** What was begun and has not ended: by name, how often. */
class Begun {
  readonly #counts = new Map<string, number>();

  /** One more of `what`, until what is returned is called. */
  begin(what: string): Cancel {
    this.add(what, 1);
    let over = false;
    return () => {
      if (!over) this.add(what, -1);
      over = true;
    };
  }

  add(what: string, count: number): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
  }

  get left(): readonly string[] {
    return [...this.#counts].filter(([, count]) => count !== 0).map(([what, count]) => `${count} ${what}`);
  }
}

/** `scheduler`, whose timers are counted. */
const countTimers = (scheduler: Scheduler, begun: Begun): Scheduler => ({
  now: () => scheduler.now(),
  yield: () => scheduler.yield(),
  sleep: async (duration, signal) => {
    const end = begun.begin('timers');
    await scheduler.sleep(duration, signal).finally(end);
  },
  after: (duration, callback) => {
    if (duration === Infinity) return () => {};
    const end = begun.begin('timers');
    const cancel = scheduler.after(duration, () => {
      end();
      callback();
    });
    return () => {
      end();
      cancel();
    };
  },
});

/** Methods of a device's facets that begin something, and those that end it. */
const SWITCHES: Readonly<Record<string, readonly [began: string, by: 1 | 0]>> = {
  'log.start': ['DMA logs', 1],
  'log.stop': ['DMA logs', 0],
  'rings.start': ['snooped rings', 1],
  'rings.stop': ['snooped rings', 0],
  'fn.isolate': ['functions cut off', 1],
  'fn.restore': ['functions cut off', 0],
  'fn.closeGate': ['closed gates', 1],
  'fn.openGate': ['closed gates', 0],
};

/** `device`, of which is counted what is switched on and off, and who listens. */
function countUses(device: AssignedDevice, begun: Begun): AssignedDevice {
  const on = new Map<string, number>();
  const set = (what: string, now: 1 | 0): void => {
    begun.add(what, now - (on.get(what) ?? 0));
    on.set(what, now);
  };
  const facetOf = (name: string, facet: object): object =>
    new Proxy(facet, {
      get: (target, method: string) => {
        const call = Reflect.get(target, method) as unknown;
        if (typeof call !== 'function') return call;
        return (...args: unknown[]) => {
          const change = SWITCHES[`${name}.${method}`];
          if (change !== undefined) set(...change);
          if (name === 'dma' && method === 'track') set('dirty trackings', args[0] === undefined ? 0 : 1);
          const result = call.apply(target, args) as unknown;
          if (!method.startsWith('on')) return result;
          const end = begun.begin(`listeners (${name}.${method})`);
          return () => {
            end();
            (result as Cancel)();
          };
        };
      },
    });
  return Object.fromEntries(
    Object.entries(device).map(([name, facet]) => [
      name,
      typeof facet === 'object' && name !== 'identity' ? facetOf(name, facet) : facet,
    ]),
  ) as unknown as AssignedDevice;
}

export type Workload = keyof typeof FLOWS;

export interface Trip extends SimulatedRecords {
  /** What the migration began, where the guest is in the end, and has not ended. */
  readonly left: readonly string[];
}

interface Circumstances {
  /** What happens to the control link. */
  readonly rules?: readonly LinkRule[];
  /** Other approaches than those that come with vf-ferry. */
  readonly registry?: ApproachRegistry;
}

export class Traveller {
  readonly #world: SimulatedWorld;
  readonly #network: SimulatedNetwork;
  readonly #nic: Partial<NicOptions>;
  readonly console: string[] = [];
  #machine: Machine;
  readonly #names = new Map<Machine, string>();

  private constructor(world: SimulatedWorld, nic: Partial<NicOptions>) {
    this.#world = world;
    this.#network = new SimulatedNetwork(world);
    this.#nic = nic;
    this.#machine = this.#make();
  }

  /** A guest that runs, on a machine with such a NIC. */
  static async boot(world: SimulatedWorld, nic: Partial<NicOptions>, commandLine = ''): Promise<Traveller> {
    const traveller = new Traveller(world, nic);
    await traveller.#machine.boot(image, `${COMMAND_LINE} ${commandLine}`);
    await traveller.elapse(SETTLE_MS);
    return traveller;
  }

  get machine(): Machine {
    return this.#machine;
  }

  #make(): Machine {
    const name = `machine ${this.#names.size}`;
    const ramBytes = RAM_MIB * 2 ** 20;
    const machine = simulatedMachine(this.#world, this.#network, name, {
      nic: this.#nic,
      console: this.console,
      ramBytes,
    });
    this.#names.set(machine, name);
    return machine;
  }

  async #end(machine: Machine): Promise<void> {
    await machine.destroy();
    this.#network.unplug(this.#names.get(machine)!);
  }

  elapse(ms: number): Promise<void> {
    return this.#world.scheduler.sleep(milliseconds(ms));
  }

  /** The guest goes to a machine that is made for it; where it was is destroyed. It stays if the migration fails. */
  async move(parameters: Partial<ParameterValues>, { rules, registry }: Circumstances = {}): Promise<Trip> {
    const from = this.#machine;
    const to = this.#make();
    const { scheduler, trace, random } = this.#world;
    const begun = { source: new Begun(), destination: new Begun() };
    const data = dataNetwork(scheduler, from, to);
    const common = { parameters: new MigrationParameters({ verify: 'full', ...parameters }, registry) };
    const devices = (machine: Machine, of: Begun) => machine.devices.map((device) => countUses(device, of));
    const both = new Begun();
    const records = await simulateMigration(
      { scheduler: countTimers(scheduler, both), trace, random: random.fork(this.#names.get(to)!) },
      {
        source: {
          ...common,
          machine: Object.create(from.outgoing, {
            devices: { value: devices(from, begun.source) },
          }) as typeof from.outgoing,
          data: data.source(() => from.ram),
          hasher: data.hasher(() => from.ram),
        },
        destination: {
          ...common,
          machine: Object.create(to.incoming, {
            devices: { value: devices(to, begun.destination) },
          }) as typeof to.incoming,
          data: data.destination(() => to.ram),
          hasher: data.hasher(() => to.ram),
        },
        ...(rules && { rules }),
      },
    );
    // What went over the link last has arrived.
    await this.elapse(1);
    const moved = records.destination.status === 'completed';
    await this.#end(moved ? from : to);
    if (moved) this.#machine = to;
    // The other machine is gone, and what was switched on there with it.
    const left = [...begun[moved ? 'destination' : 'source'].left, ...both.left];
    return { ...records, left };
  }

  /** The peer sends as in `workload`, until `stopTraffic`. */
  async startTraffic(workload: Workload): Promise<void> {
    this.#network.renewPeer();
    for (const flow of FLOWS[workload]) {
      this.#network.peer.startFlow({ ...flow, ip: GUEST_IP, payloadBytes: PAYLOAD_BYTES });
    }
    await this.elapse(FLOW_MS);
  }

  /** Echoes of the traffic that came back by now. */
  get echoes(): FlowMeasurement {
    return this.#network.peer.report().findLast(({ kind }) => kind === 'echo')!.arrived!;
  }

  /** Resolves when nothing is under way any more. */
  async stopTraffic(): Promise<void> {
    await this.elapse(FLOW_MS);
    this.#network.peer.stopFlows();
    await this.elapse(REST_MS);
  }

  /** What the guest has in use now, in its own words, without times: numbers first, then each interface. */
  async resources(): Promise<readonly string[]> {
    const from = this.console.length;
    await this.elapse(3 * STATUS_MS);
    const lines = this.console.slice(from).map((line) => line.replace(/^\[.*?\] /, ''));
    const [first, second] = lines.flatMap((line, at) => (/^resources: \d/.test(line) ? [at] : []));
    return lines.slice(first, second).filter((line) => line.startsWith('resources: '));
  }

  destroy(): Promise<void> {
    return this.#end(this.#machine);
  }
}
