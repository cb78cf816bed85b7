/** Machines of threads for the controller: one from an image, or one of the size that a guest that comes asks for. */
import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { InvariantError } from '../../base/errors.js';
import type { MachineDescription } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import { createMachine } from '../machine/create.js';
import type { MachineEvent } from '../machine/events.js';
import type { IncomingRole } from '../machine/incoming.js';
import type { Machine } from '../machine/machine.js';
import { reasonOf } from '../sockets/listening.js';
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
    return guestMachine(machine);
  }

  await(events: GuestEvents): AwaitingMachine {
    const { memoryBytes, vcpus } = this.#settings;
    let made: Machine | undefined;
    const machine = (): Machine => {
      if (made === undefined) throw new InvariantError('a machine was used before it accepted a guest');
      return made;
    };
    const incoming = (): IncomingRole => machine().incoming;
    return {
      accept: async (description: MachineDescription) => {
        if (this.#madeOne) reclaimMemory();
        this.#madeOne = true;
        made = makeMachine(
          memoryBytes ?? description.ramBytes,
          vcpus ?? description.vcpus,
          this.#settings,
          events,
        );
        await made.incoming.accept(description);
      },
      observe: (timeline) => incoming().observe?.(timeline),
      get ram() {
        return incoming().ram;
      },
      get devices() {
        return incoming().devices;
      },
      get deviceStart() {
        return incoming().deviceStart;
      },
      prepareCode: async () => {
        await incoming().prepareCode();
        reclaimMemory();
      },
      rehearse: async (what) => incoming().rehearse?.(what),
      load: (state, ramArrived) => incoming().load(state, ramArrived),
      save: () => incoming().save(),
      run: () => incoming().run(),
      hold: () => incoming().hold(),
      discard: async () => made?.destroy(),
      guest: () => guestMachine(machine()),
    };
  }
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

function forward(event: MachineEvent, events: GuestEvents): void {
  switch (event.kind) {
    case 'console':
      events.console(event.line.text);
      break;
    case 'console-dropped':
      events.consoleDropped(event.lines);
      break;
    case 'device':
      events.device(event.event);
      break;
    case 'crash':
      events.panicked(event.error);
      break;
    case 'panic':
      events.panicked(vmmErrors.error('guest-panic', {}));
      break;
    case 'power-off':
      events.poweredOff('guest-shutdown');
      break;
    case 'reset':
      events.poweredOff('guest-reset');
      break;
    case 'failed':
      events.broken(event.error);
      break;
    // A vCPU that has nothing to do any more is no end of the machine; the rest is known from what was asked.
    case 'vcpu-off':
    case 'fault':
    case 'state':
      break;
  }
}

async function readImage(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw vmmErrors.error('image-unreadable', { path, reason: reasonOf(error) }, error);
  }
}

function guestMachine(machine: Machine): GuestMachine {
  const { outgoing } = machine;
  return {
    get description() {
      return machine.description;
    },
    get guestName() {
      return machine.query().guest;
    },
    outgoing: {
      ...outgoing,
      startDirtyLog: async () => {
        await outgoing.startDirtyLog();
        reclaimMemory();
      },
    },
    memory: machine.memory,
    serial: (port) => machine.serial(port),
    nics: () => machine.nicReports(),
    pciDump: () => machine.pciDump(),
    pci: () => machine.pci(),
    injectError: (device, error) => machine.injectError(device, error),
    pause: () => machine.pause(),
    resume: () => machine.resume(),
    destroy: () => machine.destroy(),
    cpus: () => machine.query().vcpus.map(({ index, threadId }) => ({ index, threadId })),
  };
}
