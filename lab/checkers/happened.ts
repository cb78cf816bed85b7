/**
 * What happened in one migration under faults, as the checkers want to know it, from whoever watched: a simulation or real
 * processes. Times are nanoseconds on one clock.
 */
import type { SerializedError } from '../../base/errors.js';
import type { FlowReport } from '../../devices/ethernet/flow.js';

export type Side = 'source' | 'destination';

/** The guest began, or ceased, to run at a side, by its machine's own word. */
export interface RunChange {
  readonly atNs: number;
  readonly side: Side;
  readonly running: boolean;
}

/** Who runs the guest. `undecided`: it stands still at the source, which does not know whether it was taken. */
export type Whereabouts = Side | 'both' | 'undecided' | 'nobody';

export interface SideEnd {
  /** As its last migration ended; undefined if it never had one, or was gone before it could say. */
  readonly status: string | undefined;
  readonly error: SerializedError | undefined;
  /** Its process was ended by a fault. */
  readonly gone: boolean;
}

export interface InflictedFault {
  readonly name: string;
  /** Codes of errors by which a side may name it. */
  readonly causes: RegExp;
}

/** A migration with which everybody tried again when nothing was amiss any more. */
export interface SecondMove {
  readonly source: SideEnd;
  readonly destination: SideEnd;
  /** Traffic with the guest meanwhile. */
  readonly during: FlowReport | undefined;
  /** When it was asked for: who has the guest may change once more from then on. */
  readonly beganNs: number;
  readonly tookNs: number;
  readonly mayTakeNs: number;
}

export interface Happened {
  /** In the order of their times. */
  readonly runs: readonly RunChange[];
  readonly source: SideEnd;
  readonly destination: SideEnd;
  /** Those that struck. */
  readonly faults: readonly InflictedFault[];
  /** Sides whose monitor says in the end that the guest runs there; absent if nobody asked. */
  readonly claims?: readonly Side[];
  /** The guest ended by itself: it crashed, or the machine did that it ran in. */
  readonly guestEnded?: boolean;
  /** The operator of either side stopped the guest, or took it back, and left it so. */
  readonly leftStopped: boolean;
  /** What differed between source and destination when the guest was taken over; undefined if it was not. */
  readonly handOver: readonly string[] | undefined;
  /** Traffic with the guest during the migration, and later, where it was then; none where nobody runs. */
  readonly during: FlowReport | undefined;
  readonly later: FlowReport | undefined;
  /** What carries the traffic was ended by a fault. */
  readonly networkGone?: boolean;
  /** Absent if nobody tried again. */
  readonly second?: SecondMove | undefined;
  /** Packets per second of all but the last. */
  readonly packetRate: number;
  /** How often else than by moving the guest it was taken off the network, each time no longer than its longest gap; never, if absent. */
  readonly outages?: number;
  /** How often the guest changed over to another of its NICs, as one with a standby does; never, if absent. */
  readonly pathChanges?: number;
  /** Longest time for which their sender was kept waiting, and then caught up; never, if absent. */
  readonly senderStallNs?: number;
  /** From the first `migrate` until both sides had come to an end. */
  readonly tookNs: number;
  /** What the time-outs in force allow for that. */
  readonly mayTakeNs: number;
  /** Something had the driver look at its device while that was gone, and it says that it gave the device up for good. */
  readonly deviceGivenUp?: boolean;
  /** What threw that must not, by its message. */
  readonly defects: readonly string[];
  /** What the guest itself found wrong, or that it says nothing; absent if nobody listened to it. */
  readonly guestFindings?: readonly string[];
  /** Processes, sockets and files that were left behind; absent if nobody looked for them. */
  readonly leftovers?: readonly string[];
}

/** Looks at what happened; what it finds wrong is told one finding each, with names and numbers. */
export interface Checker {
  readonly name: string;
  readonly check: (happened: Happened) => readonly string[];
}
