/**
 * What a migration needs of the world, as interfaces: the machine at either end, and the links between them. `vmm`
 * implements them with threads and sockets; the simulator with one thread and virtual time. Nothing in this folder
 * can tell which.
 */
import type { AtomicBitmap } from '../base/bitmap.js';
import type { DeviceRecord } from '../base/device-record.js';
import type { Duration } from '../base/units.js';

/** What both ends must agree on before a page is sent; compared field by field, each difference is named. */
export interface MachineDescription {
  readonly ramBytes: number;
  readonly vcpus: number;
  /** Pages [0, migratedPages) travel as RAM; the reserved range above does not. */
  readonly migratedPages: number;
  /** Where the image lies in guest RAM, and its content hash (hex): the destination takes its code from there. */
  readonly imageGpa: number;
  readonly imageBytes: number;
  readonly imageHash: string;
  /** Devices in the order their records travel, with the record version each writes. */
  readonly devices: readonly { readonly name: string; readonly version: number }[];
}

/** One vCPU as it travels. Globals are encoded as 8 raw bytes each, in the image's register order. */
export interface VcpuRecord {
  readonly index: number;
  readonly run: 'off' | 'running' | 'halted' | 'crashed';
  readonly registers: Uint8Array;
  /** The unwound call stack: the used bytes of the unwind area. */
  readonly unwind: Uint8Array;
  /** Posted-interrupt requests, 32 bytes. */
  readonly pir: Uint8Array;
  /** Absolute virtual-clock deadline of the one-shot timer in ns, or -1. */
  readonly timerDeadlineNs: number;
}

export interface MachineState {
  readonly vcpus: readonly VcpuRecord[];
  readonly devices: readonly DeviceRecord[];
  /** The virtual clock at the pause, ns since boot. */
  readonly clockNs: number;
}

export interface HarvestReport {
  /** Pages newly set in the target bitmap by CPU stores, and by host writes (device DMA, console). */
  readonly cpuPages: number;
  readonly devicePages: number;
  /** How long each vCPU was away from the guest for this harvest, summed. */
  readonly cost: Duration;
}

export interface SourceMachine {
  readonly description: MachineDescription;
  readonly ram: Uint8Array;
  /** Turns CPU dirty logging on: every store from before this resolves is either logged or already in RAM. */
  startDirtyLog(): Promise<void>;
  stopDirtyLog(): Promise<void>;
  /**
   * Publishes and clears the dirty log into `into` (bits are set, never cleared). A page stored to before this call
   * and after the previous one has its bit set when it resolves.
   */
  harvest(into: AtomicBitmap): Promise<HarvestReport>;
  /** Auto-converge: percent of its time each vCPU is kept from running, 0 to 99. */
  throttle(percent: number): void;
  /** Stops every vCPU at a safepoint, unwound. */
  pause(): Promise<void>;
  /** Continues after `pause`; the virtual clock goes on from where it stood. */
  resume(): Promise<void>;
  /** Only while paused. */
  save(): Promise<MachineState>;
  /** After commit: this side never runs the guest again. */
  relinquish(): void;
}

export interface DestinationMachine {
  /** Refuses (FerryError) a source that this machine can't take over, naming every difference. */
  accept(description: MachineDescription): Promise<void>;
  /** Valid after `accept`. */
  readonly ram: Uint8Array;
  /** Starts workers and compiles the code from the pages that have arrived; idempotent, may fail silently early. */
  prepareCode(): Promise<void>;
  /** Checks the image's hash, restores devices and vCPUs. After it resolves, `run` can't fail for reasons of state. */
  load(state: MachineState): Promise<void>;
  /** State as loaded, read back from the machine itself, for verification. */
  save(): Promise<MachineState>;
  run(): Promise<void>;
  discard(): Promise<void>;
}

/** Ordered, reliable message link; `receive` resolves to undefined after the peer closed in good order. */
export interface ControlLink {
  send(message: Uint8Array): Promise<void>;
  /** One whole message. Rejects with a FerryError when the link breaks or a frame is not well-formed. */
  receive(): Promise<Uint8Array | undefined>;
  close(): void;
}
