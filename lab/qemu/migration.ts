/**
 * A guest moved by QEMU's own migration, driven over both monitors, with a halt at the switchover, where no vCPU runs and the last
 * pages have not gone: what becomes of the function is settled there.
 */
import { FerryError, type SerializedError } from '../../base/errors.js';
import { labErrors } from '../errors.js';
import type { QmpEvent } from '../vmm-client/qmp-client.js';
import { Events } from './events.js';
import type { Pair, Side } from './pair.js';

/** What QEMU's `query-migrate` tells, as far as it is used here. Times in milliseconds. */
export interface QemuFigures {
  readonly status?: string;
  readonly 'error-desc'?: string;
  readonly 'total-time'?: number;
  readonly 'setup-time'?: number;
  readonly downtime?: number;
  readonly ram?: {
    readonly total: number;
    readonly transferred: number;
    readonly remaining: number;
    readonly duplicate: number;
    readonly normal: number;
    readonly 'page-size': number;
    readonly 'dirty-pages-rate'?: number;
  };
}

/** The figures when a round began. */
export interface RoundBegun {
  readonly atMs: number;
  readonly figures: QemuFigures;
}

/** A piece of work of ours, by the clock of the events. */
export interface Work {
  readonly who: 'source' | 'destination';
  readonly what: string;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface QemuMigration {
  readonly status: 'completed' | 'failed' | 'cancelled';
  readonly error: SerializedError | undefined;
  readonly figures: QemuFigures;
  readonly begunMs: number;
  readonly rounds: readonly RoundBegun[];
  readonly sourceEvents: readonly QmpEvent[];
  readonly destinationEvents: readonly QmpEvent[];
  readonly works: readonly Work[];
}

export interface MoveSteps {
  /** No vCPU runs, and the last pages have not gone. */
  atSwitchover(): Promise<void>;
  /** The guest is at the destination, and stands still. */
  beforeRun(): Promise<void>;
}

const ENDED = ['completed', 'failed', 'cancelled'];
/** QEMU's own: it judges by it when to switch over. An emulated machine dirties little, and its host is slow. */
const DOWNTIME_LIMIT_MS = 300;

/** Milliseconds of the clock that QEMU's events have. */
export const eventNow = (): number => performance.timeOrigin + performance.now();

/**
 * Moves the guest. Resolves also where that fails, and then the guest goes on at the source. Rejects with how a QEMU ended, or
 * `lab/timeout`.
 */
export async function moveByQemu(
  pair: Pair,
  source: Side,
  destination: Side,
  steps: MoveSteps,
  patienceMs: number,
): Promise<QemuMigration> {
  const [here, there] = [new Events(source.linux), new Events(destination.linux)];
  const works: Work[] = [];
  const during = async (who: Work['who'], what: string, work: () => Promise<void>): Promise<void> => {
    const fromMs = eventNow();
    await work();
    works.push({ who, what, fromMs, toMs: eventNow() });
  };
  for (const { linux } of [source, destination]) {
    const capabilities = ['events', 'return-path', 'pause-before-switchover'].map((capability) => ({
      capability,
      state: true,
    }));
    await linux.command('migrate-set-capabilities', { capabilities });
  }
  await source.linux.command('migrate-set-parameters', { 'downtime-limit': DOWNTIME_LIMIT_MS });
  await destination.linux.command('migrate-incoming', { uri: pair.uri });

  const rounds: RoundBegun[] = [];
  const figuresOf = async (): Promise<QemuFigures> =>
    (await source.linux.command('query-migrate')) as QemuFigures;
  const noting: Promise<void>[] = [];
  const stopNoting = source.linux.qmp.onEvent(({ event, timeMs }) => {
    if (event !== 'MIGRATION_PASS') return;
    noting.push(
      figuresOf().then(
        (figures) => void rounds.push({ atMs: timeMs, figures }),
        () => {},
      ),
    );
  });
  const begunMs = eventNow();
  let error: FerryError | undefined;
  try {
    await source.linux.command('migrate', { uri: pair.uri });
    let status = await here.reaches([...ENDED, 'pre-switchover'], patienceMs);
    if (status === 'pre-switchover') {
      error = await during('source', 'switchover', () => steps.atSwitchover()).then(() => undefined, asError);
      if (error === undefined) await source.linux.command('migrate-continue', { state: 'pre-switchover' });
      else await source.linux.command('migrate_cancel');
      status = await here.reaches(ENDED, patienceMs);
    }
    await Promise.all(noting);
    const figures = await figuresOf();
    if (status === 'completed') {
      await there.reaches(ENDED, patienceMs);
      await during('destination', 'before the guest runs', () => steps.beforeRun());
      await destination.linux.command('cont');
    } else {
      error ??= labErrors.error('qemu-failed', {
        status,
        why: figures['error-desc'] ?? 'QEMU does not say why',
      });
      // QEMU resumes a guest that it had stopped; one of which a step of ours failed may still stand.
      await source.linux.command('cont');
    }
    return {
      status: status as QemuMigration['status'],
      error: error?.toJSON(),
      figures,
      begunMs,
      rounds,
      sourceEvents: here.seen,
      destinationEvents: there.seen,
      works,
    };
  } finally {
    stopNoting();
  }
}

function asError(error: unknown): FerryError {
  if (error instanceof FerryError) return error;
  throw error;
}
