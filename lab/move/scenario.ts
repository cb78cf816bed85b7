/**
 * What is moved and how: the options of `ferry migrate` and of the library's `migrate`, with their defaults, what
 * contradicts what, and what they become on the guest's kernel command line and in the monitor's parameters.
 */
import { fileURLToPath } from 'node:url';
import { MIB } from '../../base/units.js';
import { EFFORTS, type Effort } from '../../migration/approach.js';
import type { ParameterValues, VerifyMode } from '../../migration/parameters.js';
import { AUTO, MODULE_PREFIX } from '../../migration/registry.js';
import { builtFile } from '../../vmm/built.js';
import type { DeviceKind, IommuLeaves, IommuStage } from '../../vmm/passthrough/records.js';
import { devicesOf, type NicKind } from '../../vmm/process/nic-options.js';
import { labErrors } from '../errors.js';
import { behaviourWords, type GuestBehaviour } from './guest-behaviour.js';

export const WORKLOADS = ['idle', 'ledger', 'stress', 'mixed', 'udp-echo', 'udp-stream'] as const;
export type Workload = (typeof WORKLOADS)[number];

/**
 * Traffic between the guest and a peer on the network. `echo`: from the peer to the guest and back, measured there and
 * back by the peer. `from-guest`: measured by the peer. `to-guest`: measured by the guest.
 */
export const FLOWS = ['echo', 'from-guest', 'to-guest'] as const;
export type Flow = (typeof FLOWS)[number];

/** Options of a move. All have defaults. */
export interface MigrateOptions {
  /** Guest image; the project's own guest kernel if absent. */
  readonly guest?: string;
  /** Guest RAM in bytes; 256 MiB if absent. */
  readonly memoryBytes?: number;
  /** Touch all of guest RAM on both sides beforehand; not if absent. */
  readonly prealloc?: boolean;
  readonly vcpus?: number;
  /** What the guest does meanwhile, besides the traffic; `ledger` if absent. */
  readonly workload?: Workload;
  /** Bytes per second that `stress` and `mixed` dirty; 50 MiB/s if absent, 0 = as fast as they can. */
  readonly dirtyRate?: number;
  /** Bytes that `stress` and `mixed` dirty over and over, or the size of the ledger; the guest's choice if absent. */
  readonly workingSetBytes?: number;
  /** How the guest does not help; it does if absent. */
  readonly guestBehaviour?: GuestBehaviour;
  /**
   * The guest's NIC; `vf`, a virtual function, if absent, and `none` for a guest image of one's own. `vf=N`: so many
   * functions, each with an address of its own and all the flows.
   */
  readonly nic?: NicKind;
  /** The NIC at the destination, where it is not as the source's. */
  readonly destinationNic?: NicKind;
  /** The station address that the destination's administrator has set, or several with commas; the source's if absent. */
  readonly destinationMac?: string;
  /** A device of another kind, which the guest works with meanwhile; none if absent. */
  readonly device?: DeviceKind;
  /** How VT-d maps guest RAM on both sides, and so what one dirty bit stands for; `small`, 4 KiB, if absent. */
  readonly iommuLeaves?: IommuLeaves;
  /** Of which of VT-d's tables the dirty bits are read, on both sides; `second` if absent. */
  readonly iommuStage?: IommuStage;
  /** How the device's writes are tracked: a name, or `module:PATH`; the migration's choice if absent. */
  readonly tracking?: string;
  /** How the device is stopped, and started at the destination; the migration's choice if absent. */
  readonly stop?: string;
  readonly start?: string;
  /** Traffic while the guest moves; `echo` if absent, both directions for `udp-stream`, none without a NIC. */
  readonly flows?: readonly Flow[];
  /** Datagrams a second of each flow; 10,000 if absent, divided among several devices. */
  readonly rate?: number;
  /** Payload of each datagram in bytes, 24 to 1472; 64 if absent. */
  readonly payloadBytes?: number;
  /** Captures every frame on the network in this file, as pcapng. */
  readonly pcap?: string;
  /** Data channels; 2 if absent. */
  readonly channels?: number;
  /** Bytes per second over all channels; no limit if absent. */
  readonly maxBandwidth?: number;
  /** Blackout to aim for in milliseconds; 3 if absent. */
  readonly downtimeLimitMs?: number;
  /** How long a guest that is asked to stop its device may take, in milliseconds; 10 s if absent. */
  readonly requestTimeoutMs?: number;
  /** How long a device may take to work that is started after the guest, in milliseconds; 30 s if absent. */
  readonly deviceStartTimeoutMs?: number;
  /** What is compared, and when; `after` if absent. */
  readonly verify?: VerifyMode;
  /** Seed of the guest's random numbers; random if absent (the result names it). */
  readonly seed?: number;
  /** How long the guest works before it is moved, and is watched afterwards, in milliseconds; 1000 if absent. */
  readonly settleMs?: number;
  /** Move under TLS, with the certificates in this directory, laid out as QEMU's are. */
  readonly tlsCreds?: string;
  /** What the destination's certificate is for, if not for 127.0.0.1. */
  readonly tlsHostname?: string;
  /** Keep a recording of the migration stream in this directory. */
  readonly recordTo?: string;
  /** Record when the datagrams of each flow came while the guest moved, in the network's `move`. */
  readonly arrivals?: boolean;
  /** Write what both VMMs and the network did, and when, to this file, as a trace that Perfetto opens. */
  readonly traceTo?: string;
}

type Optional =
  | 'device'
  | 'destinationNic'
  | 'destinationMac'
  | 'workingSetBytes'
  | 'guestBehaviour'
  | 'maxBandwidth'
  | 'requestTimeoutMs'
  | 'deviceStartTimeoutMs'
  | 'tlsCreds'
  | 'tlsHostname'
  | 'recordTo'
  | 'traceTo'
  | 'pcap';

export type Scenario = {
  readonly [K in keyof Omit<MigrateOptions, Optional>]-?: NonNullable<MigrateOptions[K]>;
} & Pick<MigrateOptions, Optional>;

/** Whether there is a device whose writes have to be tracked, and that is stopped and started. */
export const hasDevices = ({
  nic,
  device,
}: Pick<Scenario, 'nic'> & { readonly device?: DeviceKind | undefined }): boolean =>
  nic !== 'none' || device !== undefined;

/** The guest kernel that comes with the project. */
export const KERNEL_IMAGE = fileURLToPath(builtFile('guests/kernel.img'));

/** Options that say something about assigned devices, with the flags that people know them by. */
const DEVICE_OPTIONS = [
  ['iommuLeaves', '--iommu-leaves'],
  ['iommuStage', '--iommu-stage'],
  ['tracking', '--tracking'],
  ['stop', '--stop'],
  ['start', '--start'],
  ['requestTimeoutMs', '--request-timeout'],
  ['deviceStartTimeoutMs', '--device-start-timeout'],
] as const;

/** Options that say something about the traffic. */
const TRAFFIC_OPTIONS = [
  ['destinationNic', '--destination-nic'],
  ['destinationMac', '--destination-mac'],
  ['flows', '--flow'],
  ['rate', '--rate'],
  ['payloadBytes', '--size'],
  ['pcap', '--pcap'],
] as const;

/** Options that the guest kernel of ours understands, and no other guest is known to. */
const GUEST_OPTIONS = [
  ['workload', '--workload'],
  ['dirtyRate', '--dirty-rate'],
  ['workingSetBytes', '--working-set'],
  ['guestBehaviour', '--guest-behaviour'],
] as const;

const MEMORY_BYTES = 256 * MIB;
/** Of all devices together, in each kind of flow. */
const RATE = 10_000;

const dirties = (workload: Workload): boolean => workload === 'stress' || workload === 'mixed';
const isTraffic = (workload: Workload): boolean => workload === 'udp-echo' || workload === 'udp-stream';

/** The options with all defaults filled in. Throws `lab/usage` for options that contradict each other. */
export function scenarioOf(options: MigrateOptions): Scenario {
  const given = definedOnly(options);
  const { guest, workload = 'ledger' } = given;
  const nic = given.nic ?? (guest === undefined ? 'vf' : 'none');
  const flows = given.flows ?? defaultFlows(nic, workload, given);
  const conflict = conflictOf(given, workload, nic, flows);
  if (conflict !== undefined) throw labErrors.error('usage', { why: conflict, command: 'ferry migrate' });
  return {
    guest: KERNEL_IMAGE,
    memoryBytes: MEMORY_BYTES,
    prealloc: false,
    vcpus: 1,
    workload,
    dirtyRate: 50 * MIB,
    nic,
    iommuLeaves: 'small',
    iommuStage: 'second',
    tracking: AUTO,
    stop: AUTO,
    start: AUTO,
    flows,
    rate: Math.round(RATE / Math.max(1, devicesOf(nic)?.length ?? 1)),
    payloadBytes: 64,
    channels: 2,
    downtimeLimitMs: 3,
    verify: 'after',
    seed: Math.floor(Math.random() * 2 ** 32),
    settleMs: 1000,
    arrivals: false,
    ...given,
  };
}

function definedOnly(options: MigrateOptions): MigrateOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function defaultFlows(
  nic: NicKind,
  workload: Workload,
  { guest, guestBehaviour }: MigrateOptions,
): readonly Flow[] {
  if (nic === 'none' || guest !== undefined || guestBehaviour === 'driverless') return [];
  return workload === 'udp-stream' ? ['from-guest', 'to-guest'] : ['echo'];
}

/** What contradicts what, in a sentence; undefined if nothing does. */
function conflictOf(
  given: MigrateOptions,
  workload: Workload,
  nic: NicKind,
  flows: readonly Flow[],
): string | undefined {
  if (given.guest !== undefined) {
    const own = GUEST_OPTIONS.find(([name]) => given[name] !== undefined);
    if (own !== undefined)
      return `${own[1]} and --guest contradict each other: only the guest that comes with vf-ferry knows it`;
  }
  if (given.dirtyRate !== undefined && !dirties(workload)) {
    return `--dirty-rate says something only with --workload stress or mixed, not with ${workload}`;
  }
  if (given.workingSetBytes !== undefined) {
    const { memoryBytes = MEMORY_BYTES } = given;
    if (!dirties(workload) && workload !== 'ledger')
      return `--working-set says something only with --workload ledger, stress or mixed, not with ${workload}`;
    if (given.workingSetBytes >= memoryBytes)
      return '--working-set and --memory contradict each other: a working set lies in memory, beside the kernel';
  }
  if (nic === 'none') {
    const without = given.nic === undefined ? 'without --nic vf' : 'with --nic none';
    for (const [name, flag] of given.device === undefined ? DEVICE_OPTIONS : []) {
      if (given[name] !== undefined)
        return `${flag} says nothing ${without}: there is no device and no network`;
    }
    for (const [name, flag] of TRAFFIC_OPTIONS) {
      if (given[name] === undefined) continue;
      const nothing = given.device === undefined ? 'no device and no network' : 'no network';
      return `${flag} says nothing ${without}: there is ${nothing}`;
    }
    if (isTraffic(workload)) return `--workload ${workload} needs a network: it can't run ${without}`;
    return undefined;
  }
  if (given.destinationNic === 'none' && given.destinationMac !== undefined) {
    return '--destination-mac says nothing with --destination-nic none: there is no device there';
  }
  const unknown = flows.find((flow) => flow !== 'echo');
  if (given.guest !== undefined && unknown !== undefined) {
    return `--flow ${unknown} and --guest contradict each other: only the guest that comes with vf-ferry knows it; any guest may answer echo, at UDP port 7`;
  }
  if (given.guestBehaviour === 'driverless' && (flows.length > 0 || isTraffic(workload))) {
    return '--guest-behaviour driverless and traffic contradict each other: without a driver there is no interface';
  }
  if (workload === 'udp-echo' && (flows.length !== 1 || flows[0] !== 'echo')) {
    return '--workload udp-echo answers the flow echo, and no other; --workload idle takes any';
  }
  if (workload === 'udp-stream' && flows.length === 0) {
    return '--workload udp-stream and --flow none contradict each other';
  }
  if (flows.length === 0) {
    const idle = (['rate', 'payloadBytes'] as const).find((name) => given[name] !== undefined);
    if (idle !== undefined) return `--${idle === 'rate' ? 'rate' : 'size'} says nothing without a flow`;
  }
  return undefined;
}

/** Milliseconds between two status lines of the guest: short enough that a short watch sees several, and no longer for it. */
export const statusPeriodMs = ({ settleMs }: Pick<Scenario, 'settleMs'>): number =>
  Math.max(SHORTEST_STATUS_MS, Math.min(STATUS_MS, Math.floor(settleMs / 2)));
const STATUS_MS = 250;
const SHORTEST_STATUS_MS = 100;

/** Addresses that the guest kernel's interfaces have by themselves, and expect of their peer. */
const GUEST_HOST = 2;
export const guestIp = (index: number): string => `10.0.0.${GUEST_HOST + index}`;
export const PEER_IP = '10.0.0.1';

/** Number of the interface with this address, or with an address and port. */
export const interfaceAt = (remote: string): number => Number(/\.(\d+)(?::|$)/.exec(remote)![1]) - GUEST_HOST;

/** What the guest runs: the workload, what answers or makes the traffic, and what works with another device. */
function guestWorkloads({ workload, flows, device }: Scenario): string {
  const names: string[] = workload === 'mixed' ? ['ledger', 'stress'] : [workload];
  const network = flows.some((flow) => flow !== 'echo')
    ? ['udp-stream']
    : flows.length > 0
      ? ['udp-echo']
      : [];
  return [...new Set([...names, ...network, ...(device === undefined ? [] : [device])])].join(',');
}

/** The guest's kernel command line. */
export function commandLine(scenario: Scenario): string {
  const words = [`workload=${guestWorkloads(scenario)}`, `status_ms=${statusPeriodMs(scenario)}`];
  if (dirties(scenario.workload)) words.push(`dirty_rate=${Math.round(scenario.dirtyRate)}`);
  if (scenario.workingSetBytes !== undefined) words.push(`working_set=${scenario.workingSetBytes}`);
  if (scenario.guestBehaviour !== undefined) words.push(behaviourWords(scenario.guestBehaviour));
  const { flows, rate, payloadBytes } = scenario;
  if (flows.includes('from-guest')) words.push(`rate=${rate}`, `payload=${payloadBytes}`);
  else if (flows.includes('to-guest')) words.push('rate=0');
  return words.join(' ');
}

/** What `migrate-set-parameters` is given, by QMP names. */
export function monitorParameters(
  scenario: Scenario,
): Record<string, number | string> & { readonly verify: ParameterValues['verify'] } {
  const { tracking, stop, start, maxBandwidth, tlsHostname } = scenario;
  return {
    'multifd-channels': scenario.channels,
    'downtime-limit': scenario.downtimeLimitMs,
    verify: scenario.verify,
    ...(maxBandwidth === undefined ? {} : { 'max-bandwidth': maxBandwidth }),
    ...(tlsHostname === undefined ? {} : { 'tls-hostname': tlsHostname }),
    ...(hasDevices(scenario) ? { tracking, stop, start } : {}),
    ...patienceParameters(scenario),
  };
}

/** Those that both sides are given: each waits for what the guest does there. */
export const patienceParameters = ({
  requestTimeoutMs,
  deviceStartTimeoutMs,
}: Scenario): Record<string, number> => ({
  ...(requestTimeoutMs === undefined ? {} : { 'request-timeout': requestTimeoutMs }),
  ...(deviceStartTimeoutMs === undefined ? {} : { 'device-start-timeout': deviceStartTimeoutMs }),
});

/** The approaches that are modules, for both VMMs to load: a destination takes a guest only by approaches that it has. */
export const ownApproaches = (scenario: Scenario): Partial<Record<Effort, string>> =>
  Object.fromEntries(
    EFFORTS.map((effort) => [effort, scenario[effort]]).filter(([, word]) => word!.startsWith(MODULE_PREFIX)),
  );
