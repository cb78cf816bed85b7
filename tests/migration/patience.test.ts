/** How long a source waits for data channels that stand still, and that its patience follows what was set. */
import { describe, expect, it } from 'vitest';
import { milliseconds, seconds, toSeconds } from '../../base/units.js';
import { checkOneSurvivor, type Scene, simulate } from './simulate.js';
import type { GuestShape } from './test-machine.js';

const SLOWEST = 64 * 1024;
const PATIENCE = 2;
/** Writes little enough for the slowest link. */
const shape: GuestShape = { pages: 64, workingSet: 4, stepsPerSlice: 0.01 };
const scene: Scene = { shape, parameters: { answerTimeoutMs: 1000 * PATIENCE, maxBandwidth: 0 } };

/** Has something to send in more than one round. */
const busy: Scene = { shape: { ...shape, stepsPerSlice: 1 } };

/** Minutes of a guest that computes would take long to simulate. */
const soonIdle: Scene['prepare'] = ({ source, world: { scheduler } }) => {
  scheduler.after(milliseconds(100), () => source.stopForGood());
};

/** A source that gave up for want of progress within `atMost` seconds, and after how many. */
async function givenUp(atMost: number, stalled: Scene): Promise<number> {
  const outcome = await simulate({
    ...scene,
    ...stalled,
    parameters: { ...scene.parameters, ...stalled.parameters },
    prepare: (stage) => {
      stalled.prepare?.(stage);
      // Should nobody notice, this ends it.
      stage.world.scheduler.after(seconds(atMost), () => stage.cancel.source.abort());
    },
  });
  expect(checkOneSurvivor(outcome)).toBe('source');
  expect(outcome.source.error, `stalled data channels are noticed within ${atMost} s`).toMatchObject({
    code: 'migration/peer-silent',
    facts: { expected: 'progress on the data channels' },
  });
  return toSeconds(outcome.source.totalNs);
}

describe('data channels that stand still', () => {
  it('at any piece are given up on, and the guest stays', async () => {
    const pieces = (await simulate({ ...scene, ...busy })).stage.data.pieces();
    expect(pieces).toBeGreaterThan(3);
    for (let stallAtPiece = 0; stallAtPiece < pieces; stallAtPiece++) {
      const waited = await givenUp(3 * PATIENCE, { stallAtPiece, ...busy });
      expect(waited).toBeGreaterThan(PATIENCE);
    }
  });

  it('are waited for as long as the slowest link may take, whatever lower limit was set', async () => {
    for (const maxBandwidth of [1, 7, SLOWEST]) {
      const waited = await givenUp(600, { stallAtPiece: 1, parameters: { maxBandwidth }, prepare: soonIdle });
      expect(waited).toBeGreaterThan(200);
    }
  });

  it('are waited for no longer than under the limit in force', async () => {
    const waited = await givenUp(30 + 2 * PATIENCE, {
      stallAtPiece: 0,
      parameters: { maxBandwidth: 1 },
      prepare: (stage) => {
        soonIdle(stage);
        const {
          parameters,
          world: { scheduler },
        } = stage;
        scheduler.after(seconds(30), () => parameters.set({ maxBandwidth: 0 }));
      },
    });
    expect(waited).toBeGreaterThan(30);
  });

  it('are not waited for longer because something else is set again and again', async () => {
    await givenUp(3 * PATIENCE, {
      stallAtPiece: 0,
      prepare: ({ parameters, world: { scheduler } }) => {
        for (let ms = 0; ms < 10_000; ms += 500) {
          scheduler.after(milliseconds(ms), () => parameters.set({ downtimeLimitMs: 1 + ms }));
        }
      },
    });
  });
});
