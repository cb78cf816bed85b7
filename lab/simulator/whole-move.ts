/**
 * One migration of a whole guest under faults: two VMMs with a NIC behind VT-d each, a network with traffic, an operator at the
 * monitor; in virtual time, and all of it drawn from one seed.
 */
import { seededRandom } from '../../base/random.js';
import { type Duration, microseconds, milliseconds, PAGE_BYTES } from '../../base/units.js';
import type { FlowReport } from '../../devices/ethernet/flow.js';
import { PORT_ECHO } from '../../devices/ethernet/peer.js';
import { compareStates } from '../../migration/compare-states.js';
import { defaultParameters, type ParameterValues } from '../../migration/parameters.js';
import type { MachineState } from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { builtIn } from '../../migration/registry.js';
import type { Machine } from '../../vmm/machine/machine.js';
import type { Happened, RunChange, SideEnd, Whereabouts } from '../checkers/happened.js';
import type { BootedGuest } from './booted-guest.js';
import { causesOf, type Fault, nameOfFault } from './fault.js';
import { Infliction, killed } from './inflict.js';
import { DESTINATION, SimulatedWire } from './links.js';
import { GUEST_IP, SimulatedNetwork } from './network.js';
import { randomChange, randomParameters, randomPlan, TIMEOUTS } from './random-plan.js';
import { type SimulatedWorld, simulatedWorld } from './run.js';
import { type MemoryPool, SimulatedVmm } from './vmm.js';

export interface WholeMoveOptions {
  readonly booted: BootedGuest;
  readonly memories: MemoryPool;
  readonly plan: readonly Fault[];
  /** Over what is drawn of the parameters. */
  readonly parameters?: Partial<ParameterValues>;
}

export interface WholeMove {
  readonly seed: number;
  readonly happened: Happened;
  /** Who had the guest when both sides had come to an end, before any person did anything. */
  readonly guest: Whereabouts;
  /** What the monitors answered to calls of the plan: why one was refused, or undefined. */
  readonly answers: ReadonlyMap<Fault, string | undefined>;
  /** Of the plan, what never struck. */
  readonly idle: readonly Fault[];
  readonly lines: readonly string[];
  /** Over every event and when it happened. */
  readonly hash: string;
  readonly virtualNs: number;
}

const RATE = 2000;
const PAYLOAD_BYTES = 64;
/** Looked at so often whether it has ended. */
const LOOK = microseconds(500);
/** In which a migration ends in which nobody waits in vain. */
const UNDISTURBED_MS = 1000;
/** What was sent last has come back, and lost neighbours and links are told of. */
const REST = milliseconds(4);
const LAST_PACKETS = 8;
const PAGES_NAMED = 16;
const CHANNELS = 2;

/** The faults that `seed` stands for. */
export const planOf = (seed: number): readonly Fault[] =>
  randomPlan(seededRandom(seed).fork('plan'), CHANNELS);

/** Same seed and same options: same result, same hash. */
export async function moveWhole(seed: number, options: WholeMoveOptions): Promise<WholeMove> {
  const world = simulatedWorld(seed);
  const move = new Move(world, options);
  const { happened, guest } = await world.scheduler.run(move.live());
  const { answers } = move;
  const { idle } = move.infliction;
  const { trace, scheduler } = world;
  trace.note(scheduler.now(), JSON.stringify(happened.during));
  return {
    seed,
    happened,
    guest,
    answers,
    idle,
    lines: trace.lines,
    hash: trace.hash(),
    virtualNs: scheduler.now(),
  };
}

class Move {
  readonly infliction: Infliction;
  readonly #world: SimulatedWorld;
  readonly #network: SimulatedNetwork;
  readonly #source: SimulatedVmm;
  readonly #destination: SimulatedVmm;
  readonly answers = new Map<Fault, string | undefined>();
  readonly #parameters: Readonly<ParameterValues>;
  readonly #runs: RunChange[] = [];
  readonly #defects: string[] = [];
  #handOver: string[] | undefined;

  constructor(world: SimulatedWorld, { booted, memories, plan, parameters }: WholeMoveOptions) {
    this.#world = world;
    const random = world.random.fork('circumstances');
    this.#parameters = { ...defaultParameters, ...randomParameters(random, parameters), ...parameters };
    this.infliction = new Infliction(plan, world, (fault) => this.#strike(fault));
    this.#network = new SimulatedNetwork(world);
    const { rules, tamper } = this.infliction;
    const wire = new SimulatedWire({ world, rules, tamper, fired: () => {} });
    const vmm = (side: 'source' | 'destination'): SimulatedVmm =>
      new SimulatedVmm({
        side,
        world,
        network: this.#network,
        wire,
        booted,
        memories,
        ran: (running) => this.#runs.push({ atNs: world.scheduler.now(), side, running }),
        event: (event, data) => this.infliction.event(side, event, data),
        takesOver: (machine) => this.#compare(machine),
        defect: (error) =>
          this.#defects.push(error instanceof Error ? (error.stack ?? error.message) : String(error)),
      });
    this.#source = vmm('source');
    this.#destination = vmm('destination');
  }

  async live(): Promise<Pick<WholeMove, 'happened' | 'guest'>> {
    const { scheduler, random } = this.#world;
    const [source, destination] = [this.#source, this.#destination];
    await source.controller.boot();
    await source.execute('cont');
    await destination.controller.migrateIncoming(DESTINATION);
    for (const { controller } of [source, destination]) await controller.setParameters(this.#parameters);
    const peer = this.#network.peer;
    peer.startFlow({ kind: 'echo', ip: GUEST_IP, port: PORT_ECHO, rate: RATE, payloadBytes: PAYLOAD_BYTES });
    await scheduler.sleep(microseconds(1000 + random.fork('start').below(4000)));

    const mayTakeNs = mayTake(this.#parameters);
    const from = scheduler.now();
    this.infliction.begin();
    await source.execute('migrate', { uri: 'tcp:127.0.0.1:4444' });
    while (!this.#ended() && scheduler.now() - from <= mayTakeNs) await scheduler.sleep(LOOK);
    const tookNs = scheduler.now() - from;
    this.infliction.end();
    const ends = { source: endOf(source), destination: endOf(destination) };
    const struck = this.infliction.struck;
    const guest = this.#whereabouts();
    await this.#letGoOn();
    await scheduler.sleep(REST);
    peer.stopFlows();
    await scheduler.sleep(REST);
    const during = peer.report()[0];
    // A driver that has to find its device again may do that until then, at either side.
    if (!this.#carriesDevices) await scheduler.sleep(milliseconds(this.#parameters.deviceStartTimeoutMs));
    const later = await this.#askLast();
    // Those of the machines' own ends are none of the guest's.
    const runs = [...this.#runs];
    await Promise.all([source.close(), destination.close()]);
    const happened: Happened = {
      runs,
      ...ends,
      faults: struck.map((fault) => ({ name: nameOfFault(fault), causes: causesOf(fault) })),
      leftStopped: false,
      handOver: this.#handOver,
      during,
      later,
      packetRate: RATE,
      tookNs,
      mayTakeNs,
      defects: this.#defects,
    };
    return { happened, guest };
  }

  #whereabouts(): Whereabouts {
    const state = ({ gone, controller }: SimulatedVmm): string => (gone ? 'gone' : controller.runState);
    const [here, there] = [this.#source, this.#destination].map((vmm) => state(vmm) === 'running');
    if (here && there) return 'both';
    if (here) return 'source';
    if (there) return 'destination';
    return state(this.#source) === 'finish-migrate' ? 'undecided' : 'nobody';
  }

  /** Neither side has a migration under way. */
  #ended(): boolean {
    return [this.#source, this.#destination].every(({ gone, controller }) => gone || !controller.migrating);
  }

  /**
   * What a person does in the end: lets a guest run that was stopped, and takes back one that nobody else can have. While both
   * processes live no person is needed for that, unless one has ended the asking.
   */
  async #letGoOn(): Promise<void> {
    const [source, destination] = [this.#source, this.#destination];
    const undecided = !source.gone && source.controller.standstill === 'undecided';
    const neverCame = !this.#runs.some(({ side, running }) => side === 'destination' && running);
    const cancelled = this.infliction.struck.some(({ kind }) => kind === 'cancel');
    const nobodyHasIt = destination.gone || (cancelled && destination.controller.runState === 'inmigrate');
    if (undecided && neverCame && nobodyHasIt) {
      await source.execute('x-ferry-reclaim');
    }
    for (const vmm of [source, destination]) {
      if (!vmm.gone && vmm.controller.runState === 'paused') await vmm.execute('cont');
    }
  }

  /** Packets for the guest where it is now: those that are sent before its place is known again do not count. */
  async #askLast(): Promise<FlowReport | undefined> {
    if (this.#runs.at(-1)?.running !== true) return undefined;
    const { scheduler } = this.#world;
    const flow = {
      kind: 'echo',
      ip: GUEST_IP,
      port: PORT_ECHO,
      rate: RATE,
      payloadBytes: PAYLOAD_BYTES,
    } as const;
    const number = this.#network.peer.startFlow({ ...flow, count: LAST_PACKETS });
    await scheduler.sleep(milliseconds((LAST_PACKETS * 1000) / RATE));
    await scheduler.sleep(REST);
    return this.#network.peer.report().find(({ flow: one }) => one === number);
  }

  #strike(fault: Fault): void {
    const side = killed(fault);
    if (side === 'source') this.#source.kill();
    else if (side === 'destination') this.#destination.kill();
    else void this.#operate(fault);
  }

  async #operate(fault: Fault): Promise<void> {
    const { kind, amount, call } = fault;
    if (kind === 'cancel') await this.#source.execute('migrate_cancel');
    if (kind === 'stop' || kind === 'cont') await this.#source.execute(kind);
    if (kind === 'migrate-again') await this.#source.execute('migrate', { uri: 'tcp:127.0.0.1:4444' });
    if (kind === 'parameters' && !this.#source.gone) {
      await this.#source.controller.setParameters(randomChange(amount));
    }
    if (call !== undefined) {
      const vmm = call.side === 'source' ? this.#source : this.#destination;
      this.answers.set(fault, await vmm.execute(call.command, call.arguments));
    }
  }

  /** The other device goes on as the one that was left. */
  get #carriesDevices(): boolean {
    const record = this.#source.controller.migrationRecord() as MigrationRecord | undefined;
    return builtIn.stop.find(({ name }) => name === record?.approaches?.stop)?.leaves === 'state';
  }

  /** The guest is about to run at the destination: is it what stands still at the source? */
  async #compare(taken: Machine): Promise<void> {
    this.#handOver ??= [];
    const left = this.#source.machine!;
    const { migratedPages } = left.description;
    const different = differentPages(left.ram, taken.ram, migratedPages);
    if (different.length > 0) {
      const more = different.length > PAGES_NAMED ? ', ...' : '';
      this.#handOver.push(`${different.length} pages: ${different.slice(0, PAGES_NAMED).join(', ')}${more}`);
    }
    // Of a process that is gone only memory can still be looked at.
    if (this.#source.gone) return;
    const stateOf = this.#carriesDevices ? wholeState : (machine: Machine) => machine.save();
    // Nor is it waited for if it is ended right now.
    const was = await Promise.race([stateOf(left), this.#source.killed]);
    if (was !== undefined) this.#handOver.push(...compareStates(was, await stateOf(taken)));
  }
}

/** Every time-out in force one after the other, at both sides, and once more for what was tried again. */
function mayTake(values: Readonly<ParameterValues>): Duration {
  const timeouts = Object.keys(TIMEOUTS).map((name) => values[name as keyof typeof TIMEOUTS]);
  return milliseconds(2 * timeouts.reduce((sum, ms) => sum + ms, 0) + UNDISTURBED_MS);
}

async function wholeState(machine: Machine): Promise<MachineState> {
  const state = await machine.save();
  const records = await Promise.all(machine.devices.map(async ({ vfio }) => (await vfio?.save()) ?? []));
  return { ...state, devices: [...state.devices, ...records.flat()] };
}

function endOf(vmm: SimulatedVmm): SideEnd {
  if (vmm.gone) return { status: undefined, error: undefined, gone: true };
  const record = vmm.controller.migrationRecord() as MigrationRecord | DestinationRecord | undefined;
  return { status: record?.status, error: record?.error, gone: false };
}

function differentPages(left: Uint8Array, taken: Uint8Array, pages: number): readonly number[] {
  const same = (from: number, to: number): boolean =>
    Buffer.compare(left.subarray(from, to), taken.subarray(from, to)) === 0;
  if (same(0, pages * PAGE_BYTES)) return [];
  return Array.from({ length: pages }, (_, page) => page).filter(
    (page) => !same(page * PAGE_BYTES, (page + 1) * PAGE_BYTES),
  );
}
