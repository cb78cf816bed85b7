/** The example of an approach of one's own, loaded as users load it, in a world that is real but for its time. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { builtIn } from '../../migration/registry.js';
import { loadApproaches } from '../../vmm/process/approach-modules.js';
import { moveUnderTraffic } from './passthrough-world.js';

const EXAMPLE = fileURLToPath(new URL('../../docs/examples/scan-late.mjs', import.meta.url));

describe('the example of a tracking', () => {
  it('moves a guest under traffic, whole, and sends what the device wrote in the blackout alone', async () => {
    const { registry, named } = await loadApproaches(builtIn, { tracking: `module:${EXAMPLE}` });
    const { source, flow } = await moveUnderTraffic({ registry, parameters: named });
    expect(source.error).toBeUndefined();
    expect(source.status).toBe('completed');
    expect(source.approaches).toMatchObject({ tracking: 'scan-late' });
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    const read = source.timeline.filter(({ what }) => what === 'readDirty');
    expect(read).toHaveLength(1);
    expect(source.rounds.slice(0, -2).map(({ dirtied }) => dirtied.device)).toEqual(
      source.rounds.slice(0, -2).map(() => 0),
    );
    expect(source.rounds.at(-1)!.pages).toBeGreaterThan(100);
  });
});

describe('a module that is not there, or no module', () => {
  it.each([
    ['./no-such.mjs', /can't be loaded: Cannot find/],
    [fileURLToPath(new URL('../../README.md', import.meta.url)), /can't be loaded/],
  ])('is refused by its path: %s', async (path, why) => {
    const error = await loadApproaches(builtIn, { stop: `module:${path}` }).catch((error: unknown) => error);
    expect(error).toMatchObject({ code: 'migration/own-approach', facts: { effort: 'stop', path } });
    expect((error as Error).message).toMatch(why);
  });
});
