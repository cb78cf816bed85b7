/**
 * What the network saw while a guest moved, as plain data: the table on the terminal, the verdict and `--json` derive
 * from it. Times are nanoseconds of the peer's clock.
 */
import type { Arrivals } from '../../devices/ethernet/arrival-series.js';
import type { FlowMeasurement } from '../../devices/ethernet/flow-receiver.js';
import type { FabricReport, MeasuredFlow, PhaseReport } from '../fabric/report.js';
import type { ConsoleLine } from './check.js';
import { type Flow, interfaceAt } from './scenario.js';

/** One flow as the peer measured it, in one phase or in all. */
export interface FlowRecord {
  /** The guest's device: `vf0`. */
  readonly device: string;
  readonly flow: Flow;
  /** Datagrams that the peer sent. */
  readonly sent: number;
  /** Echoes that had neither come nor were known to be lost at the end. */
  readonly pending: number;
  /** What came to the peer; null for a flow that the guest measures. */
  readonly arrived: FlowMeasurement | null;
  /** How much of the longest gap the fabric itself did not run: that much may not be the network's. */
  readonly gapStalledNs: number;
  /** When the datagrams came, in a phase of which that was asked. */
  readonly arrivals?: Arrivals;
}

export interface NetworkPhase {
  /** When it began, on the peer's clock: that of all processes of the host. */
  readonly startNs: number;
  readonly durationNs: number;
  /** Longest time for which the fabric itself did not run. */
  readonly longestStallNs: number;
  readonly flows: readonly FlowRecord[];
}

/** Counters that the guest prints of one device, as they were last. Undefined where it has not printed them. */
export interface GuestCounters {
  readonly echo: { readonly echoed: number; readonly notSent: number } | undefined;
  readonly stream: { readonly sent: number } | undefined;
  readonly incoming:
    | {
        readonly received: number;
        readonly lost: number;
        readonly duplicated: number;
        readonly reordered: number;
        readonly corrupt: number;
        readonly longestGapNs: number;
      }
    | undefined;
  readonly device:
    | {
        readonly received: number;
        readonly sent: number;
        readonly dropped: number;
        readonly errors: number;
        readonly badChecksums: number;
      }
    | undefined;
}

/** Frames that did not reach the guest, or the network from it, as one host counts them of a device. */
export interface NicDrops {
  /** They came while the function stood still, or was not the guest's yet. */
  readonly stopped: number;
  /** The guest had given it nowhere to put them. */
  readonly 'no-descriptor': number;
  /** Packets of the guest that the part can't send. */
  readonly malformed: number;
  /** The guest's own, for which the cable had no room. */
  readonly cable: number;
}

/** Of each device; undefined where a host could not be asked. */
export interface HostDrops {
  readonly source: readonly NicDrops[] | undefined;
  readonly destination: readonly NicDrops[] | undefined;
}

/** What the guest and both hosts know of one device. */
export interface DeviceNetwork {
  readonly name: string;
  readonly guest: GuestCounters;
  /** The same as of the line before `after` began. */
  readonly guestBefore: GuestCounters;
  /** Undefined where a host could not be asked. */
  readonly nics: { readonly source: NicDrops | undefined; readonly destination: NicDrops | undefined };
}

/** The network's side of a move. */
export interface NetworkRecord {
  readonly rate: number;
  readonly payloadBytes: number;
  /** The last part of what the guest did at the source, before anything was asked of it. */
  readonly before: NetworkPhase;
  /** From the command until traffic flowed again. */
  readonly move: NetworkPhase;
  /** From then until the peer stopped sending. */
  readonly after: NetworkPhase;
  /** Everything, from the first datagram until the last had come or was given up. */
  readonly total: readonly FlowRecord[];
  /** In the order of their slots. */
  readonly devices: readonly DeviceNetwork[];
  /** Ports, stations and peers of the fabric at the end. */
  readonly fabric: FabricReport;
}

/** The network as one device has it: its own flows and counters, on a fabric that all have in common. */
export interface DeviceView extends Omit<NetworkRecord, 'devices'>, DeviceNetwork {}

export const deviceViews = ({ devices, ...network }: NetworkRecord): readonly DeviceView[] =>
  devices.map((device) => {
    const own = (flows: readonly FlowRecord[]) => flows.filter((flow) => flow.device === device.name);
    const ownPhase = (phase: NetworkPhase): NetworkPhase => ({ ...phase, flows: own(phase.flows) });
    const { before, move, after, total } = network;
    return {
      ...network,
      ...device,
      before: ownPhase(before),
      move: ownPhase(move),
      after: ownPhase(after),
      total: own(total),
    };
  });

/** The fabric names flows as the peer sees them. */
const NAMES = { echo: 'echo', in: 'from-guest', out: 'to-guest' } as const satisfies Record<
  MeasuredFlow['kind'],
  Flow
>;

/** `devices`: their names, by the number of the guest's interface. */
export function flowRecord(measured: MeasuredFlow, devices: readonly string[]): FlowRecord {
  const { kind, remote, sent, outstanding, arrived, gapStalledNs, arrivals } = measured;
  const device = devices[interfaceAt(remote)]!;
  const record = { device, flow: NAMES[kind], sent, pending: outstanding, arrived, gapStalledNs };
  return arrivals === undefined ? record : { ...record, arrivals };
}

export const networkPhase = (
  { startNs, durationNs, longestStallNs, flows }: PhaseReport,
  devices: readonly string[],
): NetworkPhase => ({
  startNs,
  durationNs,
  longestStallNs,
  flows: flows.map((flow) => flowRecord(flow, devices)),
});

/** The flow, and whose it is where there are several devices. */
export const flowTitle = (
  { device, flow }: FlowRecord,
  { devices }: Pick<NetworkRecord, 'devices'>,
  words: Readonly<Record<Flow, string>> | undefined = undefined,
): string => `${devices.length > 1 ? `${device} ` : ''}${words?.[flow] ?? flow}`;

/** The line that ends what the guest says of the network of an interface. */
export const deviceLine = (index: number): RegExp =>
  new RegExp(
    `eth${index}: (\\d+) received, (\\d+) sent, (\\d+) dropped, (\\d+) errors, (\\d+) bad checksums`,
  );

/** The guest says what has come of the flow to the interface, the last of `devices`. */
export const incomingLine = (devices: number): RegExp =>
  new RegExp(`udp-stream: ${tagOf(devices - 1, devices)}incoming \\d+ packets/s`);

/** Lines of workloads that are of one interface name it where there are several. */
const tagOf = (index: number, devices: number): string => (devices === 1 ? '' : `eth${index}: `);

/** The last of each counter on the console, for each of `devices` interfaces. */
export function guestCounters(console: readonly ConsoleLine[], devices: number): readonly GuestCounters[] {
  return Array.from({ length: devices }, (_, index) => countersOf(console, index, tagOf(index, devices)));
}

function countersOf(console: readonly ConsoleLine[], index: number, tag: string): GuestCounters {
  const last = (pattern: RegExp): number[] | undefined => {
    const line = console.findLast(({ text }) => pattern.test(text));
    return line === undefined ? undefined : pattern.exec(line.text)!.slice(1).map(Number);
  };
  const echo = last(new RegExp(`udp-echo: ${tag}\\d+ packets/s, (\\d+) echoed, (\\d+) not sent`));
  const stream = last(new RegExp(`udp-stream: ${tag}sent \\d+ packets/s, (\\d+) sent,`));
  const incoming = last(
    new RegExp(
      `udp-stream: ${tag}incoming \\d+ packets/s, (\\d+) received, (\\d+) lost, (\\d+) duplicated, (\\d+) reordered`,
    ),
  );
  const more = last(new RegExp(`udp-stream: ${tag}incoming longest gap (\\d+) us, (\\d+) corrupt`));
  const device = last(deviceLine(index));
  return {
    echo: echo && { echoed: echo[0]!, notSent: echo[1]! },
    stream: stream && { sent: stream[0]! },
    incoming: incoming &&
      more && {
        received: incoming[0]!,
        lost: incoming[1]!,
        duplicated: incoming[2]!,
        reordered: incoming[3]!,
        corrupt: more[1]!,
        longestGapNs: more[0]! * 1000,
      },
    device: device && {
      received: device[0]!,
      sent: device[1]!,
      dropped: device[2]!,
      errors: device[3]!,
      badChecksums: device[4]!,
    },
  };
}
