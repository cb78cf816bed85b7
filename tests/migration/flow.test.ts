import { describe, expect, it } from 'vitest';
import { checkOneSurvivor, simulate } from './simulate.js';

describe('a migration without faults', () => {
  it('completes, and the guest goes on at the destination with the bytes it must have', async () => {
    const outcome = await simulate();
    expect(outcome.source.error).toBeUndefined();
    expect(outcome.source.status).toBe('completed');
    expect(checkOneSurvivor(outcome)).toBe('destination');
    console.log(outcome.trace.lines.slice(0, -1).join('\n'), JSON.stringify(outcome.source, null, 1));
  });
});
