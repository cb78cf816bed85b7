/** What a migration's source is given, and what its steps share. */
import type { AtomicBitmap } from '../base/bitmap.js';
import type { AbortSignalLike, Cancel, Scheduler } from '../base/clock.js';
import type { FaultPlan } from '../base/fault.js';
import type { Chosen, OnDevice } from './approaches.js';
import type { RegisterNames } from './compare-states.js';
import type { Conversation, FrameRecorder } from './conversation.js';
import type { DeviceStreamSender } from './device-stream.js';
import type { Digest, RunningRoot } from './integrity.js';
import type { MigrationParameters, VerifyMode } from './parameters.js';
import type { ControlLink, PageHasher, SourceDataPlane, SourceMachine } from './ports.js';
import type { MigrationRecord, RoundRecord } from './record.js';
import type { Lifecycle, SourceEvent, SourceState } from './states.js';
import type { SourceStatistics } from './statistics.js';
import type { DeviceStop } from './stop/stop.js';
import type { Timeline } from './timeline.js';
import type { DirtyTracking } from './tracking/tracking.js';
import type { UndoStack } from './undo.js';

/** Told what happens as it happens; for events of a monitor, progress displays and traces. */
export interface SourceObserver {
  /** At the start: `snapshot` gives the record as of any later moment. */
  started?(snapshot: () => MigrationRecord): void;
  stateChanged?(from: SourceState, to: SourceState, event: SourceEvent): void;
  roundStarted?(round: number, pages: number): void;
  roundFinished?(round: RoundRecord): void;
  /** The guest is asked to let its devices go, and waited for; then, that it has done so. */
  waitsForGuest?(waits: boolean): void;
  throttleChanged?(percent: number): void;
  /** It went wrong before the commit: all that was done is taken back now, and then it has failed. */
  failing?(): void;
  /** Nothing was heard of the commit: the destination is asked, over new links, whether the guest runs there. */
  inquires?(): void;
  /** It ends with nobody here knowing where the guest is. `reclaim` is for who finds out that it is here: it goes on as it was. */
  undecided?(reclaim: () => Promise<void>): void;
}

export interface SourceOptions {
  readonly machine: SourceMachine;
  readonly control: ControlLink;
  /** Another link to the destination, to ask it whether it has the guest; it can't be asked if absent. Rejects with a FerryError. */
  readonly redial?: () => Promise<ControlLink>;
  readonly data: SourceDataPlane;
  readonly scheduler: Scheduler;
  readonly parameters: MigrationParameters;
  readonly digest: Digest;
  readonly hasher: PageHasher;
  /** 32 random hex digits, new for each migration. */
  readonly migrationId: string;
  readonly registerNames?: RegisterNames;
  readonly observer?: SourceObserver;
  /** Aborting cancels the migration, at any time before commit; later it only ends the asking for a guest of which nothing is known. */
  readonly signal?: AbortSignalLike;
  readonly record?: FrameRecorder;
  readonly faults?: FaultPlan;
  /** Where what happens is put down; what carries the machine and the channels out may have put down its own before. */
  readonly timeline?: Timeline;
}

/** What the steps share. */
export interface Source extends SourceOptions {
  /** What takes back all that was done so far. A step pushes its inverse before it begins. */
  readonly undo: UndoStack;
  /** Without regard to devices until `chooseHow` has chosen. */
  chosen: Chosen | undefined;
  tracking: DirtyTracking;
  stops: readonly OnDevice<DeviceStop>[];
  readonly deviceStream: DeviceStreamSender;
  /** By device: what the start wants to be known of it. */
  readonly remembered: Map<string, Uint8Array>;
  readonly observer: SourceObserver;
  readonly faults: FaultPlan;
  readonly life: Lifecycle<SourceState, SourceEvent>;
  readonly talk: Conversation;
  readonly stats: SourceStatistics;
  readonly timeline: Timeline;
  /** As the parameters were at the start. */
  readonly verify: VerifyMode;
  readonly channels: number;
  /** Pages that were written, or never sent, since they were last sent. A bit leaves only by being sent. */
  readonly pending: AtomicBitmap;
  readonly hashSeed: number;
  readonly root: RunningRoot;
  readonly deafen: Cancel;
  lastRound: number;
}
