/**
 * What the controller needs of the machine and of the links, so that it can be tested without threads and sockets.
 * `drivers.ts` provides the real ones.
 */
import type { FerryError } from '../../base/errors.js';
import type { InjectedError } from '../../devices/pci/error-names.js';
import type { SerialPortName } from '../../devices/serial/registers.js';
import type { DestinationOptions } from '../../migration/destination-context.js';
import type { MigrationParameters } from '../../migration/parameters.js';
import type { DestinationMachine, MachineDescription, SourceMachine } from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import type { SourceOptions } from '../../migration/source-context.js';
import type { SerialLine } from '../agent/serial-line.js';
import type { CpuInfo, Network } from '../monitor/control.js';
import type { DeviceEvent } from '../passthrough/events.js';
import type { PciInfo } from '../passthrough/pci-info.js';
import type { PassthroughReport } from '../passthrough/report.js';
import type { SocketAddress } from '../sockets/address.js';

/** What a machine tells of its guest. */
export interface GuestEvents {
  /** A whole line that the guest wrote to its console. */
  console(line: string): void;
  /** Lines that the guest wrote faster than they could be taken. */
  consoleDropped(lines: number): void;
  /** What a device of the host's reports by itself. */
  device(event: DeviceEvent): void;
  /** The guest crashed, hung, or reported a panic: it stands still for good. */
  panicked(error: FerryError): void;
  /** The guest switched its machine off, or asked for a reset. */
  poweredOff(reason: 'guest-shutdown' | 'guest-reset'): void;
  /** The machine can't go on: a thread of it failed. */
  broken(error: Error): void;
}

/** A machine with its guest in it; what was booted is paused before its first instruction. */
export interface GuestMachine {
  readonly description: MachineDescription;
  /** As its image has it. */
  readonly guestName: string | undefined;
  /** Its guest leaves by it. */
  readonly outgoing: SourceMachine;
  /** The linear memory behind `ram`, for other threads. */
  readonly memory: WebAssembly.Memory;
  /** Stops every vCPU at a safepoint. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  cpus(): readonly CpuInfo[];
  /** The host's end of a serial port of the guest's. */
  serial(port: SerialPortName): SerialLine;
  /** Presses the power button; false if the guest does not want to hear of it. */
  pressPowerButton(): Promise<boolean>;
  /** What the host knows of each of the guest's network devices. */
  nics(): Promise<readonly PassthroughReport[]>;
  /** Its NICs as stations of a network; undefined without any. */
  readonly network: Network | undefined;
  /** Configuration space of all PCI functions, in the format of `lspci -F`; undefined without any. */
  pciDump(): Promise<string | undefined>;
  /** What the guest has made of its PCI Express; nothing without any. */
  pci(): Promise<readonly PciInfo[]>;
  /** An assigned device has an error; undefined if there is none of that name, or it does not answer. */
  injectError(
    device: string,
    error: string,
  ): Promise<(InjectedError & Pick<PciInfo, 'bus' | 'devfn'>) | undefined>;
  /** Its guest is about to leave, most likely. */
  getReady(): void;
  /** Ends all threads of the machine. Harmless when called twice. */
  destroy(): Promise<void>;
}

/** A machine for a guest to come to. */
export interface AwaitingMachine extends DestinationMachine {
  /** Instead of `run`: takes the guest over without letting it run. */
  hold(): Promise<void>;
  /** The machine, valid after `accept`; its guest is in it after `load`. */
  guest(): GuestMachine;
}

export interface Machines {
  /** Makes a machine and loads the guest's image. Throws FerryErrors for what can't be read, used or allocated. */
  boot(events: GuestEvents): Promise<GuestMachine>;
  /**
   * Prepares for a guest: a machine whose size is known is made at once, any other when it is accepted. Throws FerryErrors
   * for what can't be allocated.
   */
  await(events: GuestEvents): Promise<AwaitingMachine>;
}

/** The flows' options as far as the controller knows them; the links fill in the rest. */
export interface OutgoingOptions
  extends Pick<SourceOptions, 'machine' | 'parameters' | 'observer' | 'signal'> {
  readonly memory: WebAssembly.Memory;
  /** Hears of a file of the stream's recording that ends early, once for each; the migration goes on. */
  readonly recordingCut: (file: string, reason: string) => void;
}
export interface IncomingOptions
  extends Pick<DestinationOptions, 'machine' | 'parameters' | 'observer' | 'signal'> {
  /** Valid after the machine accepted the guest. */
  readonly memory: () => WebAssembly.Memory;
  /** Hears who the source is, once it has introduced itself. */
  readonly introduced: (source: string) => void;
}

/** A connection was turned away for `reason`; `from` names the other end. */
export type TurnedAway = (reason: FerryError, from: string) => void;

/** Waits for sources at an address. */
export interface IncomingListener {
  /** The real address. */
  readonly address: SocketAddress;
  /**
   * Takes the next source that connects and lives through its migration; others that come meanwhile are turned away.
   * Resolves with the record, also of a failure, or with undefined if `close` came first. Rejects for a defect of ours
   * only. If it failed after the promise to run the guest, and the link was lost, it resolves when the source has asked what came
   * of it, or has had its time to.
   */
  next(options: IncomingOptions): Promise<DestinationRecord | undefined>;
  /** Stops listening. */
  close(): void;
}

export interface Links {
  /** A migration like this is asked for shortly, most likely: what it needs of threads starts now. */
  getReady?(parameters: MigrationParameters): void;
  /** Moves the guest to who listens at `target`. Resolves with the record, also of a failure. */
  migrate(target: SocketAddress, options: OutgoingOptions): Promise<MigrationRecord>;
  /**
   * Throws a FerryError if the address can't be had, or the credentials that `parameters` name. `turnedAway` hears of
   * connections that were no source.
   */
  listen(
    address: SocketAddress,
    parameters: MigrationParameters,
    turnedAway: TurnedAway,
  ): Promise<IncomingListener>;
  /** Cuts the connections of every migration under way, in either direction: what waits for the other side fails. */
  cut?(): void;
  /** No migration is asked for any more: what `getReady` made ends. */
  close?(): void;
}
