/**
 * A fault scenario, as data: what is done to real processes and the links between them in one migration, where it strikes, where
 * the guest has to be in the end, and which errors may tell of it.
 */
import type { LinkFault, LinkRule, Place } from './link/rule.js';

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
  | { readonly kind: 'client-gone' };

export interface Strike {
  readonly at: Place;
  readonly does: Exclude<LinkFault, { readonly kind: 'act' }> | ProcessFault;
}

/** What the host is short of, from before the migration until its end. */
export type HostFault =
  /** No room for the capture of the network, or for the recording of the stream. */
  | { readonly kind: 'full-disk'; readonly file: 'capture' | 'recording' }
  /** Each core has so many others to serve that never rest. */
  | { readonly kind: 'busy-cores'; readonly perCore: number };

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
  /** For `migrate-set-parameters` at both sides, beside the time-outs. */
  readonly parameters?: Readonly<Record<string, number | string>>;
}

const PROCESS_FAULTS = { kill: true, suspend: true, unreachable: true, 'client-gone': true } as const;

/** Whether it is for the proxy alone. */
export const isLinkRule = (strike: Strike): strike is Strike & LinkRule =>
  !Object.hasOwn(PROCESS_FAULTS, strike.does.kind);

/** The process that this ends, if it does. */
export const killedBy = ({ strikes }: FaultScenario, process: FaultyProcess): boolean =>
  strikes.some(({ does }) => does.kind === 'kill' && does.process === process);
