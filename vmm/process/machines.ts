/** Machines of threads for the controller: one from an image, or one of the size that a guest that comes asks for. */
import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { vmmErrors } from '../errors.js';
import { createMachine } from '../machine/create.js';
import type { Machine } from '../machine/machine.js';
import { allocateRam } from '../ram/guest-ram.js';
import { reasonOf } from '../sockets/listening.js';
import { preallocate } from '../threads/prealloc.js';
import { holdOptimiser } from './engine.js';
import { awaitingMachine, forward, guestMachine } from './guest-machine.js';
import type { VmmSettings } from './options.js';
import type { AwaitingMachine, GuestEvents, GuestMachine, Machines } from './ports.js';
import { reclaimMemory } from './reclaim-memory.js';

type Sizes = Pick<
  VmmSettings,
  'guest' | 'memoryBytes' | 'vcpus' | 'append' | 'seed' | 'nic' | 'netdev' | 'prealloc'
>;

export class ThreadMachines implements Machines {
  readonly #settings: Sizes;
  /** RAM of the machine that was made last. */
  #lastRam: WeakRef<WebAssembly.Memory> | undefined;

  constructor(settings: Sizes) {
    this.#settings = settings;
  }

  async boot(events: GuestEvents): Promise<GuestMachine> {
    const { guest: path = '', memoryBytes = 0, vcpus = 0, append, prealloc } = this.#settings;
    // The threads start while the image is read.
    const machine = this.#make(memoryBytes, vcpus, events);
    try {
      const touched = prealloc ? preallocate(machine.memory) : undefined;
      const [image] = await Promise.all([readImage(path), touched]);
      await machine.boot(image, append, { paused: true });
    } catch (error) {
      await machine.destroy();
      throw error;
    }
    return guestOf(machine);
  }

  async await(events: GuestEvents): Promise<AwaitingMachine> {
    const { memoryBytes, vcpus, prealloc } = this.#settings;
    await this.#reclaimLast();
    const roles = { guestOf, compiled: reclaimMemory, lastMayCome: holdOptimiser };
    if (memoryBytes !== undefined && vcpus !== undefined) {
      const machine = this.#make(memoryBytes, vcpus, events);
      machine.incoming.getReady();
      if (prealloc) await preallocate(machine.memory);
      return awaitingMachine(() => machine, { ...roles, machine });
    }
    const ram = prealloc ? allocateHere(memoryBytes!) : undefined;
    if (ram !== undefined) await preallocate(ram);
    return awaitingMachine(
      (guest) => this.#make(memoryBytes ?? guest.ramBytes, vcpus ?? guest.vcpus, events, ram),
      roles,
    );
  }

  /**
   * Or there would be two guests' RAM for a while, which is more than there may be. Whoever has just ended the machine may hold
   * on to it for a few turns.
   */
  async #reclaimLast(): Promise<void> {
    for (let i = 0; i < RECLAIMS_MAX && this.#lastRam?.deref() !== undefined; i++) {
      await new Promise((resolve) => setTimeout(resolve, i));
      reclaimMemory();
    }
  }

  #make(ramBytes: number, vcpus: number, events: GuestEvents, ram = allocateHere(ramBytes)): Machine {
    this.#lastRam = new WeakRef(ram);
    const { seed, nic, netdev } = this.#settings;
    const machine = createMachine(
      {
        ramBytes,
        vcpus,
        seed,
        ...(nic === undefined ? {} : { nic }),
        ...(netdev === undefined ? {} : { netdev }),
      },
      ram,
    );
    machine.on((event) => forward(event, events));
    return machine;
  }
}

/** Times that garbage is collected for the sake of RAM that should be free. */
const RECLAIMS_MAX = 10;

/** RAM of a machine. Throws `vmm/ram-unavailable`: also where this host could give the addresses, but never the pages. */
function allocateHere(ramBytes: number): WebAssembly.Memory {
  const hostBytes = hostMemoryBytes();
  if (ramBytes > hostBytes) {
    const reason = `it has ${Math.floor(hostBytes / 2 ** 20)} MiB of memory`;
    throw vmmErrors.error('ram-unavailable', { ramBytes, reason });
  }
  return allocateRam(ramBytes);
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
