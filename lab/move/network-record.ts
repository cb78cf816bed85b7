/**
 * What the network saw while a guest moved, as plain data: the table on the terminal, the verdict and `--json` derive
 * from it. Times are nanoseconds of the peer's clock.
 */
import type { Arrivals } from '../../devices/ethernet/arrival-series.js';
import type { FlowMeasurement } from '../../devices/ethernet/flow-receiver.js';
import type { FabricReport, MeasuredFlow, PhaseReport } from '../fabric/report.js';
import type { ConsoleLine } from './check.js';
import type { Flow } from './scenario.js';

/** One flow as the peer measured it, in one phase or in all. */
export interface FlowRecord {
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

/** Counters that the guest prints on its console, as they were last. Undefined where it has not printed them. */
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

/** Frames that did not reach the guest, or the network from it, as one host's NIC counts them. */
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
  readonly guest: GuestCounters;
  /** Undefined where a host could not be asked. */
  readonly nics: { readonly source: NicDrops | undefined; readonly destination: NicDrops | undefined };
  /** Ports, stations and peers of the fabric at the end. */
  readonly fabric: FabricReport;
}

/** The fabric names flows as the peer sees them. */
const NAMES = { echo: 'echo', in: 'from-guest', out: 'to-guest' } as const satisfies Record<
  MeasuredFlow['kind'],
  Flow
>;

export function flowRecord(measured: MeasuredFlow): FlowRecord {
  const { kind, sent, outstanding, arrived, gapStalledNs, arrivals } = measured;
  const record = { flow: NAMES[kind], sent, pending: outstanding, arrived, gapStalledNs };
  return arrivals === undefined ? record : { ...record, arrivals };
}

export const networkPhase = ({ startNs, durationNs, longestStallNs, flows }: PhaseReport): NetworkPhase => ({
  startNs,
  durationNs,
  longestStallNs,
  flows: flows.map(flowRecord),
});

const ECHO = /udp-echo: \d+ packets\/s, (\d+) echoed, (\d+) not sent,/;
const STREAM = /udp-stream: sent \d+ packets\/s, (\d+) sent,/;
const INCOMING =
  /udp-stream: incoming \d+ packets\/s, (\d+) received, (\d+) lost, (\d+) duplicated, (\d+) reordered/;
const INCOMING_MORE = /udp-stream: incoming longest gap (\d+) us, (\d+) corrupt/;
/** The line that ends what the guest says of its network. */
export const DEVICE_LINE =
  /eth\d+: (\d+) received, (\d+) sent, (\d+) dropped, (\d+) errors, (\d+) bad checksums/;

/** The last of each counter on the console. */
export function guestCounters(console: readonly ConsoleLine[]): GuestCounters {
  const last = (pattern: RegExp): number[] | undefined => {
    const line = console.findLast(({ text }) => pattern.test(text));
    return line === undefined ? undefined : pattern.exec(line.text)!.slice(1).map(Number);
  };
  const echo = last(ECHO);
  const stream = last(STREAM);
  const incoming = last(INCOMING);
  const more = last(INCOMING_MORE);
  const device = last(DEVICE_LINE);
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
