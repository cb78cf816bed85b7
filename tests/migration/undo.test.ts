/** Taking back: everything that was done is undone, newest first, whatever of it throws. */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import { UndoStack } from '../../migration/undo.js';
import { checkOneSurvivor, type Stage, simulate } from './simulate.js';
import { smallDevice } from './test-device.js';
import { refused } from './test-errors.js';
import { type GuestShape, smallGuest } from './test-machine.js';

describe('an undo stack', () => {
  it('runs every inverse once, newest first, and collects what each subset of them throws', async () => {
    const steps = ['tracking', 'device', 'throttle', 'pause'];
    for (let failing = 0; failing < 1 << steps.length; failing++) {
      const undone: string[] = [];
      const stack = new UndoStack();
      steps.forEach((step, i) => {
        stack.push(step, () => {
          undone.push(step);
          if ((failing >> i) & 1) throw new Error(`no ${step}`);
        });
      });
      const failures = await stack.takeBack();
      expect(undone).toEqual(steps.toReversed());
      expect(failures.map(({ step }) => step)).toEqual(
        steps.filter((_, i) => (failing >> i) & 1).toReversed(),
      );
      expect(await stack.takeBack()).toEqual([]);
    }
  });

  it('undoes nothing of what was forgotten, and waits for each before the next', async () => {
    const undone: string[] = [];
    const stack = new UndoStack();
    stack.push('kept', () => void undone.push('kept'));
    stack.forget();
    stack.push('again', () => void undone.push('too early'));
    stack.push('first', () => void undone.push('first'));
    stack.push('slow', async () => {
      await Promise.resolve();
      undone.push('slow');
    });
    stack.push('again', () => void undone.push('again'));
    await stack.takeBack();
    expect(undone).toEqual(['again', 'slow', 'first']);
  });
});

describe('a source that takes its guest back', () => {
  const shape: GuestShape = { ...smallGuest, device: smallDevice };
  /** What must be undone after a destination failed to load, by who does it, and the words for it. */
  const inverses = [
    ['machine', 'resume', 'the pause of the vCPUs'],
    ['machine', 'stopDirtyLog', 'the tracking of dirty pages'],
    ['device', 'reset', 'what vf0 was asked'],
  ] as const;

  it.each(Array.from({ length: 8 }, (_, subset) => subset))(
    'undoes all the rest when of its inverses those of subset %i fail, and names each',
    async (subset) => {
      const failing = inverses.filter((_, i) => (subset >> i) & 1);
      const outcome = await simulate({
        shape,
        prepare: ({ source, destination }) => {
          destination.failing = { load: refused('bad record') };
          for (const [who, call] of failing) {
            if (who === 'machine') source.failing = { ...source.failing, [call]: refused(`${call} fails`) };
            else source.device!.failing = { resume: refused('stuck'), [call]: refused(`${call} fails`) };
          }
        },
      });
      const { source, stage } = outcome;
      expect(stage.source.calls).toEqual(expect.arrayContaining(['resume', 'stopDirtyLog']));
      expect(stage.source.device!.calls).toContain('resume');
      expect(source.status).toBe('failed');
      if (failing.length === 0) expect(checkOneSurvivor(outcome)).toBe('source');
      else expect(source.error!.code).toBe('migration/take-back-failed');
      expect(source.error!.message).toMatch(/bad record/);
      for (const [, call, words] of failing)
        expect(source.error!.message).toMatch(new RegExp(`${words}: [^;]*${call} fails`));
      for (const [, call, words] of inverses) {
        if (!failing.some(([, other]) => other === call)) expect(source.error!.message).not.toContain(words);
      }
    },
  );

  it('lets its devices work again before the vCPUs go on, which would find them dead', async () => {
    const order: string[] = [];
    const { source } = await simulate({
      shape,
      prepare: ({ source: machine, destination }) => {
        destination.failing = { load: refused('bad record') };
        const device = machine.device!;
        const [resumeDevice, resumeMachine] = [device.resume.bind(device), machine.resume.bind(machine)];
        device.resume = async () => {
          await resumeDevice();
          order.push('device works');
        };
        machine.resume = async () => {
          order.push('vCPUs go on');
          await resumeMachine();
        };
      },
    });
    expect(source.status).toBe('failed');
    expect(order).toEqual(['device works', 'vCPUs go on']);
  });

  it('sends no more pages meanwhile, however long that takes', async () => {
    let sent = 0;
    let prepared: Stage | undefined;
    const { source, stage } = await simulate({
      bytesPerSecond: 20e6,
      shape: { pages: 2048, workingSet: 2000, stepsPerSlice: 50 },
      onPage: (page) => {
        if (page === 20) prepared!.cancel.source.abort();
      },
      prepare: (stage) => {
        prepared = stage;
        const { source: machine, data, world } = stage;
        const stop = machine.stopDirtyLog.bind(machine);
        machine.stopDirtyLog = async () => {
          sent = data.pieces();
          await world.scheduler.sleep(milliseconds(400));
          await stop();
        };
      },
    });
    expect(source.status).toBe('cancelled');
    // Two channels have two frames each in hand, of a head and eight times sixteen pages.
    expect(stage.data.pieces() - sent, 'pieces sent after the cancel').toBeLessThanOrEqual(2 * 2 * (1 + 8));
  });
});
