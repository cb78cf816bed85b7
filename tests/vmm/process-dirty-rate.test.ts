/** The dirty rate at the monitor's word, beside what else a VMM may be about. */
import { describe, expect, it } from 'vitest';
import { vmmErrors } from '../../vmm/errors.js';
import { running, settled, sourceRecord, TARGET } from './controller-world.js';

describe('a controller', () => {
  it('measures the dirty rate of a guest that is not on its way, and moves none that is being measured', async () => {
    const { controller, state, defects } = await running();
    let goOn = (): void => {};
    state.leave = async () => {
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      return sourceRecord('failed');
    };
    const request = { durationMs: 1000, periodMs: 1 };
    expect(controller.dirtyRate.status).toBe('unstarted');
    controller.migrate(TARGET);
    expect(() => controller.calcDirtyRate(request)).toThrow('not allowed while migrating');
    goOn();
    await settled(() => controller.migration().status === 'failed');
    // Time stands still here, so that only its end ends it.
    controller.calcDirtyRate(request);
    expect(controller.dirtyRate.status).toBe('measuring');
    expect(() => controller.calcDirtyRate(request)).toThrow('being measured already');
    expect(() => controller.migrate(TARGET)).toThrow('not allowed while the dirty rate is measured');
    await settled(() => controller.dirtyRate['x-ferry-tracking'] === 'cpu-log');
    await controller.destroy();
    expect(controller.dirtyRate).toMatchObject({ status: 'measured', 'dirty-rate': 0 });
    expect(defects).toEqual([]);
  });

  it('ends the measuring of a guest that ended meanwhile, and says why', async () => {
    const { controller, state, defects } = await running();
    controller.calcDirtyRate({ durationMs: 1000, periodMs: 1 });
    state.events?.panicked(vmmErrors.error('guest-panic', {}));
    await settled(() => controller.dirtyRate.status === 'unstarted');
    expect(controller.dirtyRate['error-desc']).toContain('guest-panicked');
    expect(defects).toEqual([]);
  });
});
