/** A guest runs with all of its machine, or stands with all of it, also when a part of it fails to follow. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { milliseconds } from '../../base/units.js';
import { PassthroughDevice } from '../../vmm/passthrough/device.js';
import { refused } from '../migration/test-errors.js';
import { type Alone, echoingAlone } from './passthrough-world.js';

afterEach(() => {
  vi.restoreAllMocks();
});

/** The next call of `method` of the device fails. */
function failOnce(method: 'halt' | 'start'): void {
  vi.spyOn(PassthroughDevice.prototype, method).mockImplementationOnce(() => {
    throw refused(`${method} fails`);
  });
}

/** Packets that came back within 20 ms. */
async function echoed({ network, scheduler }: Alone): Promise<number> {
  const received = (): number => network.peer.report()[0]!.arrived!.received;
  const before = received();
  await scheduler.sleep(milliseconds(20));
  return received() - before;
}

describe('a machine of which a part fails', () => {
  it('to stop goes on, all of it, and can be paused the next time', () =>
    echoingAlone(async (world) => {
      const { machine, scheduler } = world;
      await scheduler.sleep(milliseconds(20));
      failOnce('halt');
      await expect(machine.pause()).rejects.toThrow('halt fails');
      expect(machine.query()).toMatchObject({ state: 'running' });
      expect(await echoed(world), 'packets that came back after the pause that failed').toBeGreaterThan(100);
      await machine.pause();
      expect(await echoed(world), 'packets that came back while it stood').toBeLessThan(100);
      await machine.resume();
      expect(await echoed(world)).toBeGreaterThan(100);
    }));

  it('to start stands, all of it, and can be resumed the next time', () =>
    echoingAlone(async (world) => {
      const { machine, scheduler } = world;
      await scheduler.sleep(milliseconds(20));
      await machine.pause();
      failOnce('start');
      await expect(machine.resume()).rejects.toThrow('start fails');
      const { state, clockNs } = machine.query();
      expect(state).toBe('paused');
      await scheduler.sleep(milliseconds(20));
      expect(machine.query().clockNs, 'the clock of the guest').toBe(clockNs);
      await machine.resume();
      expect(await echoed(world)).toBeGreaterThan(100);
    }));
});
