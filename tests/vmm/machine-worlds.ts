/**
 * The two worlds in which a machine runs: threads in real time, and one thread in virtual time. A test's body runs in
 * both and can't tell which. The machines are the built ones, because threads start from built files.
 */
import { seededRandom } from '../../base/random.js';
import { milliseconds } from '../../base/units.js';
import { createDeterministicMachine } from '../../dist/vmm/deterministic/create.js';
import { createMachine } from '../../dist/vmm/machine/create.js';
import type { MachineEvent } from '../../dist/vmm/machine/events.js';
import type { Machine } from '../../dist/vmm/machine/machine.js';
import type { MachineOptions } from '../../dist/vmm/machine/options.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import { imageOf } from './machine-guests.js';

export const RAM_BYTES = 64 * 1024 * 1024;

export interface World {
  create(options?: Partial<MachineOptions>): Machine;
  /** Lets time pass. */
  elapse(ms: number): Promise<void>;
  /** The time that passes, in ms. */
  now(): number;
}

export interface WorldKind {
  readonly name: 'threads' | 'deterministic';
  /** Runs `body` and then ends every machine it made. */
  run<T>(body: (world: World) => Promise<T>, seed?: number): Promise<T>;
}

const defaults = { ramBytes: RAM_BYTES, vcpus: 1 };

const threads: WorldKind = {
  name: 'threads',
  async run(body) {
    const machines: Machine[] = [];
    try {
      return await body({
        create(options) {
          const machine = createMachine({ ...defaults, ...options });
          machines.push(machine);
          return machine;
        },
        elapse: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
        now: () => performance.now(),
      });
    } finally {
      await Promise.all(machines.map((machine) => machine.destroy()));
    }
  },
};

const deterministic: WorldKind = {
  name: 'deterministic',
  async run(body, seed = 1) {
    const random = seededRandom(seed);
    const time = new VirtualTime(random.fork('time'), new Trace());
    const machines: Machine[] = [];
    const world: World = {
      create(options) {
        const machine = createDeterministicMachine(
          { ...defaults, ...options },
          { scheduler: time, random: random.fork(`machine${machines.length}`) },
        );
        machines.push(machine);
        return machine;
      },
      elapse: (ms) => time.sleep(milliseconds(ms)),
      now: () => time.now() / 1e6,
    };
    try {
      return await time.run(body(world));
    } finally {
      await Promise.all(machines.map((machine) => machine.destroy()));
    }
  },
};

export const WORLDS: readonly WorldKind[] = [threads, deterministic];

/** Listens to a guest wherever it runs: keeps its lines, and lets a test wait for what it will do. */
export class Watch {
  readonly lines: string[] = [];
  readonly events: MachineEvent[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(machine: Machine) {
    this.follow(machine);
  }

  /** Listens to `machine` as well: the guest went there. */
  follow(machine: Machine): void {
    machine.on((event) => {
      this.events.push(event);
      if (event.kind === 'console') this.lines.push(event.line.text);
      for (const look of [...this.#waiting]) look();
    });
  }

  /** Resolves with the first line, of those so far or to come, that matches. */
  line(pattern: RegExp, from = 0): Promise<string> {
    return this.#until(() => this.lines.slice(from).find((line) => pattern.test(line)));
  }

  /** Resolves when there are `count` lines. */
  async count(count: number): Promise<void> {
    await this.#until(() => (this.lines.length >= count ? true : undefined));
  }

  event<K extends MachineEvent['kind']>(kind: K): Promise<Extract<MachineEvent, { kind: K }>> {
    return this.#until(
      () =>
        this.events.find((event) => event.kind === kind) as Extract<MachineEvent, { kind: K }> | undefined,
    );
  }

  #until<T>(look: () => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      const attempt = (): void => {
        const found = look();
        if (found === undefined) return;
        this.#waiting.delete(attempt);
        resolve(found);
      };
      this.#waiting.add(attempt);
      attempt();
    });
  }
}

/** A machine that runs one of the test guests with `argument` as its command line. */
export async function booted(
  world: World,
  guest: Parameters<typeof imageOf>[0],
  argument = 0,
  options: Partial<MachineOptions> = {},
): Promise<{ machine: Machine; watch: Watch }> {
  const image = await imageOf(guest);
  const machine = world.create(options);
  const watch = new Watch(machine);
  await machine.boot(image, String(argument));
  return { machine, watch };
}

/** Moves a paused machine's guest to a new one by hand, as a migration would; the new one is loaded, not yet running. */
export async function moved(
  world: World,
  source: Machine,
  options: Partial<MachineOptions> = {},
): Promise<Machine> {
  const { description } = source;
  const target = world.create({ vcpus: description.vcpus, ...options });
  await target.incoming.accept(description);
  const migrated = description.migratedPages * 4096;
  target.ram.set(source.ram.subarray(0, migrated));
  await target.incoming.prepareCode();
  await target.incoming.load(await source.save());
  return target;
}
