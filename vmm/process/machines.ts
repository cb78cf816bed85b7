/** Machines of threads for the controller: one from an image, or one of the size that a guest that comes asks for. */
import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import type { MachineDescription } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import { createMachine } from '../machine/create.js';
import type { Machine } from '../machine/machine.js';
import { reasonOf } from '../sockets/listening.js';
import { holdOptimiser } from './engine.js';
import { awaitingMachine, forward, guestMachine } from './guest-machine.js';
import type { VmmSettings } from './options.js';
import type { AwaitingMachine, GuestEvents, GuestMachine, Machines } from './ports.js';
import { reclaimMemory } from './reclaim-memory.js';

type Sizes = Pick<VmmSettings, 'guest' | 'memoryBytes' | 'vcpus' | 'append' | 'seed' | 'nic' | 'netdev'>;

export class ThreadMachines implements Machines {
  readonly #settings: Sizes;
  #madeOne = false;

  constructor(settings: Sizes) {
    this.#settings = settings;
  }

  async boot(events: GuestEvents): Promise<GuestMachine> {
    const { guest: path = '', memoryBytes = 0, vcpus = 0, append } = this.#settings;
    this.#madeOne = true;
    // The threads start while the image is read.
    const machine = makeMachine(memoryBytes, vcpus, this.#settings, events);
    try {
      await machine.boot(await readImage(path), append, { paused: true });
    } catch (error) {
      await machine.destroy();
      throw error;
    }
    return guestOf(machine);
  }

  await(events: GuestEvents): AwaitingMachine {
    const { memoryBytes, vcpus } = this.#settings;
    const make = (description: MachineDescription): Machine => {
      if (this.#madeOne) reclaimMemory();
      this.#madeOne = true;
      const [ramBytes, cpus] = [memoryBytes ?? description.ramBytes, vcpus ?? description.vcpus];
      return makeMachine(ramBytes, cpus, this.#settings, events);
    };
    return awaitingMachine(make, { guestOf, compiled });
  }
}

/** The guest's code is here; what comes may be its last round. */
function compiled(): void {
  reclaimMemory();
  holdOptimiser();
}

function makeMachine(
  ramBytes: number,
  vcpus: number,
  { seed, nic, netdev }: Sizes,
  events: GuestEvents,
): Machine {
  const hostBytes = hostMemoryBytes();
  if (ramBytes > hostBytes) {
    const reason = `it has ${Math.floor(hostBytes / 2 ** 20)} MiB of memory`;
    throw vmmErrors.error('ram-unavailable', { ramBytes, reason });
  }
  const machine = createMachine({
    ramBytes,
    vcpus,
    seed,
    ...(nic === undefined ? {} : { nic }),
    ...(netdev === undefined ? {} : { netdev }),
  });
  machine.on((event) => forward(event, events));
  return machine;
}

/** What this host has, or this process may use of it. */
function hostMemoryBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

async function readImage(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw vmmErrors.error('image-unreadable', { path, reason: reasonOf(error) }, error);
  }
}

/** What the change of its code leaves behind in this process is given back before its guest is moved. */
function guestOf(machine: Machine): GuestMachine {
  const { outgoing } = machine;
  return guestMachine(machine, {
    ...outgoing,
    startDirtyLog: async () => {
      await outgoing.startDirtyLog();
      reclaimMemory();
    },
  });
}
