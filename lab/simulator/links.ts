/**
 * What lies between two simulated VMMs: control links and data channels in memory. The two ends of it are links as the
 * controller has them, which put the same flows together as those over sockets do.
 */
import { invariant } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import { microseconds, nanoseconds } from '../../base/units.js';
import { migrateDestination } from '../../migration/destination.js';
import { migrationErrors } from '../../migration/errors.js';
import type { ControlLink } from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { migrateSource } from '../../migration/source.js';
import type { IncomingListener, IncomingOptions, Links, OutgoingOptions } from '../../vmm/process/ports.js';
import type { SocketAddress } from '../../vmm/sockets/address.js';
import { simdKernels } from '../../vmm/transfer/kernels.js';
import type { Gate } from './gate.js';
import { type LinkRule, type Side, type SimulatedLink, simulatedLink } from './link.js';
import { MemoryDataNetwork } from './memory-data-plane.js';
import type { Tamper } from './memory-wire.js';
import { answerInquiries, hexDigits, type SimulatedWorld, sha256 } from './run.js';

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
  #waiting: ((link: ControlLink | undefined) => void) | undefined;
  #asked: ((link: ControlLink) => void) | undefined;

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

  /** A new control link to whoever waits; undefined if nobody does. */
  connect(): SimulatedLink | undefined {
    const accept = this.#waiting;
    if (accept === undefined) return undefined;
    this.#waiting = undefined;
    return this.#link(accept);
  }

  /** A new control link to a destination that answers what came of migrations; undefined if it is gone. */
  inquire(): SimulatedLink | undefined {
    return this.#asked && this.#link(this.#asked);
  }

  /** From here on `asked` gets each link on which somebody asks. */
  answers(asked: (link: ControlLink) => void): void {
    this.#asked = asked;
  }

  #link(accept: (link: ControlLink) => void): SimulatedLink {
    const { world, rules, fired } = this.#options;
    const { scheduler, trace } = world;
    const link = simulatedLink({
      scheduler,
      trace,
      latency: LATENCY,
      jitter: () => nanoseconds(this.#jitter.below(JITTER_NS)),
      rules,
      fired,
    });
    for (const side of ['source', 'destination'] as const) this.#open[side].add(() => link.lose(side));
    accept(link.destination);
    return link;
  }

  /** Resolves with the next control link, or with undefined if `waitNoMore` comes first. */
  wait(): Promise<ControlLink | undefined> {
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  waitNoMore(): void {
    this.#waiting?.(undefined);
    this.#waiting = undefined;
  }

  opened(side: Side, plane: { close(): Promise<void> }): void {
    this.#open[side].add(() => void plane.close());
  }

  /** The process of `side` is gone, and its operating system closes what it had open. */
  lose(side: Side): void {
    if (side === 'destination') this.#waiting = this.#asked = undefined;
    for (const close of this.#open[side]) close();
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

  migrate(_target: SocketAddress, options: OutgoingOptions): Promise<MigrationRecord> {
    const { memory, recordingCut: _, ...known } = options;
    const ram = (): Uint8Array => known.machine.ram;
    this.#wire.know(ram(), memory);
    const data = this.#wire.data.source(ram);
    this.#wire.opened('source', data);
    const link = this.#wire.connect();
    return this.#gate.through(
      migrateSource({
        ...known,
        control: link === undefined ? REFUSED : this.#gate.link(link.source),
        redial: async () => {
          const another = this.#wire.inquire();
          if (another === undefined) throw connectionRefused();
          return this.#gate.link(another.source);
        },
        data,
        scheduler: this.#gate,
        digest: sha256,
        hasher: this.#wire.data.hasher(ram),
        migrationId: this.#wire.newId(),
      }),
    );
  }

  async listen(address: SocketAddress): Promise<IncomingListener> {
    const records: (() => DestinationRecord)[] = [];
    const recordOf = (id: string): DestinationRecord | undefined =>
      records.map((record) => record()).find(({ migrationId }) => migrationId === id);
    this.#wire.answers((link) => void answerInquiries(this.#gate.link(link), recordOf));
    return {
      address,
      next: (options) => this.#next(options, records),
      close: () => this.#wire.waitNoMore(),
    };
  }

  async #next(
    { memory, introduced, ...known }: IncomingOptions,
    records: (() => DestinationRecord)[],
  ): Promise<DestinationRecord | undefined> {
    const link = await this.#gate.through(this.#wire.wait());
    if (link === undefined) return undefined;
    introduced('simulated');
    const ram = (): Uint8Array => {
      const { machine } = known;
      invariant(machine.ram.length > 0, 'RAM is asked for when a guest was accepted');
      this.#wire.know(machine.ram, memory());
      return machine.ram;
    };
    const data = this.#wire.data.destination(ram);
    this.#wire.opened('destination', data);
    return this.#gate.through(
      migrateDestination({
        ...known,
        control: this.#gate.link(link),
        observer: {
          ...known.observer,
          started: (snapshot) => {
            records.push(snapshot);
            known.observer?.started?.(snapshot);
          },
        },
        data,
        scheduler: this.#gate,
        digest: sha256,
        hasher: this.#wire.data.hasher(ram),
      }),
    );
  }
}

const connectionRefused = (): Error =>
  migrationErrors.error('link-broken', { peer: 'the destination', reason: 'connection refused' });

const refused = (): Promise<never> => Promise.reject(connectionRefused());
const REFUSED: ControlLink = { send: refused, receive: refused, close: () => {} };
