import { describe, expect, it } from 'vitest';
import { catalogue, entry, FerryError, InvariantError, invariant, isFerryError } from '../../base/errors.js';
import { EXIT_STATUS } from '../../base/exit-status.js';

const errors = catalogue('sample', {
  'peer-version': entry<{ ours: number; theirs: number }>({
    exit: 'refused',
    text: ({ ours, theirs }) => `the peer speaks version ${theirs}, this side ${ours}`,
    advice: () => 'run the same release on both sides',
  }),
});

describe('errors', () => {
  it('carry code, words, facts, advice and exit status of their catalogue entry', () => {
    const error = errors.error('peer-version', { ours: 2, theirs: 3 }, new Error('socket'));
    expect(error.code).toBe('sample/peer-version');
    expect(error.message).toBe('the peer speaks version 3, this side 2');
    expect(error.exitStatus).toBe(EXIT_STATUS.refused);
    expect((error.cause as Error).message).toBe('socket');
    expect(isFerryError(error, 'sample/peer-version')).toBe(true);
    expect(isFerryError(error, 'sample/other')).toBe(false);
    expect(isFerryError(new Error('x'))).toBe(false);
  });

  it('survive JSON and a structured clone', () => {
    const error = errors.error('peer-version', { ours: 2, theirs: 3 });
    for (const copy of [JSON.parse(JSON.stringify(error)), structuredClone(error.toJSON())]) {
      const back = FerryError.from(copy);
      expect(back.toJSON()).toEqual(error.toJSON());
      expect(isFerryError(back, error.code)).toBe(true);
    }
  });

  it('stay well-formed whatever a peer sent', () => {
    for (const sent of [
      {},
      { exit: 'fine' },
      { exit: 'toString' },
      { exitStatus: 0 },
      { facts: { a: { b: 1 }, c: 2 } },
    ]) {
      const error = FerryError.from(sent as never);
      expect(error.exitStatus).toBe(EXIT_STATUS.failed);
      expect(typeof error.message).toBe('string');
      expect(Object.values(error.facts).every((fact) => typeof fact !== 'object')).toBe(true);
    }
  });

  it('tell a broken assumption apart from a wrong world', () => {
    expect(() => invariant(false, 'ring is empty')).toThrow(InvariantError);
    expect(() => invariant(1, 'fine')).not.toThrow();
    expect(isFerryError(new InvariantError('x'))).toBe(false);
  });
});
