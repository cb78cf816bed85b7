/**
 * What lies between two simulated VMMs: control links and data channels in memory. The two ends of it are links as the
 * controller has them, which put the same flows together as those over sockets do.
 */
import type { Scheduler } from '../../base/clock.js';
import { type FerryError, invariant } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import { microseconds, milliseconds, nanoseconds } from '../../base/units.js';
import { migrateDestination } from '../../migration/destination.js';
import type { MigrationParameters } from '../../migration/parameters.js';
import type { ControlLink } from '../../migration/ports.js';
import type { MigrationRecord } from '../../migration/record.js';
import { migrateSource } from '../../migration/source.js';
import { brokenLink } from '../../vmm/control-link/broken-link.js';
import { linkErrors } from '../../vmm/control-link/errors.js';
import { type Arrive, IncomingDoor } from '../../vmm/process/incoming-door.js';
import type { IncomingListener, Links, OutgoingOptions, TurnedAway } from '../../vmm/process/ports.js';
import { formatSocketAddress, type SocketAddress } from '../../vmm/sockets/address.js';
import { simdKernels } from '../../vmm/transfer/kernels.js';
import type { Gate } from './gate.js';
import {
  type LinkRule,
  type Side,
  type SimulatedLink,
  type SimulatedLinkEnd,
  simulatedLink,
  visitorBy,
} from './link.js';
import { MemoryDataNetwork } from './memory-data-plane.js';
import type { Tamper } from './memory-wire.js';
import { hexDigits, type SimulatedWorld, sha256 } from './run.js';
import { visit } from './stranger.js';

const LATENCY = microseconds(50);
const JITTER_NS = 20_000;

export interface WireOptions {
  readonly world: SimulatedWorld;
  readonly rules: readonly LinkRule[];
  readonly tamper: Tamper;
  readonly fired: (rule: LinkRule) => void;
}

/** One network between a source and a destination. */
export class SimulatedWire {
  readonly data: MemoryDataNetwork;
  readonly #options: WireOptions;
  readonly #jitter: SeededRandom;
  readonly #ids: SeededRandom;
  readonly #memories = new Map<Uint8Array, WebAssembly.Memory>();
  /** Closes what a side has open, as the end of its process does. */
  readonly #open: Record<Side, Set<() => void>> = { source: new Set(), destination: new Set() };
  #knock: ((end: SimulatedLinkEnd) => void) | undefined;
  /** What the source has said. */
  readonly #overheard: Uint8Array[] = [];
  readonly #overhear: LinkRule = {
    name: 'overhear',
    judge: ({ from, bytes }) => {
      if (from === 'source') this.#overheard.push(bytes);
      return undefined;
    },
  };

  constructor(options: WireOptions) {
    const { world, tamper } = options;
    this.#options = options;
    this.#jitter = world.random.fork('jitter');
    this.#ids = world.random.fork('ids');
    this.data = new MemoryDataNetwork({
      scheduler: world.scheduler,
      tamper,
      kernels: (ram) => simdKernels(this.#memories.get(ram)!),
    });
  }

  /** `ram` lies in `memory`. */
  know(ram: Uint8Array, memory: WebAssembly.Memory): void {
    this.#memories.set(ram, memory);
  }

  /** From here on `knock` gets the far end of each new control link, until somebody else does or the result is called. */
  listen(knock: (end: SimulatedLinkEnd) => void): () => void {
    this.#knock = knock;
    return () => {
      if (this.#knock === knock) this.#knock = undefined;
    };
  }

  /** A new control link. Throws what a refused connection is told by if nobody listens. */
  connect(): SimulatedLink {
    const { rules } = this.#options;
    const link = this.#link([...rules, this.#overhear]);
    for (const side of ['source', 'destination'] as const) this.#open[side].add(() => link.lose(side));
    return link;
  }

  /** Somebody who is no source comes to the door; false if nobody listens. */
  visit(amount: number): boolean {
    return visit({ connect: () => this.#link([]).source, overheard: this.#overheard }, amount);
  }

  #link(rules: readonly LinkRule[]): SimulatedLink {
    const knock = this.#knock;
    if (knock === undefined) throw refused();
    const { world, fired } = this.#options;
    const { scheduler, trace } = world;
    const link = simulatedLink({
      scheduler,
      trace,
      latency: LATENCY,
      jitter: () => nanoseconds(this.#jitter.below(JITTER_NS)),
      rules,
      fired,
    });
    knock(link.destination);
    return link;
  }

  /** The process of `side`, whose time that is, is gone, and its operating system closes what it had open. */
  lose(side: Side, scheduler: Scheduler): void {
    if (side === 'destination') this.#knock = undefined;
    for (const close of this.#open[side]) close();
    this.data.lose(scheduler);
  }

  newId(): string {
    return hexDigits(this.#ids);
  }
}

/** Where a simulated destination waits. */
export const DESTINATION: SocketAddress = { kind: 'tcp', host: '127.0.0.1', port: 4444 };

/** Either side's end of the wire. */
export class SimulatedLinks implements Links {
  readonly #wire: SimulatedWire;
  readonly #gate: Gate;

  constructor(wire: SimulatedWire, gate: Gate) {
    this.#wire = wire;
    this.#gate = gate;
  }

  async migrate(_target: SocketAddress, options: OutgoingOptions): Promise<MigrationRecord> {
    const { memory, recordingCut: _, ...known } = options;
    const ram = (): Uint8Array => known.machine.ram;
    this.#wire.know(ram(), memory);
    const data = this.#wire.data.source(ram, this.#gate);
    const connect = async (): Promise<ControlLink> => this.#gate.link(this.#wire.connect().source);
    return this.#gate.through(
      migrateSource({
        ...known,
        control: await connect().catch(brokenLink),
        redial: connect,
        data,
        scheduler: this.#gate,
        digest: sha256,
        hasher: this.#wire.data.hasher(ram),
        migrationId: this.#wire.newId(),
      }),
    );
  }

  async listen(
    address: SocketAddress,
    _parameters: MigrationParameters,
    turnedAway: TurnedAway,
  ): Promise<IncomingListener> {
    const door = new IncomingDoor({
      turnedAway,
      later: (ms, callback) => this.#gate.after(milliseconds(ms), callback),
      end: () => stopListening(),
    });
    const stopListening = this.#wire.listen((end) => door.knock(visitorBy(end, this.#gate.link(end))));
    return {
      address,
      next: (options) => this.#gate.through(door.next(options, this.#arrive)),
      close: () => door.close(),
    };
  }

  readonly #arrive: Arrive = (control, { memory, ...known }) => {
    const ram = (): Uint8Array => {
      const { machine } = known;
      invariant(machine.ram.length > 0, 'RAM is asked for when a guest was accepted');
      this.#wire.know(machine.ram, memory());
      return machine.ram;
    };
    const data = this.#wire.data.destination(ram, this.#gate);
    return this.#gate.through(
      migrateDestination({
        ...known,
        control,
        data,
        scheduler: this.#gate,
        digest: sha256,
        hasher: this.#wire.data.hasher(ram),
      }),
    );
  };
}

const refused = (): FerryError =>
  linkErrors.error('connect-failed', {
    address: formatSocketAddress(DESTINATION),
    reason: 'nobody listens there',
  });
