/**
 * The two worlds in which a machine runs: threads in real time, and one thread in virtual time. A test's body runs in
 * both and can't tell which. The machines are the built ones, because threads start from built files.
 */
import { InvariantError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { milliseconds } from '../../base/units.js';
import { createDeterministicMachine } from '../../dist/vmm/deterministic/create.js';
import { createMachine } from '../../dist/vmm/machine/create.js';
import type { Machine } from '../../dist/vmm/machine/machine.js';
import type { MachineOptions } from '../../dist/vmm/machine/options.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import { imageOf } from './machine-guests.js';
import { reportOf, Watch } from './machine-watch.js';

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
    } catch (error) {
      if (error instanceof InvariantError)
        error.message += `\n${machines.map((machine, i) => reportOf(machine, i)).join('\n')}`;
      throw error;
    } finally {
      await Promise.all(machines.map((machine) => machine.destroy()));
    }
  },
};

export const WORLDS: readonly WorldKind[] = [threads, deterministic];

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
