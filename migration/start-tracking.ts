/**
 * The tracking of dirty pages is begun, by the first that was to be tried: where the guest has a part in that and does not take
 * it, by the next.
 */
import { isFerryError } from '../base/errors.js';
import { trackingWait } from './after-run.js';
import { onTimeline } from './observed-device.js';
import { NEVER, withPatience } from './patience.js';
import type { Source } from './source-context.js';
import type { TrackingDescriptor } from './tracking/tracking.js';

/** Resolves when the tracking is on; which one it is then stands in `source`. It is switched off when the guest is taken back. */
export function startTracking(source: Source): Promise<void> {
  let giveUp: () => void = () => undefined;
  const givenUp = new Promise<void>((resolve) => {
    giveUp = resolve;
  });
  let over = false;
  let started: Promise<void> = Promise.resolve();
  source.undo.push('the tracking of dirty pages', async () => {
    over = true;
    giveUp();
    await started.catch(() => undefined);
    await stopTracking(source);
  });
  started = startInTurn(source, givenUp, () => over);
  // Whoever waits for it hears of a failure.
  started.catch(() => undefined);
  return started;
}

async function startInTurn(source: Source, givenUp: Promise<void>, isOver: () => boolean): Promise<void> {
  for (;;) {
    const { scheduler, tracking } = source;
    const problem = await withPatience(scheduler, trackingWait(source), (patience) =>
      tracking.start({ patience, givenUp }),
    ).then(
      () => undefined,
      (error: Error) => error,
    );
    if (problem === undefined) return;
    const [next, ...others] = source.chosen?.otherTrackings ?? [];
    if (isOver() || next === undefined || !isFerryError(problem)) throw problem;
    await fallBack(source, next, others, problem.message);
  }
}

/** What was begun is ended, and the next tracking is put in its place. */
async function fallBack(
  source: Source,
  next: TrackingDescriptor,
  others: readonly TrackingDescriptor[],
  because: string,
): Promise<void> {
  const { chosen, machine, timeline, stats } = source;
  await stopTracking(source);
  stats.fellBack({ effort: 'tracking', from: chosen!.tracking.name, to: next.name, because });
  source.chosen = { ...chosen!, tracking: next, otherTrackings: others };
  source.tracking = next.make(machine, onTimeline(machine.devices, timeline));
}

const stopTracking = (source: Source): Promise<void> =>
  withPatience(source.scheduler, trackingWait(source), (patience) =>
    source.tracking.stop({ patience, givenUp: NEVER }),
  );
