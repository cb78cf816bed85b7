/** What a monitor is told of how far a migration is: QEMU has statuses for more than the flows have states. */
import { type DestinationState, qmpStatus, type SourceState } from '../../migration/states.js';
import type { MigrationInfo } from '../monitor/control.js';
import { type MigrationStatus, UNDER_WAY } from '../monitor/protocol.js';

/**
 * `wait-unplug`: rounds go on, but that they come to an end is up to the guest. `failing`: it went wrong, and what was done is
 * being taken back.
 */
type Detail = 'wait-unplug' | 'failing';

export class MigrationProgress {
  readonly #tell: (status: MigrationStatus) => void;
  #state: SourceState | DestinationState = 'none';
  /** Until the next state. */
  #detail: { readonly status: Detail } | undefined;

  /** `tell` hears of each status that a migration comes to. */
  constructor(tell: (status: MigrationStatus) => void) {
    this.#tell = tell;
  }

  /** Another migration has begun. */
  began(): void {
    this.#state = 'none';
    this.#detail = undefined;
  }

  /** Whether its status is one of a migration that has begun and not come to its end. */
  get underWay(): boolean {
    return UNDER_WAY.includes(qmpStatus(this.#state) as MigrationStatus);
  }

  /** The migration has come to another state. */
  moved(from: SourceState | DestinationState, to: SourceState | DestinationState): void {
    this.#state = to;
    this.#detail = undefined;
    if (qmpStatus(from) !== qmpStatus(to)) this.#tell(qmpStatus(to) as MigrationStatus);
  }

  /** In the same state it is more exactly this; or, undefined, active as before. */
  isMoreExactly(status: Detail | undefined): void {
    this.#detail = status && { status };
    this.#tell(status ?? 'active');
  }

  /** `info`, with the status that was told last. */
  of(info: MigrationInfo): MigrationInfo {
    return info.status !== undefined && UNDER_WAY.includes(info.status) ? { ...info, ...this.#detail } : info;
  }
}
