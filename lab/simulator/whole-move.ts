/**
 * One migration of a whole guest under faults: two VMMs with a NIC behind VT-d each, a network with traffic, an operator at the
 * monitor; in virtual time, and all of it drawn from one seed.
 */
import { seededRandom } from '../../base/random.js';
import { type Duration, microseconds, milliseconds } from '../../base/units.js';
import type { FlowReport } from '../../devices/ethernet/flow.js';
import { PORT_ECHO } from '../../devices/ethernet/peer.js';
import { defaultParameters, type ParameterValues } from '../../migration/parameters.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { builtIn } from '../../migration/registry.js';
import { failover } from '../../migration/stop/failover.js';
import type { Machine } from '../../vmm/machine/machine.js';
import type { Happened, RunChange, SecondMove, SideEnd, Whereabouts } from '../checkers/happened.js';
import type { BootedGuest } from './booted-guest.js';
import { causesOf, type Fault, type FaultKind, type MonitorCall, nameOfFault } from './fault.js';
import { compareHandOver } from './hand-over.js';
import { Infliction } from './inflict.js';
import { DESTINATION, SimulatedWire } from './links.js';
import { GUEST_IP, SimulatedNetwork } from './network.js';
import { MIGRATE, stepsOf } from './operator.js';
import { randomChange, randomParameters, randomPlan, TIMEOUTS } from './random-plan.js';
import { type SimulatedWorld, simulatedWorld } from './run.js';
import type { Shape } from './shape.js';
import { rateOf, type Stricken, strike } from './strike.js';
import { type MemoryPool, SimulatedVmm } from './vmm.js';
import { missesRemoval, randomShape } from './ways.js';

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
const FLOW = { kind: 'echo', port: PORT_ECHO, rate: RATE, payloadBytes: 64 } as const;
/** Whoever closed nothing in good order is cleared away in a second; another source waits at the door meanwhile. */
const PATIENT = { peerTimeoutMs: 1500, answerTimeoutMs: 1500 } as const;
/** The guest's driver looks at its link every two seconds, whatever it hears of it. */
const LINK_SEEN_MS = 2500;
/** Of the guests that have moved so many come back. */
const AGAIN_SHARE = 0.15;
/** Looked at so often whether it has ended. */
const LOOK = microseconds(500);
/** In which a migration ends in which nobody waits in vain. */
const UNDISTURBED_MS = 1000;
/** What was sent last has come back, and lost neighbours and links are told of. */
const REST = milliseconds(4);
const LAST_PACKETS = 8;
const CHANNELS = 2;

/** The faults that `seed` stands for. */
export const planOf = (seed: number): readonly Fault[] =>
  randomPlan(seededRandom(seed).fork('plan'), CHANNELS);

/** The machine that `seed` stands for, of those that can do what `given` says. */
export const shapeOf = (seed: number, given: Partial<ParameterValues>): Shape =>
  randomShape(seededRandom(seed).fork('machine'), given);

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
  readonly #stricken: Stricken;
  readonly answers = new Map<Fault, string | undefined>();
  readonly #parameters: Readonly<ParameterValues>;
  readonly #plan: readonly Fault[];
  readonly #runs: RunChange[] = [];
  readonly #defects: string[] = [];
  readonly #again: boolean;
  readonly #shape: Shape;
  readonly #functions: number;
  /** With one of the guest's functions. */
  readonly #flow: typeof FLOW & { readonly ip: number };
  #handOver: string[] | undefined;
  /** What operators have begun and not ended. */
  #acts: Promise<unknown> = Promise.resolve();

  constructor(world: SimulatedWorld, { booted, memories, plan, parameters }: WholeMoveOptions) {
    this.#world = world;
    this.#plan = plan;
    const random = world.random.fork('circumstances');
    this.#parameters = {
      ...defaultParameters,
      ...randomParameters(random, parameters, booted.shape),
      ...parameters,
    };
    this.#shape = booted.shape;
    this.#functions = booted.shape.nic.macs.length;
    this.#flow = { ...FLOW, ip: GUEST_IP + random.fork('function').below(this.#functions) };
    this.#again = world.random.fork('again').chance(AGAIN_SHARE);
    this.infliction = new Infliction(plan, world, (fault) => strike(fault, this.#stricken));
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
        takesOver: (machine) => this.#compare(side, machine),
        defect: (error) =>
          this.#defects.push(error instanceof Error ? (error.stack ?? error.message) : String(error)),
      });
    this.#source = vmm('source');
    this.#destination = vmm('destination');
    this.#stricken = {
      source: this.#source,
      destination: this.#destination,
      wire,
      act: (act) => this.#act(act),
      operate: (fault) => this.#operate(fault),
    };
  }

  async live(): Promise<Pick<WholeMove, 'happened' | 'guest'>> {
    const { scheduler, random } = this.#world;
    const [source, destination] = [this.#source, this.#destination];
    await source.controller.boot();
    await source.execute('cont');
    await destination.controller.migrateIncoming(DESTINATION);
    for (const { controller } of [source, destination]) await controller.setParameters(this.#parameters);
    const peer = this.#network.peer;
    peer.startFlow(this.#flow);
    await scheduler.sleep(microseconds(1000 + random.fork('start').below(4000)));

    const mayTakeNs = mayTake(this.#parameters) * slowestOf(this.#plan) + stillOf(this.#plan);
    this.infliction.begin();
    const from = scheduler.now();
    await this.#execute(MIGRATE);
    await this.#untilEnded(mayTakeNs);
    const tookNs = scheduler.now() - from;
    this.infliction.end();
    await this.#acts;
    for (const vmm of [source, destination]) vmm.drift(1);
    destination.restoreNic();
    const ends = { source: endOf(source), destination: endOf(destination) };
    const struck = this.infliction.struck;
    const guest = this.#whereabouts();
    const { devices = [] } = (source.controller.migrationRecord() ?? {}) as Partial<MigrationRecord>;
    const isMovedWithout = devices.some(({ problem }) => problem !== undefined);
    await this.#letGoOn();
    await scheduler.sleep(REST);
    peer.stopFlows();
    await scheduler.sleep(REST);
    const during = peer.report()[0];
    await this.#driverFindsDevice(struck);
    const second = this.#letsDeviceGo(struck) ? undefined : await this.#moveAgain();
    if (second !== undefined) await this.#driverFindsDevice([]);
    const later = await this.#askLast();
    // Those of the machines' own ends are none of the guest's.
    const runs = [...this.#runs];
    const claims = [source, destination].filter((vmm) => vmm.runs).map(({ side }) => side);
    await Promise.all([source.close(), destination.close()]);
    const happened: Happened = {
      runs,
      ...ends,
      faults: struck.map((fault) => ({ name: nameOfFault(fault), causes: causesOf(fault) })),
      claims,
      leftStopped: false,
      handOver: this.#handOver,
      during,
      second,
      later,
      guestEnded: [source, destination].some((vmm) => vmm.guestEnded),
      deviceGivenUp:
        this.#letsDeviceGo(struck) ||
        // The guest was at something else with its device just then, and the migration tells what it does without.
        (isMovedWithout && struck.some(({ kind }) => kind.startsWith('guest-'))) ||
        (struck.some(({ kind }) => takesNetwork(kind)) && this.#isDeviceGivenUp),
      outages: struck.filter(({ kind }) => takesNetwork(kind)).length,
      pathChanges: this.#pathChanges,
      packetRate: RATE,
      tookNs,
      mayTakeNs,
      defects: this.#defects,
    };
    return { happened, guest };
  }

  /** A driver that has to find its device again may do that until then, at either side; one that lost its link, to see it again. */
  async #driverFindsDevice(struck: readonly Fault[]): Promise<void> {
    const any = (kind: FaultKind): boolean => struck.some((fault) => fault.kind === kind);
    const findsMs = this.#parameters.deviceStartTimeoutMs;
    const flapped =
      any('link-flap') || any('link-flap-destination') || any('guest-toggles') || any('guest-unloads');
    const waitMs = flapped ? LINK_SEEN_MS : this.#carriesDevices && !any('inject-error') ? 0 : findsMs;
    await this.#world.scheduler.sleep(milliseconds(waitMs));
  }

  /**
   * All faults are over. A guest that is still here is moved at last, and some of those that are there come back; undefined if that
   * can't be, or is not tried.
   */
  async #moveAgain(): Promise<SecondMove | undefined> {
    const { scheduler } = this.#world;
    const [here, there] = [this.#source, this.#destination];
    if (here.gone || there.gone) return undefined;
    const isBack = here.controller.runState === 'running' && there.controller.runState === 'inmigrate';
    const isThere = there.controller.runState === 'running' && here.controller.runState === 'postmigrate';
    if (!isBack && !(isThere && this.#again)) return undefined;
    const [from, to] = isBack ? [here, there] : [there, here];
    if (isThere) await to.controller.migrateIncoming(DESTINATION);
    for (const { controller } of [from, to]) await controller.setParameters(PATIENT);
    const mayTakeNs = mayTake({ ...this.#parameters, ...PATIENT });
    const peer = this.#network.peer;
    const flow = peer.startFlow(this.#flow);
    await scheduler.sleep(REST);
    const began = scheduler.now();
    await from.execute(MIGRATE.command, MIGRATE.arguments);
    await this.#untilEnded(mayTakeNs);
    const tookNs = scheduler.now() - began;
    await this.#cont();
    await scheduler.sleep(REST);
    peer.stopFlows();
    await scheduler.sleep(REST);
    const during = peer.report().find((one) => one.flow === flow);
    return { source: endOf(from), destination: endOf(to), during, beganNs: began, tookNs, mayTakeNs };
  }

  async #untilEnded(mayTakeNs: number): Promise<void> {
    const { scheduler } = this.#world;
    const from = scheduler.now();
    while (!this.#ended() && scheduler.now() - from <= mayTakeNs) await scheduler.sleep(LOOK);
  }

  #whereabouts(): Whereabouts {
    const [here, there] = [this.#source.runs, this.#destination.runs];
    if (here && there) return 'both';
    if (here) return 'source';
    if (there) return 'destination';
    const { gone, controller } = this.#source;
    return !gone && controller.runState === 'finish-migrate' ? 'undecided' : 'nobody';
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
    await this.#cont();
  }

  /** A guest that somebody has stopped, or that came to where somebody wanted it to stand still, goes on. */
  async #cont(): Promise<void> {
    for (const vmm of [this.#source, this.#destination]) {
      if (!vmm.gone && vmm.controller.runState === 'paused') await vmm.execute('cont');
    }
  }

  /** Packets for all functions of the guest where it is now; the first flow of which not all came back, or the last. */
  async #askLast(): Promise<FlowReport | undefined> {
    if (this.#runs.at(-1)?.running !== true) return undefined;
    let last: FlowReport | undefined;
    for (let i = 0; i < this.#functions; i++) {
      last = await this.#ask(GUEST_IP + i);
      if (last?.arrived?.received !== last?.sent) break;
    }
    return last;
  }

  /** Those that are sent before its place is known again do not count. */
  async #ask(ip: number): Promise<FlowReport | undefined> {
    const { scheduler } = this.#world;
    const number = this.#network.peer.startFlow({ ...FLOW, ip, count: LAST_PACKETS });
    await scheduler.sleep(milliseconds((LAST_PACKETS * 1000) / RATE));
    await scheduler.sleep(REST);
    return this.#network.peer.report().find(({ flow: one }) => one === number);
  }

  #act(act: Promise<void>): void {
    this.#acts = Promise.all([this.#acts, act]);
  }

  async #operate(fault: Fault): Promise<void> {
    const { kind, amount, call } = fault;
    if (kind === 'parameters' && !this.#source.gone) {
      await this.#source.controller.setParameters(randomChange(amount));
    }
    for (const step of stepsOf(fault)) {
      const answer = await this.#execute(step);
      if (call !== undefined) this.answers.set(fault, answer);
    }
  }

  #execute({ side, command, arguments: args }: MonitorCall): Promise<string | undefined> {
    return (side === 'source' ? this.#source : this.#destination).execute(command, args);
  }

  /** The other device goes on as the one that was left. */
  get #carriesDevices(): boolean {
    const record = this.#source.controller.migrationRecord() as MigrationRecord | undefined;
    return builtIn.stop.find(({ name }) => name === record?.approaches?.stop)?.leaves === 'state';
  }

  /** A guest with a standby changes over to it, and back, and at each time loses what is under way on the other. */
  get #pathChanges(): number {
    const record = this.#source.controller.migrationRecord() as MigrationRecord | undefined;
    return record?.approaches?.stop === failover.name ? 2 : 0;
  }

  /** A slot without a button, whose light blinks for seconds, is off at once when an operator asks for that. */
  #letsDeviceGo(struck: readonly Fault[]): boolean {
    return this.#shape.absent.includes('button') && struck.some(({ kind }) => kind === 'unplug');
  }

  /** By the driver's own words, and as the start of the device is known to let it. */
  get #isDeviceGivenUp(): boolean {
    const said = [this.#source, this.#destination].some((vmm) =>
      vmm.console.some((line) => line.includes('Adapter removed')),
    );
    return said && missesRemoval(this.#parameters);
  }

  /** The guest is about to run at `side`: is it what stands still at the other? */
  async #compare(side: 'source' | 'destination', taken: Machine): Promise<void> {
    this.#handOver ??= [];
    const { machine, gone, killed } = side === 'destination' ? this.#source : this.#destination;
    const left = { machine: machine!, gone, killed };
    this.#handOver.push(...(await compareHandOver(left, taken, this.#carriesDevices)));
  }
}

/** Whether it takes the guest off its network for a while, beside what the migration does. */
const takesNetwork = (kind: FaultKind): boolean =>
  ['link-flap', 'link-flap-destination', 'inject-error', 'guest-toggles', 'guest-unloads'].includes(kind);

/** By how much longer everything takes at a side whose clock is slow. */
const slowestOf = (plan: readonly Fault[]): number =>
  Math.max(1, ...plan.filter(({ kind }) => kind.startsWith('drift-')).map((fault) => 1 / rateOf(fault)));

/** For how long processes stand still, one after the other. */
const stillOf = (plan: readonly Fault[]): Duration =>
  microseconds(
    plan.filter(({ kind }) => kind.startsWith('suspend-')).reduce((sum, { amount }) => sum + amount, 0),
  );

/** Every time-out in force one after the other, at both sides, and once more for what was tried again. */
function mayTake(values: Readonly<ParameterValues>): Duration {
  const timeouts = Object.keys(TIMEOUTS).map((name) => values[name as keyof typeof TIMEOUTS]);
  return milliseconds(2 * timeouts.reduce((sum, ms) => sum + ms, 0) + UNDISTURBED_MS);
}

function endOf(vmm: SimulatedVmm): SideEnd {
  if (vmm.gone) return { status: undefined, error: undefined, gone: true };
  const record = vmm.controller.migrationRecord() as MigrationRecord | DestinationRecord | undefined;
  return { status: record?.status, error: record?.error, gone: false };
}
