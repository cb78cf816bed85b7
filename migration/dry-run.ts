/**
 * Migrations of nothing, from the greeting to the release, in one thread. What a process has never done the engine does
 * slowly: it has bytecode, but has not seen yet what the code works on, and looks up each property as if for the first time. A
 * switch-over is over before that changes, so both flows go through whole migrations ahead, of a machine of a few empty pages
 * with a device that has nothing to tell, over a link of memory. No more of the real ones is touched than the code.
 */
import { AtomicBitmap } from '../base/bitmap.js';
import type { Scheduler } from '../base/clock.js';
import { invariant } from '../base/errors.js';
import { nanoseconds, PAGE_BYTES } from '../base/units.js';
import { migrateDestination } from './destination.js';
import type { Digest } from './integrity.js';
import { DestinationPlane } from './pages/destination-plane.js';
import { SourcePlane } from './pages/source-plane.js';
import { MigrationParameters } from './parameters.js';
import type {
  AssignedDevice,
  ControlLink,
  DestinationDataPlane,
  DestinationMachine,
  MachineDescription,
  MachineState,
  PageHasher,
  SourceDataPlane,
  SourceMachine,
} from './ports.js';
import { migrateSource } from './source.js';

/** So many that what the engine has to learn of the code is learned; they take some 50 ms of CPU time, most of it for the first. */
const TIMES = 20;
const PAGES = 64;
/** Written again in each round. */
const DIRTY_PAGES = 3;
const TOKEN = '0'.repeat(32);
const NOTHING = new Uint8Array(0);
/** Bytes of a device's state, ahead and at the end; of the guest's registers and stack: about what real ones have. */
const DEVICE_BYTES = 4096;
const REGISTER_BYTES = 512;
const STACK_BYTES = 1024;
const PIR_BYTES = 32;

let done: Promise<void> | undefined;

/**
 * Goes through it once for all migrations of this thread, a little at a time: between two of them others have their turn. What
 * fails in it is a defect of ours.
 */
export function dryRun(scheduler: Scheduler, digest: Digest): Promise<void> {
  done ??= (async () => {
    for (let i = 0; i < TIMES; i++) {
      await scheduler.yield();
      await migrateNothing(scheduler, digest);
    }
  })();
  return done;
}

/** One such migration. Throws unless both sides say that it completed. */
export async function migrateNothing(scheduler: Scheduler, digest: Digest): Promise<void> {
  const [near, far] = memoryLink();
  const parameters = new MigrationParameters({ verify: 'after' });
  const planes = emptyPlanes(scheduler);
  const common = { scheduler, digest, parameters, hasher: zeroHasher };
  const [left, arrived] = await Promise.all([
    migrateSource({
      ...common,
      machine: leavingMachine(),
      control: near,
      data: planes.source,
      migrationId: TOKEN,
    }),
    migrateDestination({ ...common, machine: awaitingMachine(), control: far, data: planes.destination }),
  ]);
  for (const { status, error } of [left, arrived]) {
    invariant(status === 'completed', `a migration of nothing is ${status}: ${error?.message}`);
  }
}

/** Both ends of a link in memory. */
function memoryLink(): [ControlLink, ControlLink] {
  const [near, far] = [new MemoryLink(), new MemoryLink()];
  near.peer = far;
  far.peer = near;
  return [near, far];
}

class MemoryLink implements ControlLink {
  peer: MemoryLink | undefined;
  readonly #waiting: (Uint8Array | undefined)[] = [];
  #receiver: ((message: Uint8Array | undefined) => void) | undefined;

  send(message: Uint8Array): Promise<void> {
    this.peer?.take(message);
    return Promise.resolve();
  }

  receive(): Promise<Uint8Array | undefined> {
    return new Promise((resolve) => {
      if (this.#waiting.length > 0) resolve(this.#waiting.shift());
      else this.#receiver = resolve;
    });
  }

  close(): void {
    this.peer?.take(undefined);
    this.take(undefined);
  }

  take(message: Uint8Array | undefined): void {
    const receiver = this.#receiver;
    this.#receiver = undefined;
    if (receiver === undefined) this.#waiting.push(message);
    else receiver(message);
  }
}

/** Two data planes whose workers do nothing but say that it is done. */
function emptyPlanes(scheduler: Scheduler): {
  readonly source: SourceDataPlane;
  readonly destination: DestinationDataPlane;
} {
  let arrived: (round: number, pages: number) => void = () => {};
  let connected: () => void = () => {};
  const source = new SourcePlane({
    host: '127.0.0.1',
    scheduler,
    newToken: () => TOKEN,
    hire: (tasks, heard) => {
      for (const channel of tasks.keys()) heard(channel, { type: 'listening', port: 1 + channel });
      connected = () => {
        for (const channel of tasks.keys()) heard(channel, { type: 'connected' });
      };
      return {
        send: (command, channels = tasks.length) => {
          if (command.type !== 'round') return;
          const bitmap = new AtomicBitmap(PAGES, command.bitmap);
          for (let channel = 0; channel < channels; channel++) {
            const pages = channel === 0 ? bitmap.count() : 0;
            if (channel === 0) bitmap.clear();
            const count = { pages, zeroPages: 0, bytes: pages * PAGE_BYTES };
            heard(channel, { type: 'sent', round: command.round, count });
            arrived(command.round, pages);
          }
        },
        close: () => Promise.resolve(),
      };
    },
  });
  const destination = new DestinationPlane((tasks, heard) => {
    let channel = 0;
    arrived = (round, pages) => {
      const count = { pages, zeroPages: 0, bytes: pages * PAGE_BYTES };
      heard(channel++ % tasks.length, { type: 'received', round, count });
    };
    for (const connecting of tasks.keys()) heard(connecting, { type: 'connected' });
    connected();
    return { send: () => {}, close: () => Promise.resolve() };
  });
  return { source, destination };
}

const zeroHasher: PageHasher = {
  hashAll: (_, pages) => Promise.resolve(new Uint32Array(2 * pages)),
  close: () => Promise.resolve(),
};

const description: MachineDescription = {
  ramBytes: PAGES * PAGE_BYTES,
  vcpus: 1,
  migratedPages: PAGES,
  imageGpa: 0,
  imageBytes: 0,
  imageHash: '',
  devices: [{ name: 'nothing', version: 1 }],
};

const state: MachineState = {
  vcpus: [
    {
      index: 0,
      run: 'halted',
      registers: new Uint8Array(REGISTER_BYTES),
      unwind: new Uint8Array(STACK_BYTES),
      pir: new Uint8Array(PIR_BYTES),
      timerDeadlineNs: 1e12,
    },
  ],
  devices: [{ name: 'nothing', version: 1, state: new Uint8Array(DEVICE_BYTES) }],
  clockNs: 1e12,
};

const nothing = (): Promise<void> => Promise.resolve();

const device: AssignedDevice = {
  name: 'nothing',
  identity: { kind: '0000:0000', revision: 0, vectors: 1, queues: 1, mac: 'none' },
  dma: { track: nothing, readDirty: nothing },
  vfio: {
    preCopy: async () => new Uint8Array(DEVICE_BYTES),
    quiesce: nothing,
    stopCopy: async () => new Uint8Array(DEVICE_BYTES),
    resume: nothing,
    write: nothing,
    load: nothing,
    save: async () => [{ name: 'nothing', version: 1, state: NOTHING }],
    reset: nothing,
  },
};

const leavingMachine = (): SourceMachine => ({
  description,
  ram: NOTHING,
  devices: [device],
  startDirtyLog: nothing,
  stopDirtyLog: nothing,
  harvest: async (into) => {
    for (let page = 0; page < DIRTY_PAGES; page++) into.set(page);
    return { cpuPages: DIRTY_PAGES, devicePages: 0, bothPages: 0, cost: nanoseconds(0) };
  },
  throttle: () => {},
  pause: nothing,
  resume: nothing,
  save: async () => state,
  relinquish: () => {},
});

const awaitingMachine = (): DestinationMachine => ({
  ram: NOTHING,
  devices: [device],
  deviceStart: nanoseconds(0),
  accept: nothing,
  prepareCode: async () => true,
  rehearse: nothing,
  load: async (_, ramArrived) => ramArrived,
  save: async () => state,
  run: nothing,
  discard: nothing,
});
