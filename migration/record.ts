/**
 * What a migration records, as plain data: the table on the terminal, `query-migrate` and `--json` derive from it.
 * Times are on the clock of the side that wrote the record; page numbers count 4 KiB pages.
 */
import type { SerializedError } from '../base/errors.js';
import type { Duration } from '../base/units.js';
import type { Effort } from './approach.js';
import type { Approaches } from './approaches.js';
import type { Whereabouts } from './endings.js';
import type { MessageOf } from './messages.js';
import type { PageRanges } from './page-ranges.js';
import type { VerifyMode } from './parameters.js';
import type { TransferCount } from './ports.js';
import type { DestinationState, SourceState } from './states.js';
import type { Left } from './stop/stop.js';
import type { TimelineEntry } from './timeline.js';

/** Pages by who wrote them: vCPUs only, host and devices only, both. */
export interface DirtiedPages {
  readonly cpu: number;
  readonly device: number;
  readonly both: number;
}

/** One round: pages sent, then the log harvested. The last round is sent while the guest stands still. */
export interface RoundRecord {
  readonly round: number;
  readonly last: boolean;
  /** All pages that went out. */
  readonly pages: number;
  /** Of these, pages of which only the fact travelled that they are zero. */
  readonly zeroPages: number;
  /** Of these, pages that had been sent before. */
  readonly resentPages: number;
  /** Wire bytes, headers included. */
  readonly bytes: number;
  readonly durationNs: Duration;
  readonly bytesPerSecond: number;
  /** Written since the harvest before, as this round's harvest found; none for the last round. */
  readonly dirtied: DirtiedPages;
  readonly harvestNs: Duration;
  /** How long the vCPUs were kept from the guest for this harvest, summed. */
  readonly harvestCostNs: Duration;
  readonly throttlePercent: number;
}

/**
 * The blackout of the VM on the source's clock, from asking the assigned device, or without one the vCPUs, to stop
 * until the destination said *running*. The parts add up to the total. Full verification stands between `load` and
 * `start`, and is counted in neither.
 */
export interface BlackoutRecord {
  readonly totalNs: Duration;
  /** Until the assigned device wrote no more; the vCPUs still ran. */
  readonly quiesceNs: Duration;
  readonly pauseNs: Duration;
  /** Last harvest and last pages, until the channels had taken them; meanwhile machine and device are saved. */
  readonly lastPagesNs: Duration;
  /** What reading out and sending the device's state took longer than that. */
  readonly deviceStateNs: Duration;
  /** Integrity root computed; it and the state encoded and handed to the control link. */
  readonly stateNs: Duration;
  /** Until *prepared* came: the rest of the pages arriving, root check and load at the destination. */
  readonly loadNs: Duration;
  /** From *commit* to *running*. */
  readonly startNs: Duration;
}

/** The destination's own parts, on its clock; they lie within the source's `load` and `start`. */
export interface DestinationParts {
  readonly lastPagesNs: Duration;
  readonly integrityNs: Duration;
  readonly loadNs: Duration;
  /** The assigned device, from the last of its state on, beside that and the last pages. 0 without one. */
  readonly deviceLoadNs: Duration;
  readonly startNs: Duration;
  /** Of that, until the device worked. 0 without one, or where it is not told apart. */
  readonly deviceStartNs: Duration;
}

/** A stop that the guest did not follow, and the one that was tried then. */
export interface Fallback {
  /** A start is never given up for another: it is the destination's. */
  readonly effort: Exclude<Effort, 'start'>;
  readonly from: string;
  readonly to: string;
  readonly because: string;
}

/** What an assigned device had to do with it. */
export interface DeviceTransfer {
  readonly name: string;
  /** Bytes of its data stream that went while it ran, and while it stood still. */
  readonly preCopyBytes: number;
  readonly blackoutBytes: number;
  /** Where it is started after the guest: until it worked, or gave up. */
  readonly startedAfterNs: Duration | undefined;
  /** Why it does not work at the destination; undefined if it does. */
  readonly problem: string | undefined;
  /** Why the guest did not do ahead what the start would have had it do; undefined if it did. */
  readonly unprepared: string | undefined;
  /** What the guest notices of its having been taken back, to go after the name; undefined if nothing. */
  readonly takenBack: string | undefined;
}

export interface VerificationRecord {
  readonly mode: Exclude<VerifyMode, 'off'>;
  /** Whether the comparison that the mode asks for was made, to its end. */
  readonly established: boolean;
  /** What was found when the guest ran at the destination already (`after`); in other modes a difference ends the migration. */
  readonly differences: readonly string[];
  /** Time of the comparison: between *prepared* and *commit* for `full`, after *running* for `after`, 0 for `root`. */
  readonly durationNs: Duration;
  readonly pages: number;
  /** The integrity root, hex. */
  readonly root: string;
}

/** `same-pages`: the tracking names the same pages again however often they are sent. */
export type RoundsEnd =
  | 'fits-downtime-limit'
  | 'nothing-left'
  | 'no-longer-shrinks'
  | 'max-rounds'
  | 'same-pages';

export interface MigrationRecord {
  readonly role: 'source';
  readonly migrationId: string;
  readonly status: SourceState;
  /** Why it failed, was cancelled, or how the outcome came to be unknown; its advice says where the guest is. */
  readonly error: SerializedError | undefined;
  /** What went wrong after the guest ran at the destination: the migration is complete all the same. */
  readonly afterwards: SerializedError | undefined;
  /** Where the guest is, once it has ended. */
  readonly guest: Whereabouts | undefined;
  readonly verify: VerifyMode;
  /** Undefined until they were chosen. */
  readonly approaches: Approaches | undefined;
  /** How the stop left the devices, as their drivers know them. */
  readonly left: Left | undefined;
  /** Stops that were tried before the one that the approaches name, in order. */
  readonly fallbacks: readonly Fallback[];
  readonly devices: readonly DeviceTransfer[];
  /** Pages that the devices wrote, as far as the machine tells them apart; host writes are counted with them. */
  readonly deviceDirtied: PageRanges | undefined;
  readonly ramBytes: number;
  readonly migratedPages: number;
  readonly channels: number;
  /** From the call to the first round. */
  readonly setupNs: Duration;
  /** From the call to now, or to the end. */
  readonly totalNs: Duration;
  readonly rounds: readonly RoundRecord[];
  readonly roundsEnd: RoundsEnd | undefined;
  /** Live over all channels, counted as in a round. */
  readonly transferred: Pick<RoundRecord, 'pages' | 'zeroPages' | 'resentPages' | 'bytes'>;
  readonly dirtied: DirtiedPages;
  /** Pages that still have to be sent, as of the last harvest. */
  readonly remainingPages: number;
  readonly dirtyPagesPerSecond: number;
  /** Measured rate of the link over the last rounds; 0 before the first. */
  readonly bytesPerSecond: number;
  readonly throttlePercent: number;
  readonly harvests: { readonly count: number; readonly totalNs: Duration; readonly costNs: Duration };
  /** The blackout as it was expected when the last round was judged, part by part, from what had been measured. */
  readonly expected: BlackoutRecord | undefined;
  readonly blackout: BlackoutRecord | undefined;
  /** How long a guest stood still that was then resumed at the source. */
  readonly interruptionNs: Duration | undefined;
  readonly destination: DestinationParts | undefined;
  readonly verification: VerificationRecord | undefined;
  readonly timeline: readonly TimelineEntry[];
  /** Entries that the timeline had no room for. */
  readonly timelineLeftOff: number;
}

export interface DestinationRecord {
  readonly role: 'destination';
  /** Empty until the source has introduced itself. */
  readonly migrationId: string;
  readonly status: DestinationState;
  readonly error: SerializedError | undefined;
  /** Where the guest is, once it has ended; `here` from the moment that it belongs to this side. */
  readonly guest: Whereabouts | undefined;
  /** What went wrong after the guest ran: the migration is complete all the same. */
  readonly afterwards: SerializedError | undefined;
  /** As the source chose at the start; it may have fallen back to another stop since. */
  readonly approaches: MessageOf<'hello'>['approaches'] | undefined;
  readonly rounds: number;
  readonly received: TransferCount;
  /** Bytes of the assigned devices' data streams. */
  readonly deviceBytes: number;
  readonly totalNs: Duration;
  readonly parts: DestinationParts;
  /** It goes on when the guest runs: with what its drivers do with their devices, until it is moved again. */
  readonly timeline: readonly TimelineEntry[];
  /** Entries that the timeline had no room for. */
  readonly timelineLeftOff: number;
}
