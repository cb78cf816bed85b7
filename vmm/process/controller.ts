/**
 * The VM of this process: its machine and its migrations in either direction, as the monitor commands them.
 *
 *     boot ──▶ prelaunch ──▶ running ◀──▶ paused
 *                               │ migrate: the machine is lent to the flow, which stops, resumes or gives it away;
 *                               │ it stays in finish-migrate if nobody knows whether it was given away (`reclaim`)
 *                               ▼
 *     wait ──▶ inmigrate     finish-migrate ──▶ postmigrate ──▶ inmigrate (`migrate-incoming`) ──▶ running ...
 */
import type { Scheduler } from '../../base/clock.js';
import { FerryError } from '../../base/errors.js';
import { blockersOf } from '../../migration/approaches.js';
import { VMM_ENDS, type Whereabouts } from '../../migration/endings.js';
import { MigrationParameters, type ParameterValues } from '../../migration/parameters.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import type { DestinationState, SourceState } from '../../migration/states.js';
import { vmmErrors } from '../errors.js';
import type {
  DirtyRateInfo,
  DirtyRateRequest,
  MigrationInfo,
  Standstill,
  VmControl,
  YankInstance,
} from '../monitor/control.js';
import { QmpError, qomPathOf } from '../monitor/protocol.js';
import type { RunState } from '../monitor/run-state.js';
import { formatSocketAddress, type SocketAddress } from '../sockets/address.js';
import { loadApproaches } from './approach-modules.js';
import { DirtyRate } from './dirty-rate.js';
import { GuestControl, type GuestControlOptions } from './guest-control.js';
import { guestEvents } from './guest-events.js';
import { GuestRun } from './guest-run.js';
import { HotPlug } from './hot-plug.js';
import { lendToDestination, lendToSource } from './lent-machine.js';
import { migrationInfo } from './migration-info.js';
import { MigrationProgress } from './migration-status.js';
import type { AwaitingMachine, GuestEvents, IncomingListener, Links, Machines, TurnedAway } from './ports.js';

export interface ControllerOptions extends GuestControlOptions {
  /** Leave the guest stopped, whether it is booted or comes. */
  readonly paused: boolean;
  readonly machines: Machines;
  readonly links: Links;
  readonly clock: Scheduler;
  /** Sockets of this VMM that clients are connected to, by name, each with what hangs up on these. */
  readonly chardevs: ReadonlyMap<string, () => void>;
  /** `quit` was asked for. */
  readonly onQuit: () => void;
  /** The run state changed; `why` if the guest stands still for good. */
  readonly onState: (state: RunState, why: Error | undefined) => void;
  /** A guest may come, at this address. */
  readonly onWaiting: (address: SocketAddress) => void;
  /** An incoming migration failed; waiting goes on if this returns true. */
  readonly onIncomingFailed: (error: FerryError, exitOnError: boolean | undefined) => boolean;
  /** What connected to a waiting VMM was no source that it could take. */
  readonly onTurnedAway: TurnedAway;
  /** The guest was not moved, or nobody knows: `guest` is where it is. */
  readonly onOutgoingFailed: (error: FerryError, guest: Whereabouts | undefined) => void;
  /** Nothing was heard of a commit; who has the guest is being asked. */
  readonly onInquiry: (otherSide: string) => void;
  /** What was to be written to a file of the user's is not all there; the guest goes on. */
  readonly onOutputCut: (error: FerryError) => void;
  readonly onMigrationState: (state: SourceState | DestinationState) => void;
}

/** A migration under way. `done` resolves when nothing of it is left, and never rejects. */
interface Outgoing {
  readonly cancel: AbortController;
  done: Promise<void>;
}

interface Incoming extends Outgoing {
  readonly listener: IncomingListener;
  /** As `migrate-incoming` said; undefined if it did not. */
  readonly exitOnError: boolean | undefined;
}

/** Longest time for threads and peers to end in good order, when the process is asked to end. */
export const QUIT_GRACE_MS = 1500;

const STILL = ['prelaunch', 'paused', 'running'] as const;

export class Controller extends GuestControl implements VmControl {
  readonly parameters = new MigrationParameters();
  migrationEvents = false;

  readonly #options: ControllerOptions;
  readonly #guest: GuestRun;
  readonly #dirtyRate: DirtyRate;
  /** Of the machine that is here. */
  #hotPlug: HotPlug | undefined;
  #outgoing: Outgoing | undefined;
  #incoming: Incoming | undefined;
  /** Where the guest came from, or went to, at last. */
  #otherSide = '';
  /** The last migration's record, as of now while it is under way. */
  #record: (() => MigrationRecord | DestinationRecord) | undefined;
  readonly #progress: MigrationProgress;
  /** A migration was asked for and has no record yet. */
  #starting = false;
  /** How to take back a guest of which nobody knows whether it was given away. */
  #reclaim: (() => Promise<void>) | undefined;
  /** Whether a guest that was booted, or that comes, is to run. */
  #autostart: boolean;

  constructor(options: ControllerOptions, initial: 'prelaunch' | 'inmigrate') {
    super(options);
    this.#options = options;
    this.#autostart = !options.paused;
    this.#guest = new GuestRun(initial, options);
    this.#progress = new MigrationProgress((status) => {
      if (this.migrationEvents) options.emit('MIGRATION', { status });
    });
    this.#dirtyRate = new DirtyRate(options.clock, this.parameters, options.onDefect);
  }

  get runState(): RunState {
    return this.#guest.state;
  }

  /** Where the guest came from, or was to go to, in the last migration; empty before one. */
  get otherSide(): string {
    return this.#otherSide;
  }

  /** Makes the machine and loads the guest, which does not run yet. Throws FerryErrors. */
  async boot(): Promise<void> {
    this.machine = await this.#options.machines.boot(this.#guestEvents());
  }

  /** Lets the guest that was booted run, unless somebody has said meanwhile whether it is to. */
  async begin(): Promise<void> {
    if (this.#autostart && this.runState === 'prelaunch') await this.cont();
  }

  async cont(): Promise<void> {
    if (this.runState === 'inmigrate') {
      this.#autostart = true;
      return;
    }
    // A guest that a migration stopped and could not resume is let go on like one that a person stopped.
    const from = this.standstill === 'kept' ? [...STILL, 'finish-migrate' as const] : STILL;
    await this.#guest.change('continue', from, async (state) => {
      if (state === 'running') return;
      await this.theMachine().resume();
      this.#guest.resumed(state);
    });
  }

  async stop(): Promise<void> {
    this.#autostart = false;
    if (this.runState === 'inmigrate') return;
    await this.#guest.change('stop', STILL, async (state) => {
      if (state !== 'running') return;
      await this.theMachine().pause();
      this.#guest.stopped('running', 'paused');
    });
  }

  quit(): void {
    this.#options.onQuit();
  }

  async deviceDel(id: string): Promise<void> {
    await this.#hotPlugFor('device_del').remove(id);
  }

  async deviceAdd(id: string, bus: string | undefined): Promise<void> {
    await this.#hotPlugFor('device_add').add(id, bus);
  }

  /** Of the guest that is here; one that is on its way keeps the devices that it has. */
  #hotPlugFor(command: string): HotPlug {
    if (this.#outgoing !== undefined || this.#incoming !== undefined) {
      throw new QmpError(`${command} not allowed while migrating`);
    }
    const { devices } = this.theMachine().outgoing;
    if (this.#hotPlug?.devices !== devices) {
      this.#hotPlug?.close();
      this.#hotPlug = new HotPlug(devices, this.#options.clock, {
        deleted: (device) => this.#options.emit('DEVICE_DELETED', { device, path: qomPathOf(device) }),
      });
    }
    return this.#hotPlug;
  }

  calcDirtyRate(request: DirtyRateRequest): void {
    if (this.#outgoing !== undefined || this.#incoming !== undefined) {
      throw new QmpError('calc-dirty-rate not allowed while migrating');
    }
    this.#dirtyRate.measure(lendToSource(this.theMachine().outgoing, this.#guest), request);
  }

  get dirtyRate(): DirtyRateInfo {
    return this.#dirtyRate.info;
  }

  /** Where this VMM waits for a guest, if it does. */
  get listeningAt(): SocketAddress | undefined {
    return this.#incoming?.listener.address;
  }

  migration(): MigrationInfo {
    // Never the state of an earlier migration, which a client could take for this one's.
    if (this.#starting) return { status: 'setup' };
    return this.#progress.of(migrationInfo(this.#record?.(), this.listeningAt));
  }

  /** Whether `migration()` would tell of one that is under way; for who asks often, since nothing is gathered for it. */
  get migrating(): boolean {
    return this.#starting || this.#progress.underWay;
  }

  async blockedReasons(): Promise<readonly string[]> {
    const machine = this.machine;
    if (machine === undefined || this.#incoming !== undefined || this.#outgoing !== undefined) return [];
    const { values, registry } = this.parameters;
    return blockersOf(values, machine.outgoing.devices, registry);
  }

  migrationRecord(): Readonly<Record<string, unknown>> | undefined {
    if (this.#starting) return undefined;
    return this.#record?.() as Readonly<Record<string, unknown>> | undefined;
  }

  async setParameters(changes: Partial<ParameterValues>): Promise<void> {
    const { registry, named } = await loadApproaches(this.parameters.registry, changes);
    this.parameters.offer(registry);
    this.parameters.set(named);
    const mayLeave = this.#outgoing === undefined && STILL.some((state) => state === this.runState);
    if (!mayLeave || this.machine === undefined) return;
    this.machine.getReady();
    this.#options.links.getReady?.(this.parameters);
  }

  // The guest leaves.

  migrate(target: SocketAddress): void {
    if (this.#outgoing !== undefined) throw new QmpError("There's a migration process in progress");
    if (this.#dirtyRate.isMeasuring)
      throw new QmpError('migrate not allowed while the dirty rate is measured');
    const { links, onDefect } = this.#options;
    const machine = this.theMachine();
    const outgoing: Outgoing = { cancel: new AbortController(), done: Promise.resolve() };
    this.#outgoing = outgoing;
    this.#otherSide = formatSocketAddress(target);
    this.#starting = true;
    outgoing.done = links
      .migrate(target, {
        machine: lendToSource(machine.outgoing, this.#guest),
        memory: machine.memory,
        recordingCut: (path, reason) =>
          this.#options.onOutputCut(vmmErrors.error('output-cut', { what: 'recording', path, reason })),
        parameters: this.parameters,
        signal: outgoing.cancel.signal,
        observer: {
          started: (snapshot) => {
            this.#starting = false;
            this.#record = snapshot;
            this.#progress.began();
          },
          stateChanged: (from, to) => this.#migrationMoved(from, to),
          undecided: (reclaim) => {
            this.#reclaim = reclaim;
          },
          inquires: () => this.#options.onInquiry(this.#otherSide),
          failing: () => this.#progress.isMoreExactly('failing'),
          waitsForGuest: (waits) => this.#progress.isMoreExactly(waits ? 'wait-unplug' : undefined),
          roundStarted: (round) => {
            if (this.migrationEvents) this.#options.emit('MIGRATION_PASS', { pass: round });
          },
        },
      })
      .then((record) => {
        this.#record = () => record;
        if (record.error !== undefined)
          this.#options.onOutgoingFailed(FerryError.from(record.error), record.guest);
      })
      .catch(onDefect)
      .finally(() => {
        this.#starting = false;
        this.#outgoing = undefined;
      });
  }

  migrateCancel(): void {
    this.#outgoing?.cancel.abort();
  }

  get yankInstances(): readonly YankInstance[] {
    const migrates = this.#outgoing !== undefined || this.#incoming !== undefined;
    return [
      ...(migrates ? [{ type: 'migration' } as const] : []),
      ...[...this.#options.chardevs.keys()].map((id) => ({ type: 'chardev', id }) as const),
    ];
  }

  yank(instances: readonly YankInstance[]): void {
    const there = this.yankInstances.map((one) => JSON.stringify(one));
    const cuts = new Set(instances.map((one) => JSON.stringify(one)));
    if ([...cuts].some((one) => !there.includes(one)))
      throw new QmpError('Instance not found', 'DeviceNotFound');
    for (const one of instances) {
      if (one.type === 'migration') this.#options.links.cut?.();
      else if (one.type === 'chardev') this.#options.chardevs.get(one.id)?.();
    }
  }

  async reclaim(): Promise<void> {
    const reclaim = this.#reclaim;
    if (reclaim === undefined) {
      throw new QmpError('No commit is unacknowledged: where the guest is is known');
    }
    this.#reclaim = undefined;
    await reclaim();
  }

  /** Why a guest in `finish-migrate` stands still; undefined in any other state. */
  get standstill(): Standstill | undefined {
    if (this.runState !== 'finish-migrate') return undefined;
    if (this.#reclaim !== undefined) return 'undecided';
    return this.#outgoing === undefined ? 'kept' : 'switching';
  }

  // The guest comes.

  /** Waits for a guest at `address`; a machine whose guest has left is given up for it. Throws FerryErrors. */
  async migrateIncoming(address: SocketAddress, exitOnError?: boolean): Promise<void> {
    if (this.runState === 'inmigrate' && this.#incoming !== undefined) {
      throw new QmpError('The incoming migration has already been started');
    }
    // A guest that has just left or come may have left a link behind that is still being closed.
    await this.#outgoing?.done;
    await this.#incoming?.done;
    const listener = await this.#options.links.listen(address, this.parameters, this.#options.onTurnedAway);
    const cancel = new AbortController();
    const incoming: Incoming = { listener, cancel, exitOnError, done: Promise.resolve() };
    this.#incoming = incoming;
    if (this.runState === 'postmigrate') {
      this.#guest.move('inmigrate');
      this.#autostart = !this.#options.paused;
      await this.machine?.destroy();
      this.machine = undefined;
    }
    const machine = this.#options.machines.await(this.#guestEvents());
    incoming.done = machine
      .then(
        (first) => this.#receive(incoming, first).catch(this.#options.onDefect),
        () => undefined,
      )
      .finally(() => {
        listener.close();
        this.#incoming = undefined;
      });
    await machine;
    this.#options.onWaiting(listener.address);
  }

  /** Takes in guests until one has come, or one failed to and no other is waited for. */
  async #receive({ listener, cancel, exitOnError }: Incoming, machine: AwaitingMachine): Promise<void> {
    for (; ; machine = await this.#options.machines.await(this.#guestEvents())) {
      // What is still to be told of this arrival when its guest is on its way to another place already is left out: what a
      // client is told then is of that migration.
      let ours = this.#record;
      const awaiting = machine;
      const record = await listener.next({
        machine: lendToDestination(awaiting, this.#guest, (arrived) => {
          this.machine = arrived;
          return this.#autostart;
        }),
        memory: () => awaiting.guest().memory,
        introduced: (source) => {
          this.#otherSide = source;
        },
        parameters: this.parameters,
        signal: cancel.signal,
        observer: {
          started: (snapshot) => {
            this.#record = ours = snapshot;
            this.#progress.began();
          },
          stateChanged: (from, to) => {
            if (this.#outgoing === undefined) this.#migrationMoved(from, to);
          },
        },
      });
      if (record === undefined) return awaiting.discard();
      if (this.#record === ours) this.#record = () => record;
      if (this.runState !== 'inmigrate' || record.error === undefined) return;
      if (!this.#options.onIncomingFailed(FerryError.from(record.error), exitOnError)) return;
    }
  }

  /** Cancels the migrations under way, if they still can be, and ends the machine. Never rejects. */
  async destroy(): Promise<void> {
    this.#guest.close();
    this.#outgoing?.cancel.abort(VMM_ENDS);
    this.#incoming?.cancel.abort(VMM_ENDS);
    this.#incoming?.listener.close();
    await this.#dirtyRate.end();
    await this.#outgoing?.done;
    await this.#incoming?.done;
    this.#options.links.close?.();
    await this.machine?.destroy().catch(this.#options.onDefect);
    this.machine = undefined;
  }

  #guestEvents(): GuestEvents {
    return guestEvents(this.#options, this.#guest, () => this.migrationEvents);
  }

  #migrationMoved(from: SourceState | DestinationState, to: SourceState | DestinationState): void {
    this.#options.onMigrationState(to);
    this.#progress.moved(from, to);
  }
}
