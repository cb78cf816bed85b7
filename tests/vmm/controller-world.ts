/** A controller with everything around it made up and recorded: machines, links, console, clock. */
import { instant, milliseconds } from '../../base/units.js';
import type {
  DestinationMachine,
  MachineDescription,
  MachineState,
  SourceMachine,
} from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import type { vmmErrors } from '../../vmm/errors.js';
import { ConsoleLog } from '../../vmm/process/console-log.js';
import { Controller } from '../../vmm/process/controller.js';
import type { GuestEvents, GuestMachine, IncomingOptions, OutgoingOptions } from '../../vmm/process/ports.js';
import type { SocketAddress } from '../../vmm/sockets/address.js';
import { realTime } from '../../vmm/threads/real-time.js';

export const DESCRIPTION: MachineDescription = {
  ramBytes: 1 << 26,
  vcpus: 1,
  migratedPages: 16000,
  imageGpa: 0,
  imageBytes: 1,
  imageHash: '',
  devices: [{ name: 'console', version: 1 }],
};
export const STATE: MachineState = { vcpus: [], devices: [], clockNs: 7 };
export const TARGET: SocketAddress = { kind: 'unix', path: '/there' };

export const sourceRecord = (status: MigrationRecord['status']): MigrationRecord =>
  ({
    role: 'source',
    status,
    error: undefined,
    devices: [],
    rounds: [],
    transferred: { pages: 0, zeroPages: 0, bytes: 0 },
    harvests: { count: 0 },
  }) as unknown as MigrationRecord;
export const destinationRecord = (status: DestinationRecord['status'], error?: Error): DestinationRecord =>
  ({
    role: 'destination',
    status,
    error: error === undefined ? undefined : (error as ReturnType<typeof vmmErrors.error>).toJSON(),
  }) as unknown as DestinationRecord;

/** Everything around a controller, recorded; `script` plays the flow of a migration. */
export function setUp(initial: 'prelaunch' | 'inmigrate' = 'prelaunch', paused = false) {
  const log: string[] = [];
  const defects: unknown[] = [];
  /** Events with their data. */
  const emitted: unknown[] = [];
  const state = {
    events: undefined as GuestEvents | undefined,
    /** What the next pause waits for. */
    pausing: async (): Promise<void> => {},
    /** What happens before a resume is answered. */
    resuming: (): void => {},
    goesOn: false,
    leave: async (_options: OutgoingOptions): Promise<MigrationRecord> => sourceRecord('failed'),
    arrivals: [] as ((options: IncomingOptions) => Promise<DestinationRecord>)[],
  };
  const outgoing = (name: string): SourceMachine => ({
    description: DESCRIPTION,
    ram: new Uint8Array(0),
    devices: [],
    startDirtyLog: async () => {},
    stopDirtyLog: async () => {},
    harvest: async () => ({ cpuPages: 0, devicePages: 0, bothPages: 0, cost: milliseconds(0) }),
    throttle: () => {},
    pause: async () => {
      log.push(`${name} pause`);
      await state.pausing();
    },
    resume: async () => {
      log.push(`${name} resume`);
      state.resuming();
    },
    save: async () => STATE,
    relinquish: () => void log.push(`${name} relinquish`),
  });
  const machine = (name: string): GuestMachine => ({
    ...outgoing(name),
    outgoing: outgoing(name),
    memory: undefined as unknown as WebAssembly.Memory,
    serial: () => undefined as never,
    nics: async () => [],
    guestName: 'guest',
    pressPowerButton: async () => {
      log.push(`${name} power button`);
      return true;
    },
    network: undefined,
    pciDump: async () => undefined,
    pci: async () => [],
    injectError: async () => undefined,
    cpus: () => [],
    getReady: () => void log.push(`ready is ${name}`),
    destroy: async () => void log.push(`${name} destroy`),
  });
  let machines = 0;
  const controller = new Controller(
    {
      name: undefined,
      paused,
      machines: {
        async boot(events) {
          state.events = events;
          return machine('booted');
        },
        async await(events) {
          state.events = events;
          const name = `awaiting${machines++}`;
          return {
            ram: new Uint8Array(0),
            devices: [],
            save: async () => STATE,
            accept: async (d) => void log.push(`${name} accept ${d.devices.map((x) => x.name).join()}`),
            prepareCode: async () => true,
            load: async (s) => void log.push(`${name} load ${s.devices.length}`),
            run: async () => void log.push(`${name} run`),
            hold: async () => void log.push(`${name} hold`),
            discard: async () => void log.push(`${name} discard`),
            guest: () => machine(name),
          };
        },
      },
      links: {
        getReady: ({ values }) => void log.push(`ready for ${values.multifdChannels}`),
        migrate: async (_target, options) => state.leave(options),
        listen: async (address) => ({
          address,
          next: async (options) => state.arrivals.shift()?.(options),
          close: () => void log.push('listener closed'),
        }),
        cut: () => void log.push('links cut'),
        close: () => void log.push('links closed'),
      },
      clock: { ...realTime, now: () => instant(0) },
      chardevs: new Map([['agent', () => void log.push('agent hung up')]]),
      console: new ConsoleLog(
        () => {},
        () => 0,
        () => {},
      ),
      emit: (event, data) => {
        log.push(event);
        emitted.push([event, data]);
      },
      onQuit: () => void log.push('quit'),
      onState: (now) => void log.push(`-> ${now}`),
      onIncomingFailed: () => state.goesOn,
      onWaiting: () => {},
      onTurnedAway: () => {},
      onInquiry: () => {},
      onMigrationState: () => {},
      onOutgoingFailed: () => {},
      onOutputCut: () => {},
      onDefect: (error) => void defects.push(error),
    },
    initial,
  );
  return { controller, log, state, defects, emitted };
}

export async function running() {
  const set = setUp();
  await set.controller.boot();
  await set.controller.cont();
  set.log.length = 0;
  return set;
}

export const settled = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
};

/** What a source's flow does to its machine up to the switchover, and then. */
export const untilPaused = async ({ machine }: OutgoingOptions): Promise<MachineState> => {
  await machine.startDirtyLog();
  await machine.harvest(undefined as never);
  await machine.pause();
  return machine.save();
};
export const giveAway = async (options: OutgoingOptions): Promise<MigrationRecord> => {
  await untilPaused(options);
  options.machine.relinquish();
  return sourceRecord('completed');
};
/** What a destination's flow does to its machine. */
export const arrive =
  (description: MachineDescription, state: MachineState) =>
  async ({ machine }: { machine: DestinationMachine }): Promise<DestinationRecord> => {
    await machine.accept(description);
    await machine.load(state);
    await machine.run();
    return destinationRecord('completed');
  };
