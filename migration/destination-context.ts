/** What a migration's destination is given, and what its steps share. */
import type { AbortSignalLike, Scheduler } from '../base/clock.js';
import type { SerializedError } from '../base/errors.js';
import type { Chosen, OnDevice } from './approaches.js';
import type { Conversation, FrameRecorder } from './conversation.js';
import type { DeviceStreamReceiver } from './device-stream.js';
import type { Whereabouts } from './endings.js';
import type { Digest, RunningRoot } from './integrity.js';
import type { MessageOf } from './messages.js';
import type { MigrationParameters } from './parameters.js';
import type {
  ControlLink,
  DestinationDataPlane,
  DestinationMachine,
  PageHasher,
  TransferCount,
} from './ports.js';
import type { DestinationRecord } from './record.js';
import type { Rehearsed } from './rehearsal.js';
import type { DeviceStart } from './start/start.js';
import type { DestinationEvent, DestinationState, Lifecycle } from './states.js';
import type { Timeline } from './timeline.js';
import type { UndoStack } from './undo.js';

export interface DestinationObserver {
  started?(snapshot: () => DestinationRecord): void;
  stateChanged?(from: DestinationState, to: DestinationState, event: DestinationEvent): void;
  roundFinished?(round: number, received: TransferCount): void;
}

export interface DestinationOptions {
  readonly machine: DestinationMachine;
  readonly control: ControlLink;
  readonly data: DestinationDataPlane;
  readonly scheduler: Scheduler;
  readonly parameters: MigrationParameters;
  readonly digest: Digest;
  /** Hashes this machine's RAM; used only by verifying runs, after `accept`. */
  readonly hasher: PageHasher;
  readonly observer?: DestinationObserver;
  /** Aborting refuses the guest; after *commit* it does nothing. */
  readonly signal?: AbortSignalLike;
  readonly record?: FrameRecorder;
  /** Where what happens is put down; see `SourceOptions`. */
  readonly timeline?: Timeline;
}

/** What the steps share. */
export interface Destination extends DestinationOptions {
  readonly life: Lifecycle<DestinationState, DestinationEvent>;
  readonly talk: Conversation;
  readonly deafen: () => void;
  hello: MessageOf<'hello'> | undefined;
  readonly root: RunningRoot;
  /** What undoes all that was done here, as long as no commit has come. */
  readonly undo: UndoStack;
  chosen: Chosen | undefined;
  starts: readonly OnDevice<DeviceStart>[];
  /** There if the state of assigned devices comes. */
  deviceStream: DeviceStreamReceiver | undefined;
  connected: boolean;
  rehearsed: Rehearsed;
  rounds: number;
  error: SerializedError | undefined;
  guest: Whereabouts | undefined;
  afterwards: SerializedError | undefined;
  readonly timeline: Timeline;
}
