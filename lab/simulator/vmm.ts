/**
 * A VMM in virtual time: the controller that real VMM processes have, on a machine of one thread and links in memory. What an
 * operator asks of it goes the same way as from a monitor.
 */
import { isFerryError } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import { type Duration, milliseconds } from '../../base/units.js';
import { SERIAL_PORTS } from '../../devices/serial/registers.js';
import { AgentClient } from '../../vmm/agent/client.js';
import type { Machine } from '../../vmm/machine/machine.js';
import { vmmCommands } from '../../vmm/monitor/commands.js';
import type { MonitorCommands } from '../../vmm/monitor/monitor.js';
import { QmpError } from '../../vmm/monitor/protocol.js';
import type { NicOptions } from '../../vmm/passthrough/records.js';
import { ConsoleLog } from '../../vmm/process/console-log.js';
import { Controller, QUIT_GRACE_MS } from '../../vmm/process/controller.js';
import { awaitingMachine, forward, guestMachine } from '../../vmm/process/guest-machine.js';
import type { AwaitingMachine, GuestEvents, Machines } from '../../vmm/process/ports.js';
import { type BootedGuest, takeBooted } from './booted-guest.js';
import { Gate } from './gate.js';
import type { Side } from './link.js';
import { SimulatedLinks, type SimulatedWire } from './links.js';
import { simulatedMachine } from './machine.js';
import type { SimulatedNetwork } from './network.js';
import type { SimulatedWorld } from './run.js';

export interface SimulatedVmmOptions {
  readonly side: Side;
  readonly world: SimulatedWorld;
  readonly network: SimulatedNetwork;
  readonly wire: SimulatedWire;
  /** What it boots. */
  readonly booted: BootedGuest;
  readonly memories: MemoryPool;
  /** The guest began, or ceased, to run. */
  readonly ran: (running: boolean) => void;
  /** A guest is about to run that has come. */
  readonly takesOver: (machine: Machine) => Promise<void>;
  /** Its monitor has an event for who listens there. */
  readonly event: (event: string, data: object) => void;
  /** Something threw that must not. */
  readonly defect: (error: unknown) => void;
}

/** RAM of machines that are no more, for others of that size: the host takes its time for new memory. */
export class MemoryPool {
  /** By their sizes. */
  readonly #free = new Map<number, WebAssembly.Memory[]>();
  #zeros = new Uint8Array(0);

  /** Zeros from `fromByte` on; what lies before is overwritten anyway. */
  take(bytes: number, fromByte: number): WebAssembly.Memory | undefined {
    const memory = this.#free.get(bytes)?.pop();
    if (memory === undefined) return undefined;
    if (this.#zeros.length < bytes) this.#zeros = new Uint8Array(bytes);
    // Much faster than to fill memory that is shared.
    new Uint8Array(memory.buffer).set(this.#zeros.subarray(fromByte, bytes), fromByte);
    return memory;
  }

  give(memory: WebAssembly.Memory): void {
    const bytes = memory.buffer.byteLength;
    const free = this.#free.get(bytes);
    if (free === undefined) this.#free.set(bytes, [memory]);
    else free.push(memory);
  }
}

const NO_VERSION = { qemu: { major: 0, minor: 0, micro: 0 }, package: '' };
/** Who asks the guest's agent waits so long for its answer. */
const AGENT_PATIENCE = milliseconds(200);
/** A thread of another machine gets to what it is asked within this. */
const ANSWER_NS_MAX = 150_000;

export class SimulatedVmm {
  readonly controller: Controller;
  /** Resolves when it is killed. */
  readonly killed: Promise<undefined>;
  #nic: Partial<NicOptions> = {};
  #ended = (): void => {};
  readonly #options: SimulatedVmmOptions;
  readonly #gate: Gate;
  readonly #commands: MonitorCommands;
  #turn: Promise<unknown> = Promise.resolve();
  readonly #random: SeededRandom;
  /** By the names of their cables. */
  readonly #machines = new Map<string, Machine>();

  constructor(options: SimulatedVmmOptions) {
    const { side, world, wire } = options;
    this.#options = options;
    this.killed = new Promise((resolve) => {
      this.#ended = () => resolve(undefined);
    });
    this.#gate = new Gate(world.scheduler);
    this.#random = world.random.fork(side);
    const note = (event: string): void => this.#note(event);
    const log = new ConsoleLog(
      (lines) => {
        for (const line of lines) note(`guest: ${line}`);
      },
      () => this.#gate.now() / 1e6,
      (flush) => flush(),
    );
    this.controller = new Controller(
      {
        name: undefined,
        paused: false,
        machines: this.#makers(),
        links: new SimulatedLinks(wire, this.#gate),
        console: log,
        clock: this.#gate,
        chardevs: new Map(),
        emit: (event, data) => {
          note(`${event} ${JSON.stringify(data)}`);
          if (!this.gone) options.event(event, data);
        },
        onQuit: () => void this.quit(),
        onState: (state, why) => note(`-> ${state}${why === undefined ? '' : ` (${why.message})`}`),
        onWaiting: () => note('waits'),
        onIncomingFailed: (error) => {
          note(`not taken over: ${error.code}`);
          return true;
        },
        onTurnedAway: (error) => note(`turned away: ${error.code}`),
        onInquiry: () => note('asks who has the guest'),
        onOutgoingFailed: (error) => note(`not moved: ${error.code}`),
        onMigrationState: () => {},
        onOutputCut: () => {},
        onDefect: (error) => {
          if (!this.gone) options.defect(error);
        },
      },
      side === 'source' ? 'prelaunch' : 'inmigrate',
    );
    this.controller.migrationEvents = true;
    this.#commands = vmmCommands({ vm: this.controller, version: NO_VERSION });
  }

  #note(event: string): void {
    const { world, side } = this.#options;
    if (!this.gone) world.trace.note(world.scheduler.now(), `${side}: ${event}`);
  }

  get side(): Side {
    return this.#options.side;
  }

  get gone(): boolean {
    return this.#gate.gone;
  }

  /** Its monitor says that the guest runs here. */
  get runs(): boolean {
    return !this.gone && this.controller.runState === 'running';
  }

  /** The guest stands still here for good, by what it did itself. */
  get guestEnded(): boolean {
    return !this.gone && this.controller.runState === 'guest-panicked';
  }

  /** The machine that was made last. */
  get machine(): Machine | undefined {
    return [...this.#machines.values()].at(-1);
  }

  get console(): readonly string[] {
    return this.controller.consoleTail(1000);
  }

  /**
   * Asks its monitor, after all that it was asked before. Resolves with what was refused, in words, or with undefined; what throws
   * that must not is told as a defect.
   */
  execute(command: string, args: object = {}): Promise<string | undefined> {
    const answer = this.#turn.then(async () => {
      // It hears of it when it goes on, and whoever asked, of its end.
      await this.#orKilled(this.#gate.through(Promise.resolve()));
      if (this.gone) return 'gone';
      try {
        await this.#orKilled(this.#gate.through(this.#commands.run(command, args, { mute: () => {} })));
        if (this.gone) return 'gone';
        this.#note(`did ${command}`);
        return undefined;
      } catch (error) {
        const reason = (error as Error).message;
        if (!(error instanceof QmpError) && !isFerryError(error)) this.#options.defect(error);
        this.#note(`did not ${command}: ${reason}`);
        return reason;
      }
    });
    this.#turn = answer;
    return answer;
  }

  /** The cable of its machine has no carrier for so long. False if it has no machine. */
  flap(down: Duration): boolean {
    const { network, world } = this.#options;
    const [name] = [...this.#machines.keys()].slice(-1);
    if (name === undefined || this.gone) return false;
    network.setCarrier(name, false);
    world.scheduler.after(down, () => network.setCarrier(name, true));
    return true;
  }

  /** Machines that it makes from now on have a NIC that differs so. False if it has made one: that keeps what it has. */
  changeNic(nic: Partial<NicOptions>): boolean {
    if (this.gone || this.#machines.size > 0) return false;
    this.#nic = nic;
    return true;
  }

  /** Its host's NIC is the usual one again, for machines that are still to be made. */
  restoreNic(): void {
    this.#nic = {};
  }

  /** It stands still for so long, and its clock goes on. Resolves then; false if it stands still already, or is gone. */
  suspend(time: Duration): Promise<void> | false {
    return this.#gate.suspend(time);
  }

  /** Its clock goes so many times as fast as it should. */
  drift(rate: number): void {
    this.#gate.drift(rate);
  }

  /**
   * Has the guest's agent asked, by whoever is at its socket, to do that for so many microseconds: the guest takes it up when it
   * comes to it, at another place perhaps. False if there is no guest here.
   */
  tellGuest(what: string, us: number): boolean {
    const line = this.controller.serial(SERIAL_PORTS[0]);
    if (line === undefined || this.gone) return false;
    const agent = new AgentClient(line, () => Math.floor(this.#gate.wallNow() / 1e6));
    const told = agent.execute('x-ferry-behave', { what, us }, this.#gate.sleep(AGENT_PATIENCE));
    told.catch((error: unknown) => {
      // Its machine may be no more by now.
      if (!isFerryError(error) && !this.gone) this.#options.defect(error);
    });
    return true;
  }

  /** The thread of one of its data channels dies. False if there is none. */
  loseWorker(which: number): boolean {
    return !this.gone && this.#options.wire.data.loseWorker(this.#gate, which);
  }

  /** Its clocks jump ahead. */
  jump(ahead: Duration): void {
    this.#gate.jump(ahead);
  }

  /** Its wall clock is set back. */
  setBack(back: Duration): void {
    this.#gate.setBack(back);
  }

  /** As a process that is asked to end: in good order, unless that takes too long. */
  async quit(): Promise<void> {
    const grace = this.#gate.sleep(milliseconds(QUIT_GRACE_MS));
    await this.#orKilled(Promise.race([this.controller.destroy().catch(this.#options.defect), grace]));
    this.kill();
  }

  /** Of a process that is gone nothing is heard any more: who waits for something of it has to look elsewhere. */
  #orKilled<T>(work: Promise<T>): Promise<T | undefined> {
    return Promise.race([work, this.killed]);
  }

  /** `SIGKILL`: nothing of it ever runs again, and what it had open is closed for it. */
  kill(): void {
    if (this.gone) return;
    const { world, wire, network } = this.#options;
    world.trace.note(world.scheduler.now(), `${this.side}: gone`);
    this.#gate.shut();
    this.#ended();
    wire.lose(this.side, this.#gate);
    for (const [name, machine] of this.#machines) {
      network.unplug(name);
      void machine.destroy();
    }
  }

  /** Ends it in good order. */
  async close(): Promise<void> {
    if (!this.gone) await this.controller.destroy();
    for (const machine of this.#machines.values()) {
      await machine.destroy();
      this.#options.memories.give(machine.memory);
    }
  }

  #makers(): Machines {
    const { booted, takesOver } = this.#options;
    return {
      boot: async (events) => {
        const machine = this.#make(events, booted.ram.length);
        await takeBooted(machine, booted);
        return guestMachine(machine);
      },
      await: async (events) => {
        let made: Machine;
        const awaiting = awaitingMachine(() => {
          made = this.#make(events, 0);
          return made;
        });
        const takeOver = (how: 'run' | 'hold') => async (): Promise<void> => {
          await takesOver(made);
          await awaiting[how]();
        };
        return Object.create(awaiting, {
          run: { value: takeOver('run') },
          hold: { value: takeOver('hold') },
        }) as AwaitingMachine;
      },
    };
  }

  /** A machine whose RAM up to `writtenBytes` is about to be written. */
  #make(events: GuestEvents, writtenBytes: number): Machine {
    const { world, network, memories, ran, booted } = this.#options;
    const { ramBytes, vcpus, nic } = booted.shape;
    const name = `${this.side}${this.#machines.size}`;
    const machine = simulatedMachine({ ...world, scheduler: this.#gate }, network, name, {
      ramBytes,
      vcpus,
      memory: memories.take(ramBytes, writtenBytes),
      nic: { ...nic, ...this.#nic },
      process: this.#gate,
      answerNs: () => this.#random.below(ANSWER_NS_MAX),
      wallNow: () => this.#gate.wallNow(),
    });
    this.#machines.set(name, machine);
    let runs = false;
    machine.on((event) => {
      if (event.kind === 'state' && runs !== (event.state === 'running')) {
        runs = event.state === 'running';
        ran(runs);
      }
      if (!this.gone) forward(event, events);
    });
    return machine;
  }
}
