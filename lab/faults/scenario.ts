/**
 * A fault scenario, as data: what is done to real processes and the links between them in one migration, where it strikes, where
 * the guest has to be in the end, and which errors may tell of it.
 */
import type { Side } from '../checkers/happened.js';
import type { GuestBehaviour } from '../move/guest-behaviour.js';
import type { LinkFault, Place } from './link/rule.js';

export type FaultyProcess = 'source' | 'destination' | 'fabric';

/** What happens to a process, or between others than the two VMMs, when the migration has come to a place. */
export type ProcessFault =
  /** As the kernel ends a process that takes too much memory: SIGKILL. */
  | { readonly kind: 'kill'; readonly process: FaultyProcess }
  /** SIGSTOP, and SIGCONT after so long. */
  | { readonly kind: 'suspend'; readonly process: FaultyProcess; readonly ms: number }
  /** The link is closed, and nobody can connect again. */
  | { readonly kind: 'unreachable' }
  /** The client of the source's monitor that asked for the migration closes its connection. */
  | { readonly kind: 'client-gone' }
  /** An operator asks a monitor for something, which it does, or refuses. */
  | {
      readonly kind: 'execute';
      readonly side: Side;
      readonly command: string;
      readonly arguments: Readonly<Record<string, unknown>>;
      readonly refused: boolean;
    };

/** When something strikes that needs no place on the link. */
export type Moment =
  /** So long after `migrate`. */
  | { readonly afterMs: number }
  /** At the nth event of that name since `migrate` at a side's monitor, from 1, in which these members are as they are here. */
  | {
      readonly event: string;
      readonly side: Side;
      readonly nth: number;
      readonly where: Readonly<Record<string, unknown>>;
    };

/** For the proxy alone. */
export interface LinkStrike {
  readonly at: Place;
  readonly does: Exclude<LinkFault, { readonly kind: 'act' }>;
}

export interface ProcessStrike {
  readonly at: Place | Moment;
  readonly does: ProcessFault;
}

export type Strike = LinkStrike | ProcessStrike;

/** What the host is short of, from before the migration until its end. */
export type HostFault =
  /** No room for the capture of the network, or for the recording of the stream. */
  | { readonly kind: 'full-disk'; readonly file: 'capture' | 'recording' }
  /** Each core has so many others to serve that never rest. */
  | { readonly kind: 'busy-cores'; readonly perCore: number }
  /** A side's process may have so much more address space than it has when the guest is about to move (RLIMIT_AS). */
  | { readonly kind: 'memory-limit'; readonly side: Side; readonly moreBytes: number };

/** Where somebody has to wait in vain: short enough to be over soon, and long enough for a busy host. */
export const IMPATIENT = { 'peer-timeout': 4000, 'answer-timeout': 12_000, 'inquiry-timeout': 5000 } as const;

/**
 * Who has the guest in the end. `either`: what comes first decides. `undecided`: nobody runs it until a person has decided, and the
 * source says that it does not know. `ended`: it ended with the process that it was in.
 */
export type Keeper = 'source' | 'destination' | 'either' | 'undecided' | 'ended';

export interface FaultScenario {
  readonly name: string;
  /** What is done, in words. */
  readonly text: string;
  readonly strikes: readonly Strike[];
  readonly host?: HostFault;
  readonly guest: Keeper;
  /** Codes of errors that may tell of it; absent where nothing fails. */
  readonly causes?: RegExp;
  /** Time-outs of both sides, by their names at the monitor, where they are not the usual ones. */
  readonly patience?: Readonly<Record<string, number>>;
  /** Other parameters of the migration, by their names at the monitor. */
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
  /** It moves under TLS, where only the commit can be aimed at. */
  readonly tls?: true;
  /** The machine that moves, where it is not the usual one. */
  readonly machine?: FaultMachine;
}

export interface FaultMachine {
  readonly memoryBytes?: number;
  readonly vcpus?: number;
  readonly behaviour?: GuestBehaviour;
  /** What its ledger works on. */
  readonly workingSetBytes?: number;
}

const PROCESS_FAULTS: Readonly<Record<ProcessFault['kind'], true>> = {
  kill: true,
  suspend: true,
  unreachable: true,
  'client-gone': true,
  execute: true,
};

export const isLinkStrike = (strike: Strike): strike is LinkStrike =>
  !Object.hasOwn(PROCESS_FAULTS, strike.does.kind);

export const isMoment = (at: Place | Moment): at is Moment => 'afterMs' in at || 'event' in at;
