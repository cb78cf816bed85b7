/** The timeline: what happened when and to whom, and what the record's tables compute from it. */
import { describe, expect, it } from 'vitest';
import { type Instant, instant, milliseconds } from '../../base/units.js';
import { OTHERS_MAX, observed, Timeline } from '../../migration/timeline.js';
import { blackoutOf, MOMENTS } from '../../migration/timeline-views.js';
import { simulate } from './simulate.js';
import { smallDevice } from './test-device.js';
import { smallGuest } from './test-machine.js';

/** A clock that stands where it is put. */
const clockAt = (): { at: number; now(): Instant } => ({
  at: 0,
  now() {
    return instant(this.at);
  },
});

describe('a timeline', () => {
  it('keeps what the flow says whatever others say, and counts what it has no room for', () => {
    const timeline = new Timeline(clockAt());
    for (let i = 0; i < OTHERS_MAX + 5; i++) timeline.moment('vcpu0', 'publish');
    timeline.moment('migration', 'paused');
    expect(timeline.entries).toHaveLength(OTHERS_MAX + 1);
    expect(timeline.entries.at(-1)).toEqual({ at: 0, who: 'migration', what: 'paused' });
    expect(timeline.leftOff).toBe(5);
  });

  it('records an observed call with its time, and what it failed with, and passes on the rest untouched', async () => {
    const clock = clockAt();
    let timeline: Timeline | undefined;
    class Device {
      #state = 'running';
      async stop(ms: number): Promise<string> {
        clock.at += milliseconds(ms);
        if (ms > 5) throw new Error('stuck');
        this.#state = 'stopped';
        return this.#state;
      }
      get state(): string {
        return this.#state;
      }
    }
    const device = observed(new Device(), 'vf0', () => timeline, ['stop']);
    expect(await device.stop(1)).toBe('stopped');
    timeline = new Timeline(clock);
    expect(await device.stop(2)).toBe('stopped');
    await expect(device.stop(6)).rejects.toThrow('stuck');
    expect(device.state).toBe('stopped');
    expect(timeline.entries).toEqual([
      { at: 1e6, duration: 2e6, who: 'vf0', what: 'stop' },
      { at: 3e6, duration: 6e6, who: 'vf0', what: 'stop', facts: { failed: 'stuck' } },
    ]);
  });

  it('gives a blackout only when all of its moments have come, and parts that add up to it', () => {
    const clock = clockAt();
    const timeline = new Timeline(clock);
    for (const moment of MOMENTS) {
      expect(blackoutOf(timeline, true), `before ${moment}`).toBeUndefined();
      clock.at += 1000 * (1 + MOMENTS.indexOf(moment));
      timeline.moment('migration', moment);
    }
    const { totalNs, ...parts } = blackoutOf(timeline, true)!;
    expect(Object.values(parts).reduce((sum, part) => sum + part, 0)).toBe(totalNs);
    expect(parts.quiesceNs).toBe(2000);
    expect(parts.loadNs).toBe(7000);
  });
});

describe('the timeline of a migration', () => {
  it('tells on both sides who did what, in order, and the tables are what it says', async () => {
    const { source, destination } = await simulate({ shape: { ...smallGuest, device: smallDevice } });
    const said = (who: string): string[] =>
      source.timeline.filter((entry) => entry.who === who).map(({ what }) => what);
    expect(said('vf0')).toEqual(expect.arrayContaining(['track', 'readDirty', 'quiesce', 'stopCopy']));
    expect(said('vf0').indexOf('quiesce')).toBeLessThan(said('vf0').indexOf('stopCopy'));
    const rounds = source.timeline.filter(({ what }) => what === 'round');
    expect(rounds.map(({ facts, duration }) => [facts!.round, duration])).toEqual(
      source.rounds.map(({ round, durationNs }) => [round, durationNs]),
    );
    const states = source.timeline.filter(({ what }) => what === 'state').map(({ facts }) => facts!.to);
    expect(states.at(-1)).toBe(source.status);
    const step = destination.timeline.find(({ who, what }) => who === 'migration' && what === 'load')!;
    expect(step.duration).toBe(destination.parts.loadNs);
    expect(destination.timeline.some(({ who, what }) => who === 'vf0' && what === 'load')).toBe(true);
    for (const { timeline } of [source, destination]) {
      const moments = timeline.filter(({ duration }) => duration === undefined).map(({ at }) => at);
      expect(moments).toEqual(moments.toSorted((a, b) => a - b));
    }
  });
});
