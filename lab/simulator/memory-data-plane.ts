/**
 * The data plane without threads and sockets: both halves on one thread, in the time of a given scheduler. All of it is what
 * page workers and their owners do over sockets; only the wires are of memory, and who works a channel is no thread.
 *
 *     const network = new MemoryDataNetwork({ scheduler });
 *     const source = network.source(() => sourceRam);
 *     const destination = network.destination(() => destinationRam);
 *
 * It does not check what only threads and sockets can get wrong: memory ordering, claims that race, how reads and
 * writes are cut by an operating system.
 */
import type { Scheduler } from '../../base/clock.js';
import type { SerializedError } from '../../base/errors.js';
import { nanoseconds } from '../../base/units.js';
import type { Crew, Hire } from '../../migration/pages/crew.js';
import { DestinationChannel } from '../../migration/pages/destination-channel.js';
import { DestinationPlane } from '../../migration/pages/destination-plane.js';
import type { PageKernels } from '../../migration/pages/page-kernels.js';
import { SourceChannel } from '../../migration/pages/source-channel.js';
import { SourcePlane } from '../../migration/pages/source-plane.js';
import { transferErrors } from '../../migration/pages/transfer-errors.js';
import type { Listener, Wire, WireUser } from '../../migration/pages/wire.js';
import type { DestinationDataPlane, PageHasher, SourceDataPlane } from '../../migration/ports.js';
import { copyingKernels } from '../../vmm/transfer/kernels.js';
import { type Bandwidth, memoryWires, type Tamper } from './memory-wire.js';
import { visitChannel } from './stranger.js';

/** Guest RAM, asked for when it is needed: a destination has none before it accepted a machine. */
type Ram = () => Uint8Array;

export interface MemoryNetworkOptions {
  /** Of who is given no time of its own. */
  readonly scheduler: Scheduler;
  /** Makes the page kernels of a RAM; `copyingKernels` unless given. */
  readonly kernels?: (ram: Uint8Array) => PageKernels;
  readonly tamper?: Tamper;
  /** What all channels have together; without limit unless given. */
  readonly bandwidth?: Bandwidth;
  /** Bytes that may be under way on each channel. */
  readonly windowBytes?: number;
}

const HELLO_TIMEOUT_MS = 5000;
/** Nobody is there who could guess it. */
export const MEMORY_TOKEN = '0123456789abcdef'.repeat(2);

interface Listening {
  readonly channel: number;
  readonly scheduler: Scheduler;
  readonly knock: (wire: Wire) => void;
}

/** Where sources listen and destinations find them. */
export class MemoryDataNetwork {
  readonly #scheduler: Scheduler;
  readonly #kernels: (ram: Uint8Array) => PageKernels;
  readonly #wire: {
    readonly windowBytes: number;
    readonly tamper: Tamper | undefined;
    readonly bandwidth: Bandwidth | undefined;
  };
  /** By port. */
  readonly #listening = new Map<number, Listening>();
  /** Of each process, by its time: its ends of wires, and who works them. */
  readonly #open = new Map<Scheduler, { readonly channel: number; readonly wire: Wire }[]>();
  readonly #workers = new Map<Scheduler, Set<Losable>>();
  #ports = 0;

  constructor(options: MemoryNetworkOptions) {
    const { scheduler, kernels = copyingKernels, windowBytes = 2 ** 20, tamper, bandwidth } = options;
    this.#scheduler = scheduler;
    this.#kernels = kernels;
    this.#wire = { windowBytes, tamper, bandwidth };
  }

  /** `scheduler`: the time of its process. */
  source(ram: Ram, scheduler = this.#scheduler): SourceDataPlane {
    return new SourcePlane({
      host: 'memory',
      scheduler,
      newToken: () => MEMORY_TOKEN,
      hire: this.#hire('source', scheduler, failed, (task, report) => {
        return new SourceChannel({
          task,
          ram: ram(),
          kernels: this.#kernels(ram()),
          scheduler,
          listener: (knock) => this.#listener({ channel: task.channel, scheduler, knock }),
          helloTimeoutMs: HELLO_TIMEOUT_MS,
          recorder: undefined,
          report,
        });
      }),
    });
  }

  destination(ram: Ram, scheduler = this.#scheduler): DestinationDataPlane {
    return new DestinationPlane(
      this.#hire('destination', scheduler, failed, (task, report) => {
        return new DestinationChannel({
          task,
          ram: ram(),
          kernels: this.#kernels(ram()),
          scheduler,
          connect: (_host, port, user) => this.#connect(port, user, scheduler),
          connectTimeoutMs: HELLO_TIMEOUT_MS,
          report,
        });
      }),
    );
  }

  /** Hashes with the kernels of this network. */
  hasher(ram: Ram): PageHasher {
    return {
      hashAll: async (firstPage, pageCount, seed) => {
        const kernels = this.#kernels(ram());
        const table = new Uint32Array(2 * pageCount);
        for (let i = 0; i < pageCount; i++) kernels.hash(firstPage + i, seed, table, 2 * i);
        return table;
      },
      close: async () => undefined,
    };
  }

  /** The process whose time that is is gone, and its operating system closes what it had open. */
  lose(scheduler: Scheduler): void {
    for (const [port, listening] of this.#listening) {
      if (listening.scheduler === scheduler) this.#listening.delete(port);
    }
    for (const { wire } of this.#open.get(scheduler) ?? []) wire.destroy();
  }

  /** One of the threads that work channels for the process whose time that is dies, and what it had open is closed. False if there is none. */
  loseWorker(scheduler: Scheduler, which: number): boolean {
    const workers = [...(this.#workers.get(scheduler) ?? [])];
    const worker = workers[which % workers.length];
    if (worker === undefined) return false;
    this.#workers.get(scheduler)!.delete(worker);
    for (const [port, listening] of this.#listening) {
      if (listening.scheduler === scheduler && listening.channel === worker.channel)
        this.#listening.delete(port);
    }
    worker.lose();
    for (const { channel, wire } of this.#open.get(scheduler) ?? []) {
      if (channel === worker.channel) wire.destroy();
    }
    return true;
  }

  /** What is said between an owner and who works its channels takes its turn among all that happens. */
  #hire<Task extends { readonly channel: number }, Command, Report>(
    side: 'source' | 'destination',
    scheduler: Scheduler,
    failure: (error: SerializedError) => NoInfer<Report>,
    start: (task: Task, report: (report: Report) => void) => Worker<Command>,
  ): Hire<Task, Command, Report> {
    const soon = (what: () => void): void => void scheduler.after(nanoseconds(0), what);
    return (tasks, heard): Crew<Command> => {
      const losables = this.#workers.get(scheduler) ?? new Set();
      this.#workers.set(scheduler, losables);
      const workers = tasks.map((task) => {
        const { channel } = task;
        const inOrder = queue(soon);
        let isLost = false;
        let end = (): void => {};
        const lost = new Promise<void>((resolve) => {
          end = resolve;
        });
        const worker = start(task, (report) => {
          if (!isLost) inOrder(() => heard(channel, report));
        });
        const lose = (): void => {
          isLost = true;
          const error = transferErrors.error('worker-lost', { side, channel, reason: 'its thread died' });
          inOrder(() => heard(channel, failure(error.toJSON())));
          end();
        };
        const losable = { channel, lose };
        losables.add(losable);
        return {
          take: (command: Command) => {
            if (!isLost) worker.take(command);
          },
          done: Promise.race([worker.done, lost]).then(() => void losables.delete(losable)),
        };
      });
      const orders = workers.map(() => queue(soon));
      const send = (command: Command, channels = workers.length): void => {
        for (let channel = 0; channel < channels; channel++) {
          orders[channel]!(() => workers[channel]!.take(command));
        }
      };
      const close = async (command: Command): Promise<void> => {
        send(command);
        await Promise.all(workers.map(({ done }) => done));
      };
      return { send, close };
    };
  }

  #listener(listening: Listening): Listener {
    const port = ++this.#ports;
    return {
      listen: async () => {
        this.#listening.set(port, listening);
        return port;
      },
      close: () => void this.#listening.delete(port),
    };
  }

  /** Somebody who is no destination comes to a channel at which one is waited for; false if none is. */
  visit(amount: number): boolean {
    const ports = [...this.#listening.keys()];
    const port = ports[amount % ports.length];
    if (port === undefined) return false;
    visitChannel((user) => this.#connect(port, user, this.#scheduler), amount >>> 2);
    return true;
  }

  /** The wire to whoever listens at `port`; one that goes at once if nobody does. */
  #connect(port: number, user: WireUser, scheduler: Scheduler): Wire {
    const there = this.#listening.get(port);
    const { channel, scheduler: theirs } = there ?? { channel: 0, scheduler };
    const times = { source: theirs, destination: scheduler };
    const { source, destination } = memoryWires({ ...this.#wire, channel }, times, user);
    if (there === undefined) destination.destroy();
    else {
      this.#opened(theirs, channel, source);
      this.#opened(scheduler, channel, destination);
      theirs.after(nanoseconds(0), () => {
        if (destination.dead) return;
        there.knock(source);
        scheduler.after(nanoseconds(0), () => user.opened?.());
      });
    }
    return destination;
  }

  #opened(scheduler: Scheduler, channel: number, wire: Wire): void {
    const open = this.#open.get(scheduler);
    if (open === undefined) this.#open.set(scheduler, [{ channel, wire }]);
    else open.push({ channel, wire });
  }
}

/** A thread that may die. */
interface Losable {
  readonly channel: number;
  lose(): void;
}

const failed = (error: SerializedError): { readonly type: 'failed'; readonly error: SerializedError } => ({
  type: 'failed',
  error,
});

interface Worker<Command> {
  readonly done: Promise<void>;
  take(command: Command): void;
}

/** Does one thing after the other, each when its turn has come: what happens at one moment happens in any order else. */
function queue(soon: (what: () => void) => void): (what: () => void) => void {
  const waiting: (() => void)[] = [];
  return (what) => {
    waiting.push(what);
    soon(() => waiting.shift()!());
  };
}
