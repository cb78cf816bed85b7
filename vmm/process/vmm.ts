/**
 * A VMM as a process: puts machine, links, monitors and console together, and ends in good order.
 */
import { Socket } from 'node:net';
import { type FerryError, isFerryError } from '../../base/errors.js';
import { SERIAL_PORTS } from '../../devices/serial/registers.js';
import type { DestinationState, SourceState } from '../../migration/states.js';
import { vmmCommands } from '../monitor/commands.js';
import { MonitorListener, serveClient } from '../monitor/listener.js';
import { Monitor } from '../monitor/monitor.js';
import type { RunState } from '../monitor/run-state.js';
import { formatSocketAddress } from '../sockets/address.js';
import { realTime } from '../threads/real-time.js';
import { VERSION } from '../version.js';
import { AgentListener } from './agent-listener.js';
import { ConsoleLog } from './console-log.js';
import { ConsoleOutput } from './console-output.js';
import { Controller, QUIT_GRACE_MS } from './controller.js';
import { migrationMoved } from './engine.js';
import { SocketLinks } from './links.js';
import { ThreadMachines } from './machines.js';
import { settle, type VmmSettings } from './options.js';
import { type MigrationAt, OwnerFile } from './owner-file.js';
import { reportOf } from './report.js';

export interface VmmManner {
  /** Tell people on standard error what happens. */
  readonly notices: boolean;
  /**
   * File descriptor of a socket whose other end is a monitor client that this process belongs to: the guest starts
   * when that client has negotiated, and the process ends when it is gone.
   */
  readonly ownerFd?: number;
}

/** How the process ends: with a status, or with an error that brings its own. */
type End =
  | { readonly exitStatus: number; readonly reason: 'host-qmp-quit' | 'host-signal' }
  | { readonly error: unknown };

/** Exit status of a process that a signal ended, as shells count. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

function versionTriple(): { major: number; minor: number; micro: number } {
  const [major, minor, micro] = VERSION.split('.').map(Number);
  return { major, minor, micro };
}

/** What people are told of a new state; of the one in which a guest may come, when the address is known. */
const NOTICES: Readonly<Record<RunState, (vm: Controller, before: RunState) => string | undefined>> = {
  prelaunch: () => 'the guest is loaded',
  running: (vm, before) =>
    `the guest ${vm.guestName} runs${before === 'inmigrate' ? `; it came from ${vm.otherSide}` : ''}`,
  paused: () => 'the guest is stopped',
  inmigrate: () => undefined,
  'finish-migrate': () => 'the guest is stopped to be moved',
  postmigrate: (vm) =>
    `the guest ${vm.guestName} has moved to ${vm.otherSide}; \`quit\` ends this VMM, ` +
    '`migrate-incoming` lets a guest come back',
  'guest-panicked': () => 'the guest crashed',
  shutdown: () => 'the guest switched its machine off',
  'internal-error': () => 'the machine failed',
};

/**
 * Runs a VMM until it is ended, and resolves with the exit status; errors have been printed by then. Takes over the
 * process's signals and its handlers for defects.
 */
export async function runVmm(options: unknown, manner: VmmManner): Promise<number> {
  let finish = (_end: End): void => {};
  const ended = new Promise<End>((resolve) => {
    finish = resolve;
  });
  const fail = (error: unknown): void => finish({ error });
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  for (const [signal, exitStatus] of Object.entries(SIGNALS)) {
    process.once(signal, () => finish({ exitStatus, reason: 'host-signal' }));
  }
  // Whoever read our notices may have gone; that ends nothing.
  process.stderr.on('error', () => {});
  // Promises alone keep no process alive.
  const alive = setInterval(() => {}, 2 ** 30);

  let json = (options as { json?: unknown } | null)?.json === true;
  let vmm: Vmm | undefined;
  try {
    const settings = settle(options, manner.ownerFd !== undefined);
    json = settings.json;
    vmm = new Vmm(settings, manner, finish);
    // Not awaited before `ended`: a signal ends a VMM that is still starting, too.
    vmm.start().catch(fail);
  } catch (error) {
    fail(error);
  }

  const end = await ended;
  await vmm?.close(end);
  clearInterval(alive);
  const error = vmm?.unwritten;
  const last = error !== undefined && 'exitStatus' in end && end.exitStatus === 0 ? { error } : end;
  let exitStatus: number;
  if ('error' in last) {
    const report = reportOf(last.error, json);
    // Whoever reads notices has heard of what could not be written.
    if (last === end || !manner.notices) process.stderr.write(report.text);
    exitStatus = report.exitStatus;
  } else {
    exitStatus = last.exitStatus;
  }
  // Should a thread refuse to end, the process ends all the same.
  setTimeout(() => process.exit(exitStatus), 500).unref();
  return exitStatus;
}

/** The serial port that the socket of `--agent` leads to. */
const [AGENT_PORT] = SERIAL_PORTS;

/** Between two notices of connections that were turned away. */
const TURNED_AWAY_EVERY_MS = 1000;

class Vmm {
  readonly #settings: VmmSettings;
  readonly #manner: VmmManner;
  readonly #finish: (end: End) => void;
  readonly #controller: Controller;
  readonly #monitor: Monitor;
  readonly #console: ConsoleLog;
  readonly #output: ConsoleOutput;
  readonly #listeners: MonitorListener[] = [];
  /** Sockets for clients, by the names that QEMU has for such, each with what hangs up on these. */
  readonly #chardevs = new Map<string, () => void>();
  #agent: AgentListener | undefined;
  #ownerFile: OwnerFile | undefined;
  #owner: Socket | undefined;
  #unwritten: FerryError | undefined;
  /** As people were told last. */
  #state: RunState;
  #turnedAwayToldAt = Number.NEGATIVE_INFINITY;
  #turnedAwayUntold = 0;

  constructor(settings: VmmSettings, manner: VmmManner, finish: (end: End) => void) {
    this.#settings = settings;
    this.#manner = manner;
    this.#finish = finish;
    this.#state = settings.incoming === undefined ? 'prelaunch' : 'inmigrate';
    this.#output = new ConsoleOutput({
      where: settings.console,
      json: settings.json && manner.ownerFd === undefined,
      cut: (error) => this.#outputFailed(error),
    });
    this.#console = new ConsoleLog(
      (lines, dropped) => {
        this.#output.write(lines, dropped);
        this.#monitor.emit('X_FERRY_CONSOLE', { lines, dropped });
      },
      () => performance.now(),
      (flush) => setImmediate(flush),
    );
    this.#controller = new Controller(
      {
        name: settings.name,
        paused: settings.paused,
        machines: new ThreadMachines(settings),
        links: new SocketLinks(settings.recordTo, settings.insecure),
        console: this.#console,
        clock: realTime,
        chardevs: this.#chardevs,
        emit: (name, data) => this.#monitor.emit(name, data),
        onQuit: () => finish({ exitStatus: 0, reason: 'host-qmp-quit' }),
        onState: (state, why) => this.#stateChanged(state, why),
        onWaiting: (address) => this.#notice(`waiting for a guest at ${formatSocketAddress(address)}`),
        onIncomingFailed: (error, exitOnError) => this.#incomingFailed(error, exitOnError),
        onTurnedAway: (reason, from) => this.#turnedAway(reason, from),
        onInquiry: (otherSide) =>
          this.#notice(
            `the commit was not answered: asking ${otherSide} whether the guest runs there; \`migrate_cancel\` ends the asking`,
          ),
        onOutgoingFailed: ({ message, advice }, guest) =>
          this.#notice(`${guest === 'unknown' ? '' : 'the guest was not moved: '}${message}\n  ${advice}`),
        onMigrationState: (state) => this.#migrationMoved(state),
        onOutputCut: (error) => this.#outputFailed(error),
        onDefect: (error) => finish({ error }),
      },
      this.#state,
    );
    this.#monitor = new Monitor(
      vmmCommands({
        vm: this.#controller,
        version: { qemu: versionTriple(), package: `vf-ferry ${VERSION}` },
      }),
      () => performance.timeOrigin + performance.now(),
      (error) => finish({ error }),
      (flush) => setImmediate(flush),
    );
  }

  /** Opens the monitors, loads the guest or waits for one, and lets it run. Throws FerryErrors. */
  async start(): Promise<void> {
    const { incoming, monitors, agent, approaches, ownerFile, tlsCreds } = this.#settings;
    if (ownerFile !== undefined) {
      this.#ownerFile = new OwnerFile(ownerFile, incoming === undefined, (error) =>
        this.#notice(error.message),
      );
    }
    // Clients may connect and ask at once; they are answered when there is a machine to ask about.
    let ready = (): void => {};
    const machineIsThere = new Promise<void>((resolve) => {
      ready = resolve;
    });
    this.#monitor.inTurn(() => machineIsThere);
    await this.#controller.setParameters({ ...approaches, ...(tlsCreds === undefined ? {} : { tlsCreds }) });
    const clients = [this.#serveOwner()];
    for (const { address, wait } of monitors) {
      const listener = await MonitorListener.open(this.#monitor, address);
      this.#chardevs.set(`compat_monitor${this.#listeners.length}`, () => listener.hangUp());
      this.#listeners.push(listener);
      this.#notice(`monitor at ${listener.address}`);
      if (wait) clients.push(listener.firstClient);
    }
    if (agent !== undefined) {
      const listener = await AgentListener.open(agent);
      this.#agent = listener;
      this.#chardevs.set('agent', () => listener.hangUp());
      this.#notice(`guest agent at ${listener.address}`);
    }
    if (incoming === undefined) {
      await this.#controller.boot();
    } else if (incoming !== 'defer') {
      await this.#controller.migrateIncoming(incoming);
    }
    ready();
    await Promise.all(clients);
    if (incoming === undefined) await this.#controller.begin();
  }

  /** What went wrong first with a file that the user asked for. */
  get unwritten(): FerryError | undefined {
    return this.#unwritten;
  }

  /** Ends everything in good order, or after the grace time. */
  async close(end: End): Promise<void> {
    if (!('error' in end)) this.#monitor.emit('SHUTDOWN', { guest: false, reason: end.reason });
    await this.#dumpPci();
    const grace = new Promise((resolve) => setTimeout(resolve, QUIT_GRACE_MS).unref());
    await Promise.race([this.#controller.destroy(), grace]);
    this.#console.flush();
    this.#monitor.flush();
    this.#output.close();
    this.#agent?.close();
    this.#ownerFile?.close();
    await Promise.all(this.#listeners.map((listener) => listener.close(200)));
    const owner = this.#owner;
    if (owner !== undefined && !owner.destroyed) {
      await Promise.race([new Promise<void>((resolve) => owner.end(() => resolve())), grace]);
      owner.destroy();
    }
  }

  async #dumpPci(): Promise<void> {
    const { pciDump } = this.#settings;
    if (pciDump === undefined) return;
    // The process ends in any case, and says what it could not do.
    await this.#controller.dumpPci(pciDump).catch((error: Error) => {
      // A machine that never came has nothing to show.
      if (isFerryError(error)) this.#outputFailed(error);
      else this.#notice(error.message);
    });
  }

  #migrationMoved(state: SourceState | DestinationState): void {
    migrationMoved(state);
    if (this.#ownerFile === undefined) return;
    const { otherSide } = this.#controller;
    const record = this.#controller.migrationRecord();
    // Nothing is known of it, and nothing promised, before it has a record.
    if (record === undefined) return;
    const { role, migrationId } = record;
    this.#ownerFile.moved({ role, migrationId, otherSide, state } as MigrationAt);
  }

  /** Resolves when the owner has negotiated; at once if there is none. */
  #serveOwner(): Promise<void> {
    const { ownerFd } = this.#manner;
    if (ownerFd === undefined) return Promise.resolve();
    const socket = new Socket({ fd: ownerFd, readable: true, writable: true });
    this.#owner = socket;
    socket.on('close', () => this.#finish({ exitStatus: 0, reason: 'host-qmp-quit' }));
    return new Promise((resolve) => serveClient(this.#monitor, socket, resolve));
  }

  #stateChanged(state: RunState, why: Error | undefined): void {
    const before = this.#state;
    this.#state = state;
    if (state === 'running') this.#ownerFile?.runs();
    // A client does not follow its guest: it finds the other VMM's socket, and syncs.
    const guestIsHere = state !== 'postmigrate' && state !== 'inmigrate';
    this.#agent?.serve(guestIsHere ? this.#controller.serial(AGENT_PORT) : undefined);
    const answerable = this.#listeners.length > 0 || this.#owner !== undefined;
    // Nobody could look at what is left, or end it; the end says why.
    if (why !== undefined && !answerable) {
      this.#finish({ error: why });
      return;
    }
    const notice = why?.message ?? NOTICES[state](this.#controller, before);
    if (notice !== undefined) this.#notice(notice);
    if (state === 'shutdown' && !answerable) this.#finish({ exitStatus: 0, reason: 'host-qmp-quit' });
  }

  /** Told a few times a minute at most: whoever can connect must not be able to fill a log. */
  #turnedAway(reason: FerryError, from: string): void {
    const now = performance.now();
    if (now - this.#turnedAwayToldAt < TURNED_AWAY_EVERY_MS) {
      this.#turnedAwayUntold++;
      return;
    }
    const more = this.#turnedAwayUntold === 0 ? '' : `, and ${this.#turnedAwayUntold} others before it`;
    this.#turnedAwayToldAt = now;
    this.#turnedAwayUntold = 0;
    this.#notice(`turned away ${from}${more}: ${reason.message}`);
  }

  /** Told at once, and by the exit status at the end. */
  #outputFailed(error: FerryError): void {
    this.#unwritten ??= error;
    this.#notice(`${error.message}\n  ${error.advice}`);
  }

  #incomingFailed(error: FerryError, exitOnError: boolean | undefined): boolean {
    const { incoming } = this.#settings;
    const goesOn = exitOnError === undefined ? incoming === undefined || incoming === 'defer' : !exitOnError;
    if (goesOn) this.#notice(`${error.message}; still waiting for a guest\n  ${error.advice}`);
    else this.#finish({ error });
    return goesOn;
  }

  #notice(text: string): void {
    if (!this.#manner.notices) return;
    process.stderr.write(`${this.#settings.json ? JSON.stringify({ notice: text }) : `ferry: ${text}`}\n`);
  }
}
