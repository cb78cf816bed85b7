import { describe, expect, it } from 'vitest';
import { RUN_STATE_MOVES, RUN_STATES, RunStateMachine } from '../../vmm/monitor/run-state.js';

describe('run states', () => {
  it('permit exactly the moves of the table', () => {
    for (const from of ['prelaunch', 'inmigrate'] as const) {
      for (const to of RUN_STATES) {
        const run = new RunStateMachine(from, () => {});
        if (RUN_STATE_MOVES[from].includes(to)) {
          run.move(to);
          expect(run.state).toBe(to);
        } else {
          expect(() => run.move(to)).toThrow(/no move/);
          expect(run.state).toBe(from);
        }
      }
    }
  });

  it('never let a guest run that moved away, nor one that ended', () => {
    const reach = (from: string, without: string): Set<string> => {
      const seen = new Set([from]);
      for (const s of seen) {
        for (const next of RUN_STATE_MOVES[s as keyof typeof RUN_STATE_MOVES]) {
          if (!(s === 'postmigrate' && next === without)) seen.add(next);
        }
      }
      return seen;
    };
    for (const ended of ['guest-panicked', 'shutdown', 'internal-error']) {
      expect([...reach(ended, '')]).not.toContain('running');
    }
    // Without a guest that comes, postmigrate is the end.
    expect([...reach('postmigrate', 'inmigrate')]).toEqual(['postmigrate', 'internal-error']);
  });
});
