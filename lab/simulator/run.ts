/**
 * One migration in the deterministic simulator: the same flows as between two processes, on one thread, in virtual
 * time, with everything that is not decided by them drawn from one seed.
 *
 * It does not check what only real threads and sockets can get wrong: memory ordering, partial reads and writes,
 * backpressure of an operating system, the cost of anything.
 */
import { createHash } from 'node:crypto';
import type { AbortSignalLike, Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import type { FaultPlan } from '../../base/fault.js';
import { type SeededRandom, seededRandom } from '../../base/random.js';
import { type Duration, microseconds, milliseconds, nanoseconds } from '../../base/units.js';
import { migrateDestination } from '../../migration/destination.js';
import type { Digest } from '../../migration/integrity.js';
import { MigrationParameters } from '../../migration/parameters.js';
import type {
  ControlLink,
  DestinationDataPlane,
  DestinationMachine,
  PageHasher,
  SourceDataPlane,
  SourceMachine,
} from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { migrateSource } from '../../migration/source.js';
import type { SourceObserver } from '../../migration/source-context.js';
import { Doorstep } from '../../vmm/process/doorstep.js';
import { type LinkRule, type SimulatedLink, simulatedLink, visitorBy } from './link.js';
import { Trace } from './trace.js';
import { VirtualTime } from './virtual-time.js';

/** What a simulation runs in; handed to whoever builds the two machines. */
export interface SimulatedWorld {
  readonly scheduler: VirtualTime;
  readonly trace: Trace;
  /** Of this world; fork it by name for each use. */
  readonly random: SeededRandom;
}

export interface SimulatedSide<Machine, Data> {
  readonly machine: Machine;
  readonly data: Data;
  readonly hasher: PageHasher;
  readonly parameters?: MigrationParameters;
  readonly signal?: AbortSignalLike;
}

export interface SimulatedSetup {
  readonly source: SimulatedSide<SourceMachine, SourceDataPlane> & {
    readonly registerNames?: readonly string[];
  };
  readonly destination: SimulatedSide<DestinationMachine, DestinationDataPlane>;
  /** One way; 50 microseconds unless given. */
  readonly latency?: Duration;
  readonly rules?: readonly LinkRule[];
  /** Over new links, on which no rules are, the source reaches the destination whatever became of the migration's own. */
  readonly reachable?: boolean;
  readonly faults?: FaultPlan;
  readonly observer?: SourceObserver;
  /** Runs when both flows have ended: time for the survivor to go on, and for whatever is still under way. */
  readonly afterwards?: (records: SimulatedRecords) => Promise<void>;
}

export interface SimulatedRecords {
  readonly source: MigrationRecord;
  readonly destination: DestinationRecord;
}

export interface SimulationResult extends SimulatedRecords {
  readonly trace: Trace;
  /** Over everything that happened and when. */
  readonly hash: string;
}

/** SHA-256, for the integrity root: independent of the kernels. */
export const sha256: Digest = {
  part(bytes, parts, at) {
    const hash = createHash('sha256').update(bytes).digest();
    parts[at] = hash.readUInt32LE(0);
    parts[at + 1] = hash.readUInt32LE(4);
  },
  root: (parts, tableBytes) => createHash('sha256').update(String(tableBytes)).update(parts).digest(),
};

/**
 * Runs one migration between the machines that `build` makes. Same seed and same `build`: same result, same hash.
 * Throws an InvariantError if a rule never fired, since a run without its fault proves nothing, or if nothing can run
 * any more while a flow still waits.
 */
export async function runSimulatedMigration(
  seed: number,
  build: (world: SimulatedWorld) => SimulatedSetup | Promise<SimulatedSetup>,
): Promise<SimulationResult> {
  const world = simulatedWorld(seed);
  const { scheduler, trace } = world;
  const setup = await scheduler.run(Promise.resolve(build(world)));
  const { source, destination } = await scheduler.run(simulateMigration(world, setup));
  if (setup.afterwards !== undefined) await scheduler.run(setup.afterwards({ source, destination }));
  const unfired = setup.faults?.unfired() ?? [];
  invariant(unfired.length === 0, `faults that never fired: ${unfired.map((rule) => rule.site).join(', ')}`);
  trace.note(scheduler.now(), JSON.stringify([source, destination]));
  return { source, destination, trace, hash: trace.hash() };
}

export function simulatedWorld(seed: number): SimulatedWorld {
  const random = seededRandom(seed);
  const trace = new Trace();
  return { random, trace, scheduler: new VirtualTime(random.fork('ties'), trace) };
}

/** One migration among whatever else happens in `world`, whose events the caller runs. */
export async function simulateMigration(
  { scheduler, trace, random }: Omit<SimulatedWorld, 'scheduler'> & { readonly scheduler: Scheduler },
  setup: SimulatedSetup,
): Promise<SimulatedRecords> {
  const rules = setup.rules ?? [];
  const fired = new Set<LinkRule>();
  const jitter = random.fork('jitter');
  const connect = (onLink: readonly LinkRule[]): SimulatedLink =>
    simulatedLink({
      scheduler,
      trace,
      latency: setup.latency ?? microseconds(50),
      jitter: () => nanoseconds(jitter.below(20_000)),
      rules: onLink,
      fired: (rule) => fired.add(rule),
    });
  const link = connect(rules);
  let arrival: (() => DestinationRecord) | undefined;
  const doorstep = new Doorstep({
    turnedAway: () => {},
    recordOf: (id) => {
      const record = arrival?.();
      return record?.migrationId === id ? record : undefined;
    },
    later: (ms, callback) => scheduler.after(milliseconds(ms), callback),
  });
  const redial = async (): Promise<ControlLink> => {
    const { source, destination } = connect([]);
    doorstep.knock(visitorBy(destination));
    return source;
  };
  const note = (who: string) => (from: string, to: string, event: string) =>
    trace.note(scheduler.now(), `${who}: ${from} -> ${to} (${event})`);
  const noteSource = note('source');
  const common = { scheduler, digest: sha256 };

  const [source, destination] = await Promise.all([
    migrateSource({
      ...common,
      ...setup.source,
      control: link.source,
      ...(setup.reachable === true ? { redial } : {}),
      parameters: setup.source.parameters ?? new MigrationParameters(),
      migrationId: hexDigits(random.fork('id')),
      ...(setup.faults === undefined ? {} : { faults: setup.faults }),
      observer: {
        ...setup.observer,
        stateChanged: (from, to, event) => {
          noteSource(from, to, event);
          setup.observer?.stateChanged?.(from, to, event);
        },
      },
    }),
    migrateDestination({
      ...common,
      ...setup.destination,
      control: link.destination,
      parameters: setup.destination.parameters ?? new MigrationParameters(),
      observer: {
        started: (snapshot) => {
          arrival = snapshot;
        },
        stateChanged: note('destination'),
      },
    }),
  ]);
  const idle = rules.filter((rule) => !fired.has(rule));
  invariant(idle.length === 0, `rules that never fired: ${idle.map((rule) => rule.name).join(', ')}`);
  return { source, destination };
}

/** 32 of them: what migrations are told apart by. */
export function hexDigits(random: SeededRandom): string {
  let digits = '';
  while (digits.length < 32) digits += random.u32().toString(16).padStart(8, '0');
  return digits;
}
