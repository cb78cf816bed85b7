/**
 * What the monitor needs of the VM. The controller implements it; tests put something simple in its place.
 */

import type { AnnounceRhythm } from '../../devices/ethernet/announcer.js';
import type { MigrationParameters, ParameterValues } from '../../migration/parameters.js';
import type { RxFilter } from '../passthrough/network-control.js';
import type { PciInfo } from '../passthrough/pci-info.js';
import type { SocketAddress } from '../sockets/address.js';
import type { MigrationStatus } from './protocol.js';
import type { RunState } from './run-state.js';

export interface CpuInfo {
  readonly index: number;
  /** Thread id of the vCPU's worker. */
  readonly threadId: number;
}

/** A translation or interrupt that VT-d blocked. */
export interface IommuFaultInfo {
  /** Requester id, reason code of VT-d chapter 7, address of the page. */
  readonly source: number;
  readonly reason: number;
  readonly address: number;
  readonly write: boolean;
}

/** One of the guest's network devices. */
export interface NicInfo {
  readonly name: string;
  readonly mac: string;
  /** VFIO's device state. */
  readonly state: string;
  readonly link: boolean;
  /** As the function counts them: frames, octets, and frames for which no descriptor was free. */
  readonly counters: Readonly<Record<string, number>>;
  /** Frames that did not reach the guest: it stood still or was off; no descriptor was free; its own that met no cable, or found no room there. */
  readonly drops: {
    readonly stopped: number;
    readonly 'no-descriptor': number;
    readonly malformed: number;
    readonly cable: number;
  };
  readonly 'iommu-faults': { readonly count: number; readonly last: readonly IommuFaultInfo[] };
}

/** The guest's NICs as stations of a network. */
export interface Network {
  /** Of all, or of those of that name; a change after that is told again. */
  rxFilters(name?: string): Promise<readonly RxFilter[]>;
  /** Takes the link of one of them away, or gives it back; false if there is none of that name. */
  setLink(name: string, up: boolean): Promise<boolean>;
  /** Those of these names, or all, tell the network where they are. */
  announce(rhythm: AnnounceRhythm, names?: readonly string[]): Promise<void>;
}

export interface MemoryInfo {
  /** RAM of the machine; 0 while no machine exists (a destination that still waits). */
  readonly ramBytes: number;
  /** Pages below the reserved range: what a migration moves. */
  readonly migratedPages: number;
  readonly pageBytes: number;
  /** Resident set of this process and the highest it ever was, guest RAM included. */
  readonly residentBytes: number;
  readonly residentBytesMax: number;
}

/** An error that a device was made to have, and where that is. */
export interface InjectedErrorInfo {
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
  readonly severity: 'correctable' | 'nonfatal' | 'fatal';
  /** A message went to the root; false if the guest does not want to hear of it. */
  readonly reported: boolean;
}

/** QEMU's MigrationStats. */
export interface MigrationRamInfo {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
  readonly duplicate: number;
  readonly normal: number;
  readonly 'normal-bytes': number;
  readonly 'dirty-pages-rate': number;
  readonly mbps: number;
  readonly 'dirty-sync-count': number;
  readonly 'postcopy-requests': number;
  readonly 'page-size': number;
  readonly 'multifd-bytes': number;
  readonly 'pages-per-second': number;
  readonly 'precopy-bytes': number;
  readonly 'downtime-bytes': number;
  readonly 'postcopy-bytes': number;
  readonly 'dirty-sync-missed-zero-copy': number;
}

/** QEMU's MigrationInfo; all members absent before the first migration. Times in milliseconds. */
export interface MigrationInfo {
  readonly status?: MigrationStatus;
  readonly 'total-time'?: number;
  readonly 'setup-time'?: number;
  readonly 'expected-downtime'?: number;
  readonly downtime?: number;
  readonly 'cpu-throttle-percentage'?: number;
  readonly 'error-desc'?: string;
  /** There only if a migration would be refused. */
  readonly 'blocked-reasons'?: readonly string[];
  readonly ram?: MigrationRamInfo;
  /** QEMU's VfioStats: bytes of the assigned device's state; there only with such a device. */
  readonly vfio?: { readonly transferred: number };
  /** The approaches chosen. */
  readonly 'x-ferry-approaches'?: {
    readonly tracking: string;
    readonly stop: string;
    readonly start: string;
  };
  /** Pages dirtied since tracking began, by who wrote them: vCPUs only, host and devices only, both. */
  readonly 'x-ferry-dirtied'?: { readonly cpu: number; readonly device: number; readonly both: number };
  /** Where this VMM listens for a guest, with the real port. */
  readonly 'socket-address'?: readonly QmpSocketAddress[];
}

export type QmpSocketAddress =
  | { readonly type: 'inet'; readonly host: string; readonly port: string }
  | { readonly type: 'unix'; readonly path: string };

/** What `yank` can cut, in QEMU's words. We have no block nodes. */
export type YankInstance =
  | { readonly type: 'block-node'; readonly 'node-name': string }
  | { readonly type: 'chardev'; readonly id: string }
  | { readonly type: 'migration' };

/** What `calc-dirty-rate` is asked for; milliseconds. */
export interface DirtyRateRequest {
  readonly durationMs: number;
  readonly periodMs: number;
}

/** QEMU's DirtyRateInfo, with what we know besides. */
export interface DirtyRateInfo {
  readonly status: 'unstarted' | 'measuring' | 'measured';
  /** Seconds of this host's monotonic clock. */
  readonly 'start-time': number;
  readonly 'calc-time': number;
  readonly 'calc-time-unit': 'second' | 'millisecond';
  readonly mode: 'dirty-bitmap';
  /** MiB/s, when it is measured. */
  readonly 'dirty-rate'?: number;
  /** The tracking, once it is at work. */
  readonly 'x-ferry-tracking'?: string;
  /** Pages of all harvests, by who wrote them. */
  readonly 'x-ferry-dirtied'?: { readonly cpu: number; readonly device: number; readonly both: number };
  /** How many there were, what they took, and for how long they kept vCPUs from the guest. */
  readonly 'x-ferry-harvests'?: {
    readonly count: number;
    readonly 'time-ns': number;
    readonly 'vcpus-away-ns': number;
  };
  /** Why the last measurement came to nothing. */
  readonly 'error-desc'?: string;
}

/**
 * `switching`: a migration is at its last pages. `undecided`: its commit was never acknowledged. `kept`: it failed, and the
 * machine could not be resumed.
 */
export type Standstill = 'switching' | 'undecided' | 'kept';

/**
 * Commands come one at a time: the monitor starts the next, of any client, when the promise of the one before has
 * settled. A method may throw a FerryError or a QmpError; both become the reply.
 */
export interface VmControl {
  readonly name: string | undefined;
  readonly runState: RunState;
  /** Why the guest stands still in `finish-migrate`; undefined in any other state. */
  readonly standstill: Standstill | undefined;
  cpus(): readonly CpuInfo[];
  memory(): MemoryInfo;
  /** What the host knows of the guest's NIC. Throws a QmpError on a machine without one. */
  nics(): Promise<readonly NicInfo[]>;
  /** Presses the machine's power button: what the guest makes of it is up to the guest. */
  pressPowerButton(): Promise<void>;
  /** Its NICs as stations of a network; undefined on a machine without any, and while none exists. */
  readonly network: Network | undefined;
  /** Asks the guest to let a device go, which then leaves its slot. Throws QmpErrors. */
  deviceDel(id: string): Promise<void>;
  /** Puts a device back into its slot. Throws QmpErrors. */
  deviceAdd(id: string, bus: string | undefined): Promise<void>;
  /** Every PCI function that the guest can see now; none without PCI. */
  pci(): Promise<readonly PciInfo[]>;
  /** Has an assigned device report an error of its own, by QEMU's name for it. Throws QmpErrors. */
  injectError(id: string, error: string): Promise<InjectedErrorInfo>;
  /** Begins to measure how fast guest and devices write; `dirtyRate` tells. Throws QmpErrors. */
  calcDirtyRate(request: DirtyRateRequest): void;
  readonly dirtyRate: DirtyRateInfo;
  /** Writes the configuration space of all PCI functions to `path`, for `lspci -F`. Throws FerryErrors. */
  dumpPci(path: string): Promise<void>;
  /** The last `lines` whole console lines. */
  consoleTail(lines: number): readonly string[];

  stop(): Promise<void>;
  cont(): Promise<void>;
  /** Begins the end of the process; the reply still goes out. */
  quit(): void;

  /** Starts a migration and returns; progress comes by `migration()` and events. */
  migrate(target: SocketAddress): void;
  /** Listens for an incoming migration; resolves when it does. `migration()` then tells the real port. */
  migrateIncoming(address: SocketAddress, exitOnError?: boolean): Promise<void>;
  migrateCancel(): void;
  /** Connections that `yank` can cut now. */
  readonly yankInstances: readonly YankInstance[];
  /** Cuts all of them, or none if one is not there: a QmpError, `DeviceNotFound`. */
  yank(instances: readonly YankInstance[]): void;
  /** Runs a guest again whose commit was never acknowledged. */
  reclaim(): Promise<void>;
  migration(): MigrationInfo;
  /** Why `migrate` would refuse the guest of this VMM, as far as that is known before; none if it would not, or there is none. */
  blockedReasons(): Promise<readonly string[]>;
  /** Everything that was recorded of the last migration; undefined before the first. */
  migrationRecord(): Readonly<Record<string, unknown>> | undefined;
  /** The limits of this VM's migrations; may be changed at any time. */
  readonly parameters: MigrationParameters;
  /** Changes them, all or none. Loads modules (`module:PATH`) that stand where an approach is named. Throws FerryErrors. */
  setParameters(changes: Partial<ParameterValues>): Promise<void>;
  /** Whether MIGRATION and MIGRATION_PASS events are sent. */
  migrationEvents: boolean;
}
