/** The dirty rate of a guest on a person's word, as QEMU's `calc-dirty-rate`: one measurement at a time, and what came of the last. */
import type { Scheduler } from '../../base/clock.js';
import { isFerryError } from '../../base/errors.js';
import { MIB, milliseconds, PAGE_BYTES } from '../../base/units.js';
import { type DirtyRateRecord, measureDirtyRate } from '../../migration/dirty-rate.js';
import type { MigrationParameters } from '../../migration/parameters.js';
import type { SourceMachine } from '../../migration/ports.js';
import type { DirtyRateInfo, DirtyRateRequest } from '../monitor/control.js';
import { QmpError } from '../monitor/protocol.js';

const NS_PER_SECOND = 1e9;

export class DirtyRate {
  readonly #scheduler: Scheduler;
  readonly #parameters: MigrationParameters;
  readonly #onDefect: (error: unknown) => void;
  #measuring: { readonly cancel: AbortController; readonly done: Promise<void> } | undefined;
  #info: DirtyRateInfo = infoOf('unstarted', 0, 0);

  constructor(scheduler: Scheduler, parameters: MigrationParameters, onDefect: (error: unknown) => void) {
    this.#scheduler = scheduler;
    this.#parameters = parameters;
    this.#onDefect = onDefect;
  }

  get isMeasuring(): boolean {
    return this.#measuring !== undefined;
  }

  /** `calc-time` in milliseconds. */
  get info(): DirtyRateInfo {
    return this.#info;
  }

  /** Begins. Throws a QmpError while another one is under way. */
  measure(machine: SourceMachine, { durationMs, periodMs }: DirtyRateRequest): void {
    if (this.isMeasuring) throw new QmpError('The dirty rate is being measured already');
    const startedS = Math.floor(this.#scheduler.now() / NS_PER_SECOND);
    const cancel = new AbortController();
    this.#info = infoOf('measuring', startedS, durationMs);
    const done = measureDirtyRate({
      machine,
      scheduler: this.#scheduler,
      parameters: this.#parameters,
      duration: milliseconds(durationMs),
      period: milliseconds(periodMs),
      signal: cancel.signal,
      begun: (tracking) => {
        this.#info = { ...this.#info, 'x-ferry-tracking': tracking };
      },
    })
      .then((record) => {
        this.#info = { ...infoOf('measured', startedS, durationMs), ...found(record) };
      })
      .catch((error: unknown) => {
        this.#info = {
          ...infoOf('unstarted', startedS, durationMs),
          'error-desc': String((error as Error).message),
        };
        if (!isFerryError(error)) this.#onDefect(error);
      })
      .finally(() => {
        this.#measuring = undefined;
      });
    this.#measuring = { cancel, done };
  }

  /** Ends what is under way. Never rejects. */
  async end(): Promise<void> {
    this.#measuring?.cancel.abort();
    await this.#measuring?.done;
  }
}

const infoOf = (status: DirtyRateInfo['status'], startedS: number, durationMs: number): DirtyRateInfo => ({
  status,
  'start-time': startedS,
  'calc-time': durationMs,
  'calc-time-unit': 'millisecond',
  mode: 'dirty-bitmap',
});

function found({ tracking, durationNs, harvests, dirtied, harvestNs, vcpusAwayNs }: DirtyRateRecord) {
  const bytes = (dirtied.cpu + dirtied.device + dirtied.both) * PAGE_BYTES;
  return {
    'dirty-rate': durationNs === 0 ? 0 : Math.round(bytes / MIB / (durationNs / NS_PER_SECOND)),
    'x-ferry-tracking': tracking,
    'x-ferry-dirtied': dirtied,
    'x-ferry-harvests': { count: harvests, 'time-ns': harvestNs, 'vcpus-away-ns': vcpusAwayNs },
  };
}
