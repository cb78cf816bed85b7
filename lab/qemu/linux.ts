/**
 * A Linux in QEMU, driven by its serial console: the guest's init carries out a line at a time, and says how each ended. QEMU
 * itself is driven by QMP over an inherited socket.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { type FerryError, isFerryError } from '../../base/errors.js';
import { afterMs } from '../../vmm/timers.js';
import { labErrors } from '../errors.js';
import { endOf, type ProcessExit, startFailed, watchChild } from '../vmm-client/child.js';
import { QmpClient } from '../vmm-client/qmp-client.js';
import { Qtest } from './qtest.js';
import type { QemuWorld } from './world.js';

export interface LinuxOptions {
  readonly world: QemuWorld;
  readonly memoryMib?: number;
  readonly cpus?: number;
  /** More of QEMU's own options: devices, and what they need. */
  readonly arguments?: readonly string[];
  /** Its guest comes from elsewhere, and stands still when it has come until it is told to go on (`cont`). */
  readonly incoming?: boolean;
  /**
   * Its memory is a file that others can have by descriptor; it is if absent. If not, a device in another process has it by message,
   * and QEMU logs itself what that writes.
   */
  readonly sharedMemory?: boolean;
  /** Slots are ACPI's affair and not the guest's own (pciehp), which they are if absent. */
  readonly acpiSlots?: boolean;
  /** The host may reach ports and memory of the machine (`qtest`). */
  readonly host?: boolean;
}

/** How a command of the guest ended. */
export interface CommandEnd {
  readonly status: number;
  /** Both of its streams, without the last line's end. */
  readonly output: string;
}

const MONITOR_FD = 3;
const CONSOLE_FD = 4;
const HOST_FD = 5;
const START_TIMEOUT_MS = 120_000;
/** TCG on a machine with other work: what takes a second elsewhere may take a minute. */
export const BOOT_PATIENCE_MS = 600_000;
const PATIENCE_MS = 300_000;
const MEMORY_MIB = 384;
const READY = 'guest: ready';
const END = /guest: status (\d+)\n$/;
/** What is shown of the console where something does not come. */
const TAIL_CHARACTERS = 2000;

/** How long QEMU waits for an answer of the function's process before it takes the function for dead; its own 5 s are few on a busy host. */
const ANSWER_MS_MAX = 120_000;

/** What of a function that `ferry nic` serves at `path` is the same for the command line and for `device_add`. */
export const vfDevice = (id: string, path: string, port: string): object => ({
  driver: 'vfio-user-pci',
  id,
  bus: port,
  socket: { type: 'unix', path },
  'x-msg-timeout': ANSWER_MS_MAX,
});

/** A function that `ferry nic` serves at `path`, as the device `id` in a slot of its own. */
export const vfArguments = (id: string, path: string, port: string, more: object = {}): readonly string[] => {
  return ['-device', JSON.stringify({ ...vfDevice(id, path, port), ...more })];
};

/** A slot of PCI Express. */
export const portArguments = (id: string, slot: number): readonly string[] => [
  '-device',
  `pcie-root-port,id=${id},chassis=${slot},slot=${slot}`,
];

export class Linux {
  readonly qmp: QmpClient;
  /** The machine as its host reaches it; undefined unless that was asked for. */
  readonly host: Qtest | undefined;
  readonly exited: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  readonly #console: Socket;
  #said = '';
  #heard: () => void = () => {};

  private constructor(child: ChildProcess, qmp: QmpClient, exited: Promise<ProcessExit>) {
    this.#child = child;
    this.qmp = qmp;
    this.exited = exited;
    const all: readonly unknown[] = child.stdio;
    const host = all[HOST_FD] as Socket | undefined;
    this.host = host === undefined ? undefined : new Qtest(host);
    this.#console = child.stdio[CONSOLE_FD] as Socket;
    this.#console.setEncoding('utf8');
    this.#console.on('error', () => {});
    this.#console.on('data', (text: string) => {
      this.#said += text.replaceAll('\r', '');
      this.#heard();
    });
  }

  /** Starts QEMU. Rejects with `lab/process-died` and what it said, or `lab/process-silent`. */
  static async start(options: LinuxOptions): Promise<Linux> {
    const { world, memoryMib = MEMORY_MIB, cpus = 1, incoming = false } = options;
    const { sharedMemory = true, acpiSlots = false, host = false } = options;
    const memory = sharedMemory
      ? `memory-backend-memfd,id=ram,size=${memoryMib}M,share=on`
      : `memory-backend-ram,id=ram,size=${memoryMib}M`;
    const child = spawn(
      world.emulator,
      [
        ...['-machine', 'q35,accel=tcg,memory-backend=ram', '-cpu', 'max', '-smp', String(cpus)],
        ...['-m', `${memoryMib}M`, '-object', memory],
        ...['-nodefaults', '-no-user-config', '-display', 'none'],
        // However its spawner ends.
        ...['-run-with', 'exit-with-parent=on'],
        ...['-global', `ICH9-LPC.acpi-pci-hotplug-with-bridge-support=${acpiSlots ? 'on' : 'off'}`],
        ...['-chardev', `socket,id=monitor,fd=${MONITOR_FD}`, '-mon', 'chardev=monitor,mode=control'],
        ...['-chardev', `socket,id=console,fd=${CONSOLE_FD}`, '-serial', 'chardev:console'],
        ...(host
          ? ['-chardev', `socket,id=host,fd=${HOST_FD}`, '-object', 'qtest,id=host0,chardev=host,log=none']
          : []),
        ...['-kernel', world.kernel, '-initrd', world.initramfs],
        // Watchdogs of the kernel tell of a busy host, not of the guest.
        ...['-append', 'console=ttyS0 quiet panic=-1 nowatchdog rcupdate.rcu_cpu_stall_suppress=1'],
        ...(options.arguments ?? []),
        ...(incoming ? ['-incoming', 'defer', '-S'] : []),
      ],
      { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', ...(host ? (['pipe'] as const) : [])] },
    );
    const exited = watchChild(child, 'QEMU');
    try {
      const qmp = await QmpClient.over(child.stdio[MONITOR_FD] as Socket, `process ${child.pid ?? 0}`, {
        timeoutMs: START_TIMEOUT_MS,
      });
      return new Linux(child, qmp, exited);
    } catch (error) {
      throw await startFailed(child, 'QEMU', exited, error, START_TIMEOUT_MS);
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Has QEMU's monitor carry out a command. Rejects as that refuses, with `lab/timeout`, or with how QEMU ended. */
  async command(
    name: string,
    args?: Readonly<Record<string, unknown>>,
    patienceMs = PATIENCE_MS,
  ): Promise<unknown> {
    let cancel = (): void => {};
    const over = new Promise<never>((_, reject) => {
      const what = `an answer of QEMU to '${name}'`;
      cancel = afterMs(patienceMs, () => reject(labErrors.error('timeout', { what, waitedMs: patienceMs })));
    });
    try {
      return await Promise.race([this.qmp.execute(name, args), over]);
    } catch (error) {
      throw await this.reasonOf(error);
    } finally {
      cancel();
    }
  }

  /** A command of the monitor for people. Rejects as `command` does. */
  async humanCommand(line: string): Promise<string> {
    return String(await this.command('human-monitor-command', { 'command-line': line }));
  }

  /** Resolves when the guest takes commands. */
  async booted(): Promise<void> {
    await this.#hears('the start of Linux', (said) => said.includes(READY) || undefined, BOOT_PATIENCE_MS);
    this.#said = '';
  }

  /** Carries out a line of shell in the guest. Rejects with `lab/timeout`, or with how QEMU ended. */
  async run(line: string, patienceMs = PATIENCE_MS): Promise<CommandEnd> {
    this.#said = '';
    this.#console.write(`${line}\n`);
    const [end, status] = await this.#hears(`'${line}'`, (said) => END.exec(said) ?? undefined, patienceMs);
    const output = this.#said.slice(0, -end!.length).replace(/\n$/, '');
    return { status: Number(status), output };
  }

  /** As `run`; rejects with `lab/guest-failed` if it ends with another status than 0. */
  async sh(line: string, patienceMs?: number): Promise<string> {
    const { status, output } = await this.run(line, patienceMs);
    if (status !== 0) throw labErrors.error('guest-failed', { line, status, output });
    return output;
  }

  /** Tries again and again until `line` ends with status 0, for so many seconds of the guest itself; resolves with what it said then. */
  async until(line: string, seconds = 120): Promise<string> {
    const now = '$(cut -d. -f1 /proc/uptime)';
    return this.sh(
      `end=$((${now}+${seconds})); until { ${line}; } >until.out 2>&1; do [ ${now} -gt $end ] && break; sleep 0.2; done; cat until.out; [ ${now} -le $end ]`,
      BOOT_PATIENCE_MS,
    );
  }

  /** What the kernel has said since this was last asked, lines as `<level>[time] text`. */
  async kernelLog(): Promise<readonly string[]> {
    const text = await this.sh('dmesg -c -r');
    return text.split('\n').filter((line) => line !== '');
  }

  /** Resolves with why, when QEMU has ended. */
  get ended(): Promise<FerryError> {
    return this.exited.then((exit) => endOf(this.#child, 'QEMU', exit));
  }

  /** What is behind an error of its monitor: how QEMU ended, where that is why. */
  async reasonOf(error: unknown): Promise<unknown> {
    if (!isFerryError(error, 'lab/monitor-lost')) return error;
    return this.ended;
  }

  kill(): void {
    this.qmp.close();
    this.#child.kill('SIGKILL');
  }

  /** Resolves with what `look` makes of all that the console has said, as soon as it makes something of it. */
  async #hears<T>(what: string, look: (said: string) => T | undefined, patienceMs: number): Promise<T> {
    let over = false;
    let ended: ProcessExit | undefined;
    const cancel = afterMs(patienceMs, () => {
      over = true;
      this.#heard();
    });
    void this.exited.then((exit) => {
      ended = exit;
      this.#heard();
    });
    try {
      for (;;) {
        const found = look(this.#said);
        if (found !== undefined) return found;
        if (ended !== undefined) throw endOf(this.#child, 'QEMU', ended);
        if (over) {
          const tail = this.#said.slice(-TAIL_CHARACTERS);
          throw labErrors.error('timeout', { what: `${what} (console: ${tail})`, waitedMs: patienceMs });
        }
        await new Promise<void>((resolve) => {
          this.#heard = resolve;
        });
      }
    } finally {
      cancel();
    }
  }
}
