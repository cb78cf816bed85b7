/** What a command of the monitor is, and why one may be refused. */
import { type Shape, struct } from './arguments.js';
import type { Standstill, VmControl } from './control.js';
import type { MonitorClient } from './monitor.js';
import type { QmpVersion } from './protocol.js';
import type { RunState } from './run-state.js';

export interface CommandContext {
  readonly vm: VmControl;
  readonly version: QmpVersion;
}

export interface Command {
  readonly name: string;
  /** One sentence for `x-ferry-help`. */
  readonly summary: string;
  readonly arguments: Shape<unknown>;
  /** What it answers. */
  readonly returns: Shape<unknown>;
  /** States that refuse the command, with the reason; all others permit it. */
  readonly refused: Readonly<Partial<Record<RunState, string>>>;
  /** Standstills in `finish-migrate` that permit it all the same. */
  readonly standstill: readonly Standstill[];
  /** It waits for nothing, and may be carried out while another is under way. */
  readonly oob: boolean;
  readonly run: (context: CommandContext, args: unknown, client: MonitorClient) => unknown;
}

export const NOTHING = struct({});

/** Ties the type of the checked arguments to the handler's. */
export function command<A>(spec: {
  name: string;
  summary: string;
  arguments: Shape<A>;
  /** Nothing, if absent. */
  returns?: Shape<unknown>;
  refused?: Partial<Record<RunState, string>>;
  standstill?: readonly Standstill[];
  oob?: true;
  run: (context: CommandContext, args: A, client: MonitorClient) => unknown;
}): Command {
  return {
    name: spec.name,
    summary: spec.summary,
    arguments: spec.arguments,
    returns: spec.returns ?? NOTHING,
    refused: spec.refused ?? {},
    standstill: spec.standstill ?? [],
    oob: spec.oob ?? false,
    run: (context, args, client) => spec.run(context, args as A, client),
  };
}

export const MOVED = 'the guest has moved to another VMM';
export const PANICKED = 'the guest has crashed';
export const OFF = 'the guest has switched its machine off';
export const BROKEN = 'the machine failed';
export const SWITCHING = 'the last part of a migration is under way';
/** Why the guest stands still, where it is not that. */
export const STANDSTILL: Readonly<Record<Standstill, string>> = {
  switching: SWITCHING,
  undecided:
    'its commit was never acknowledged, so the guest may run at the destination; if it does not, `x-ferry-reclaim` lets it go on here',
  kept: 'the guest could not be resumed after a migration; `cont` tries again',
};

export const AWAITED = 'Guest is waiting for an incoming migration';

/** What is asked of a machine and its guest while they are here, and not over. */
export const NO_GUEST = {
  inmigrate: AWAITED,
  'finish-migrate': SWITCHING,
  postmigrate: MOVED,
  'guest-panicked': PANICKED,
  shutdown: OFF,
  'internal-error': BROKEN,
} as const;
