/**
 * What an approach is on QEMU: one file that says what QEMU, our two servers and the guest do for it. QEMU moves the memory and
 * what it emulates; what becomes of the function is the approach's. Its name, and what goes with what, are those of the migration's
 * own approach, so that one is comparable with the other.
 */
import { isFerryError } from '../../base/errors.js';
import { migrationErrors } from '../../migration/errors.js';
import type { StartDescriptor } from '../../migration/start/start.js';
import { LEFT_TEXT, type Left, type StopDescriptor } from '../../migration/stop/stop.js';
import type { TrackingDescriptor } from '../../migration/tracking/tracking.js';
import type { FunctionSetup } from './function-setup.js';
import type { MachineOptions, Side } from './pair.js';

/** What an approach works with. */
export interface Stage {
  readonly source: Side;
  readonly destination: Side;
  /** Longest wait for the guest, milliseconds. */
  readonly patienceMs: number;
  /** What travels beside QEMU's stream. */
  readonly carried: Carried;
}

export interface Carried {
  /** How the guest had set up what QEMU emulates of the function. */
  setup?: FunctionSetup;
  /** The function's own state, as VFIO has it. */
  state?: Uint8Array;
}

interface OnQemu {
  /** What happens on QEMU, in a line. */
  readonly text: string;
  /** What the kernel may say of it, at level *warning* and worse. */
  readonly kernelSays?: readonly RegExp[];
}

/** How the function comes to a stop. */
export interface QemuStop extends OnQemu {
  readonly of: StopDescriptor;
  /** What both machines must have for it. */
  readonly machine?: Pick<MachineOptions, 'standby' | 'acpiSlots'>;
  /** QEMU has the guest let the function go by itself, once it is told to migrate and before the first round. */
  readonly byQemu?: boolean;
  /** Stops it with nobody's help. At the switchover, when no vCPU runs; before the first round where nobody tracks what it writes. */
  readonly cut?: (stage: Stage) => Promise<void>;
  /** At the switchover, after that: what has to travel of it. */
  readonly readOut?: (stage: Stage) => Promise<void>;
  /** The migration failed, and the guest goes on here. */
  readonly undo?: (stage: Stage) => Promise<void>;
}

/** How the guest gets a function that works, at the destination. */
export interface QemuStart extends OnQemu {
  readonly of: StartDescriptor;
  /** How the stop may have left the function, where that is less than our own start takes. */
  readonly takes?: readonly Left[];
  /** The destination's function is in its slot before the guest comes. */
  readonly inPlace: boolean;
  /** It has to be set up in QEMU as the guest left it. */
  readonly wantsSetup?: boolean;
  /** The guest is there, and stands still. */
  readonly load?: (stage: Stage) => Promise<void>;
  /** The guest runs. */
  readonly afterRun?: (stage: Stage) => Promise<void>;
}

/** How it is known what the function wrote. */
export interface QemuTracking extends OnQemu {
  readonly of: Pick<TrackingDescriptor, 'name'>;
  /** Memory is shared with our server, which writes it without QEMU's knowledge, though the function lives until the switchover. */
  readonly shared: boolean;
  /** Before the first round. */
  readonly begin?: (stage: Stage) => Promise<void>;
  /** At the switchover, the function cut off and no vCPU running: QEMU hears of what was written. */
  readonly harvest?: (stage: Stage) => Promise<void>;
}

export interface QemuApproaches {
  readonly tracking: readonly QemuTracking[];
  readonly stop: readonly QemuStop[];
  readonly start: readonly QemuStart[];
}

export interface ChosenOnQemu {
  readonly tracking: QemuTracking;
  readonly stop: QemuStop;
  readonly start: QemuStart;
  readonly machine: MachineOptions;
}

/** The function is gone before the first round, so that nobody but the vCPUs writes. */
const goneBefore = ({ byQemu = false, cut }: QemuStop): boolean => byQemu || cut === undefined;

/**
 * The approaches that were named, or of those that there are the first that go together. Throws `migration/approach` for a name that
 * QEMU has none for, or a choice that contradicts itself, with what would do.
 */
export function chooseOnQemu(
  wanted: { readonly tracking?: string; readonly stop?: string; readonly start?: string },
  known: QemuApproaches,
): ChosenOnQemu {
  const stops = named('stop', wanted.stop, known.stop);
  const starts = named('start', wanted.start, known.start);
  const trackings = named('tracking', wanted.tracking, known.tracking);
  for (const stop of stops) {
    const start = starts.find((one) => goTogether(stop, one));
    if (start === undefined) continue;
    const gone = goneBefore(stop);
    const tracking = trackings.find(({ shared }) => !(shared && gone));
    if (tracking === undefined) {
      const [{ of }] = trackings;
      throw refused('tracking', of.name, `with stop = ${stop.of.name} the function is gone before`);
    }
    return { tracking, stop, start, machine: { ...stop.machine, sharedMemory: gone || tracking.shared } };
  }
  const [[stop], [start]] = [stops, starts];
  const fitting = known.stop.filter((one) => goTogether(one, start)).map(({ of }) => of.name);
  throw refused(
    'start',
    start.of.name,
    `stop = ${stop.of.name} ${LEFT_TEXT[stop.of.leaves]}; on QEMU this start goes with stop = ${fitting.join(', ')}`,
  );
}

export const goTogether = (stop: QemuStop, { of, takes = of.takes }: QemuStart): boolean =>
  takes.includes(stop.of.leaves);

function named<A extends { readonly of: { readonly name: string } }>(
  effort: string,
  name: string | undefined,
  known: readonly A[],
): readonly [A, ...A[]] {
  const [first, ...others] = name === undefined ? known : known.filter(({ of }) => of.name === name);
  if (first !== undefined) return [first, ...others];
  throw refused(effort, name!, `on QEMU there are ${known.map(({ of }) => of.name).join(', ')}`);
}

const refused = (effort: string, approach: string, problem: string): Error =>
  migrationErrors.error('approach', { effort, approach, problem });

/** What went wrong, in a few words for a record. */
export const wordsOf = (error: unknown): string =>
  isFerryError(error) || error instanceof Error ? error.message : String(error);
