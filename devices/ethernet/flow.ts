/** What a traffic flow is, and what is reported of it. */
import { formatIpv4 } from './addresses.js';
import type { Arrivals } from './arrival-series.js';
import type { FlowMeasurement } from './flow-receiver.js';

/**
 * `echo`: sent to a port that sends everything back, measured there and back. `out`: sent only; the other end measures.
 * `in`: comes from the other end, measured here.
 */
export type FlowKind = 'echo' | 'out' | 'in';

export interface FlowOptions {
  readonly kind: 'echo' | 'out';
  /** The other end. */
  readonly ip: number;
  readonly port: number;
  /** Datagrams per second. */
  readonly rate: number;
  readonly payloadBytes: number;
  /** Datagrams to send; without it the flow runs until it is stopped. */
  readonly count?: number;
}

export interface FlowReport {
  readonly flow: number;
  readonly kind: FlowKind;
  /** The other end, as `10.0.0.2:7`. */
  readonly remote: string;
  readonly sent: number;
  /** Sent and neither come back, lost, nor corrupt by now: still under way, or the last ones lost. Echo flows only. */
  readonly outstanding: number;
  /** What came in; null for a flow that only goes out. */
  readonly arrived: FlowMeasurement | null;
  /** When it came, where that was asked for. */
  readonly arrivals?: Arrivals;
}

export const remoteName = (ip: number, port: number): string => `${formatIpv4(ip)}:${port}`;
