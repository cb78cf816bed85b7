/** What the monitor asks of the guest that is here, and of its machine, whatever becomes of them. */
import { invariant } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';
import type { SerialPortName } from '../../devices/serial/registers.js';
import type { SerialLine } from '../agent/serial-line.js';
import { vmmErrors } from '../errors.js';
import type { CpuInfo, InjectedErrorInfo, MemoryInfo, Network, NicInfo } from '../monitor/control.js';
import { QmpError } from '../monitor/protocol.js';
import type { RunState } from '../monitor/run-state.js';
import type { PciInfo } from '../passthrough/pci-info.js';
import { reasonOf } from '../sockets/listening.js';
import type { ConsoleLog } from './console-log.js';
import type { Tellers } from './guest-events.js';
import { nicInfo } from './nic-info.js';
import { writeOutput } from './output-file.js';
import type { GuestMachine } from './ports.js';

export interface GuestControlOptions extends Tellers {
  readonly name: string | undefined;
  readonly console: ConsoleLog;
}

export abstract class GuestControl {
  readonly name: string | undefined;
  protected machine: GuestMachine | undefined;
  readonly #options: GuestControlOptions;

  constructor(options: GuestControlOptions) {
    this.name = options.name;
    this.#options = options;
  }

  abstract get runState(): RunState;

  /** As this VMM was told to call its guest, or else as the image has it; empty without a guest. */
  get guestName(): string {
    return this.name ?? this.machine?.guestName ?? '';
  }

  /** The host's end of a serial port of the guest that is here. */
  serial(port: SerialPortName): SerialLine | undefined {
    return this.machine?.serial(port);
  }

  cpus(): readonly CpuInfo[] {
    return this.machine?.cpus() ?? [];
  }

  memory(): MemoryInfo {
    const { rss } = process.memoryUsage();
    return {
      ramBytes: this.machine?.description.ramBytes ?? 0,
      migratedPages: this.machine?.description.migratedPages ?? 0,
      pageBytes: PAGE_BYTES,
      residentBytes: rss,
      residentBytesMax: Math.max(rss, process.resourceUsage().maxRSS * 1024),
    };
  }

  async nics(): Promise<readonly NicInfo[]> {
    const reports = (await this.machine?.nics()) ?? [];
    if (reports.length === 0) throw noNic();
    return reports.map(nicInfo);
  }

  async pressPowerButton(): Promise<void> {
    const machine = this.theMachine();
    this.#options.emit('POWERDOWN', {});
    await machine.pressPowerButton();
  }

  get network(): Network | undefined {
    return this.machine?.network;
  }

  async pci(): Promise<readonly PciInfo[]> {
    return (await this.machine?.pci()) ?? [];
  }

  async injectError(id: string, error: string): Promise<InjectedErrorInfo> {
    const injected = await this.theMachine().injectError(id, error);
    if (injected === undefined) {
      throw new QmpError(`Device '${id.slice(0, 64)}' not found, or not at work`, 'DeviceNotFound');
    }
    const { bus, devfn, severity, reported } = injected;
    return { bus, slot: devfn >>> 3, function: devfn & 7, severity, reported };
  }

  async dumpPci(path: string): Promise<void> {
    const pci = await this.machine?.pciDump();
    if (pci === undefined) throw noNic();
    try {
      await writeOutput(path, pci);
    } catch (error) {
      throw vmmErrors.error('dump-failed', { path, reason: reasonOf(error) }, error);
    }
  }

  consoleTail(lines: number): readonly string[] {
    return this.#options.console.tail(lines);
  }

  protected theMachine(): GuestMachine {
    invariant(this.machine !== undefined, `no machine in state ${this.runState}`);
    return this.machine;
  }
}

const noNic = (): QmpError => new QmpError('This machine has no NIC', 'DeviceNotFound');
