/**
 * What a VMM process is started with. `ferry vmm` makes it from its command line, `spawnVmm` from its caller's
 * options; it crosses to a spawned process as JSON, and is judged again there.
 */
import { EFFORTS } from '../../migration/approach.js';
import { vmmErrors } from '../errors.js';
import { type MonitorAddress, parseMonitorAddress } from '../monitor/monitor-address.js';
import { DEVICE_KINDS, IOMMU_LEAVES, IOMMU_STAGES, type NicOptions } from '../passthrough/records.js';
import { parseSocketAddress, type SocketAddress } from '../sockets/address.js';
import type { ApproachWords } from './approach-modules.js';
import { DEFAULT_MAC, NIC_KINDS, type NicKind, nicChoiceOf, stationsOf } from './nic-options.js';

export interface VmmOptions {
  /** Path of the guest's image; absent if the guest comes by migration. */
  readonly guest?: string;
  /** Guest RAM in bytes. With `incoming`, absent means: as much as the guest has. */
  readonly memoryBytes?: number;
  /** Touch all of guest RAM before the guest starts, or may come: its first writes, and an arrival's first round, are faster. */
  readonly prealloc?: boolean;
  /** vCPUs. With `incoming`, absent means: as many as the guest has. */
  readonly vcpus?: number;
  /** Kernel command line. */
  readonly append?: string;
  /** Addresses of monitors, as `--monitor` takes them. */
  readonly monitors?: readonly string[];
  /** Where a client of the guest's agent may connect, `unix:PATH` or `tcp:HOST:PORT`: one at a time. */
  readonly agent?: string;
  /** Where to wait for a guest, or `defer`: a monitor will say where with `migrate-incoming`. */
  readonly incoming?: string;
  /** Name for people. */
  readonly name?: string;
  /** Seed of the guest's own random numbers; 1 if absent. */
  readonly seed?: number;
  /** Where console output goes besides the monitors: `stdio`, `none` (if absent), or `file:PATH`. */
  readonly console?: string;
  /** Load the guest but don't start it; of a guest that comes: leave it stopped. */
  readonly paused?: boolean;
  /** Directory of TLS credentials, laid out as QEMU's are: guests come and go under TLS alone. */
  readonly tlsCreds?: string;
  /** Let guests come from and go to other hosts without TLS. */
  readonly insecure?: boolean;
  /** Folder that gets a copy of every byte of the stream when the guest is moved away, for `ferry inspect`. */
  readonly recordTo?: string;
  /** File in which the VMM keeps who has the guest, before it acts on it. */
  readonly ownerFile?: string;
  /**
   * The guest's NIC: a virtual function of the host's 82599 (`vf`), N of them (`vf=N`), a virtio-net device (`virtio`), or
   * `none` (if absent). Properties of the functions may follow, as in `vf,enable-migration=off`.
   */
  readonly nic?: NicKind;
  /** A device of another kind that the guest is given as well: `edu`, a DMA engine. */
  readonly device?: string;
  /**
   * Station addresses of those functions, with commas between them; `52:54:00:12:34:56` if absent. Functions for which
   * there is none have each the one after the last.
   */
  readonly mac?: string;
  /** Where the NIC's cable is plugged in, a `ferry fabric` or what else speaks QEMU's `-netdev stream`; it has none if absent. */
  readonly netdev?: string;
  /** How VT-d maps guest RAM: `small` (if absent), `huge` or `demote`. */
  readonly iommuLeaves?: string;
  /** Of which of VT-d's tables the dirty bits are read: `second` (if absent) or `first`. */
  readonly iommuStage?: string;
  /** Approaches by name, or `module:PATH`: what a guest leaves with, and of modules also what one may come with. */
  readonly tracking?: string;
  readonly stop?: string;
  readonly start?: string;
  /** File that gets the configuration space of all PCI functions at the end, for `lspci -F`. */
  readonly pciDump?: string;
  /** Errors as JSON on standard error. */
  readonly json?: boolean;
}

/** The same, judged, with everything parsed. */
export interface VmmSettings {
  readonly guest: string | undefined;
  readonly memoryBytes: number | undefined;
  readonly prealloc: boolean;
  readonly vcpus: number | undefined;
  readonly append: string;
  readonly monitors: readonly MonitorAddress[];
  readonly agent: SocketAddress | undefined;
  readonly incoming: SocketAddress | 'defer' | undefined;
  readonly name: string | undefined;
  readonly seed: number;
  readonly console: { readonly kind: 'stdio' | 'none' } | { readonly kind: 'file'; readonly path: string };
  readonly paused: boolean;
  readonly tlsCreds: string | undefined;
  readonly insecure: boolean;
  readonly recordTo: string | undefined;
  readonly ownerFile: string | undefined;
  /** Undefined without a NIC. */
  readonly nic: NicOptions | undefined;
  readonly netdev: SocketAddress | undefined;
  readonly approaches: ApproachWords;
  readonly pciDump: string | undefined;
  readonly json: boolean;
}

export const DEFAULT_MEMORY_BYTES = 256 * 1024 * 1024;

const KINDS = {
  guest: 'string',
  memoryBytes: 'number',
  prealloc: 'boolean',
  vcpus: 'number',
  append: 'string',
  monitors: 'strings',
  agent: 'string',
  incoming: 'string',
  name: 'string',
  seed: 'number',
  console: 'string',
  paused: 'boolean',
  tlsCreds: 'string',
  insecure: 'boolean',
  recordTo: 'string',
  ownerFile: 'string',
  nic: 'string',
  device: 'string',
  mac: 'string',
  netdev: 'string',
  iommuLeaves: 'string',
  iommuStage: 'string',
  tracking: 'string',
  stop: 'string',
  start: 'string',
  pciDump: 'string',
  json: 'boolean',
} as const satisfies Record<keyof VmmOptions, string>;

const NIC_FLAGS = [
  ['mac', '--mac'],
  ['netdev', '--netdev'],
] as const;

const DEVICE_FLAGS = [
  ['iommuLeaves', '--iommu-leaves'],
  ['iommuStage', '--iommu-stage'],
  ['tracking', '--tracking'],
  ['stop', '--stop'],
  ['start', '--start'],
  ['pciDump', '--pci-dump'],
] as const;

/** What contradicts what, or is missing, in a sentence; undefined if nothing does. */
export function conflictOf(options: VmmOptions): string | undefined {
  if (options.guest === undefined && options.incoming === undefined) {
    return 'nothing to run: give --guest IMAGE, or --incoming ADDRESS to wait for a guest';
  }
  if (options.guest !== undefined && options.incoming !== undefined) {
    return '--guest and --incoming contradict each other: a guest that comes brings its image along';
  }
  if (options.incoming !== undefined && options.append !== undefined) {
    return '--append and --incoming contradict each other: a guest that comes has been started already';
  }
  if (options.incoming !== undefined && options.seed !== undefined) {
    return '--seed and --incoming contradict each other: a guest that comes has its seed already';
  }
  if (options.prealloc === true && options.incoming !== undefined && options.memoryBytes === undefined) {
    return '--prealloc and --incoming need --memory: how much a guest brings along is not known before it comes';
  }
  if ((options.nic ?? 'none') === 'none') {
    for (const [name, flag] of NIC_FLAGS) {
      if (options[name] !== undefined) return `${flag} is of no use without --nic vf or virtio`;
    }
    for (const [name, flag] of options.device === undefined ? DEVICE_FLAGS : []) {
      if (options[name] !== undefined)
        return `${flag} is of no use without --nic vf or virtio, or another --device`;
    }
  }
  if (options.paused === true && options.guest !== undefined && (options.monitors ?? []).length === 0) {
    return '--paused needs a --monitor, over which to let the guest run';
  }
  if (options.incoming === 'defer' && (options.monitors ?? []).length === 0) {
    return '--incoming defer needs a --monitor, over which to say where to listen';
  }
  return undefined;
}

/**
 * Judges options from anywhere. Throws `vmm/options` for a contradiction or what is no option, `vmm/bad-address` for
 * an address. `hasOwnMonitor`: the caller drives a monitor that is not among the addresses.
 */
export function settle(given: unknown, hasOwnMonitor: boolean): VmmSettings {
  const refuse = (why: string): Error => vmmErrors.error('options', { why });
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw refuse('they are no object');
  }
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(KINDS, name)) throw refuse(`there is no option '${name.slice(0, 40)}'`);
    const kind = KINDS[name as keyof VmmOptions];
    const right =
      kind === 'strings'
        ? Array.isArray(value) && value.every((item) => typeof item === 'string')
        : value === undefined || typeof value === kind;
    if (!right) throw refuse(`'${name}' must be ${kind === 'strings' ? 'a list of strings' : `a ${kind}`}`);
  }
  const options = given as VmmOptions;
  const conflict = conflictOf(
    hasOwnMonitor ? { ...options, monitors: ['unix:own', ...(options.monitors ?? [])] } : options,
  );
  if (conflict !== undefined) throw refuse(conflict);
  const seed = options.seed ?? 1;
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffff_ffff) {
    throw refuse(`seed ${seed} is no whole number from 0 to 4294967295`);
  }
  return {
    guest: options.guest,
    memoryBytes: options.memoryBytes ?? (options.incoming === undefined ? DEFAULT_MEMORY_BYTES : undefined),
    prealloc: options.prealloc ?? false,
    vcpus: options.vcpus ?? (options.incoming === undefined ? 1 : undefined),
    append: options.append ?? '',
    monitors: (options.monitors ?? []).map(parseMonitorAddress),
    agent: options.agent === undefined ? undefined : parseSocketAddress(options.agent),
    incoming:
      options.incoming === undefined || options.incoming === 'defer'
        ? options.incoming
        : parseSocketAddress(options.incoming),
    name: options.name,
    seed,
    console: consoleOf(options.console ?? 'none'),
    paused: options.paused ?? false,
    tlsCreds: options.tlsCreds,
    insecure: options.insecure ?? false,
    recordTo: options.recordTo,
    ownerFile: options.ownerFile,
    nic: nicOf(options, refuse),
    netdev: netdevOf(options),
    approaches: Object.fromEntries(
      EFFORTS.map((effort) => [effort, options[effort]]).filter(([, word]) => word !== undefined),
    ),
    pciDump: options.pciDump,
    json: options.json ?? false,
  };
}

/** The address is judged also where no cable is plugged in. */
function netdevOf({ netdev, nic = 'none' }: VmmOptions): SocketAddress | undefined {
  const address = netdev === undefined ? undefined : parseSocketAddress(netdev);
  return nicChoiceOf(nic)?.link === 'down' ? undefined : address;
}

function nicOf(
  { nic = 'none', device, mac = DEFAULT_MAC, iommuLeaves = 'small', iommuStage = 'second' }: VmmOptions,
  refuse: (why: string) => Error,
): NicOptions | undefined {
  const choice = nicChoiceOf(nic);
  if (choice === undefined) throw refuse(`'${nic.slice(0, 40)}' is no NIC: ${NIC_KINDS}`);
  const known: readonly string[] = DEVICE_KINDS;
  if (device !== undefined && !known.includes(device)) {
    throw refuse(`'${device.slice(0, 40)}' is no device: ${known.join(', ')}`);
  }
  if (choice.functions === 0 && !choice.virtio && device === undefined) return undefined;
  const stations = stationsOf(mac, choice.functions === 0 ? 1 : choice.functions);
  if (typeof stations === 'string') throw refuse(stations);
  const leaves = IOMMU_LEAVES.find((known) => known === iommuLeaves);
  if (leaves === undefined) {
    throw refuse(`'${iommuLeaves.slice(0, 40)}' is no way to map guest RAM: ${IOMMU_LEAVES.join(', ')}`);
  }
  const stage = IOMMU_STAGES.find((known) => known === iommuStage);
  if (stage === undefined) {
    throw refuse(`'${iommuStage.slice(0, 40)}' is no stage of VT-d's tables: ${IOMMU_STAGES.join(', ')}`);
  }
  const [revision, vectors, queues] = [choice.revision, choice.vectors, choice.queues].map(Number);
  const offer = { revision: revision!, vectors: vectors!, queues: queues! };
  const macs = choice.functions === 0 ? [] : stations;
  const standby = choice.failover === 'on';
  const virtio = choice.virtio || standby ? stations.map((station) => ({ mac: station, standby })) : [];
  const vfioMigration = choice['enable-migration'] === 'on';
  return {
    macs,
    virtio,
    edus: device === undefined ? 0 : 1,
    leaves,
    stage,
    offer,
    slot: choice.slot,
    vfioMigration,
  };
}

function consoleOf(text: string): VmmSettings['console'] {
  if (text === 'stdio' || text === 'none') return { kind: text };
  const path = text.startsWith('file:') ? text.slice(5) : '';
  if (path === '')
    throw vmmErrors.error('options', { why: `'${text}' is no console: stdio, none or file:PATH` });
  return { kind: 'file', path };
}
