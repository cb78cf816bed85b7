/** The integrity root stands for every page: whichever differs, it does. */
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../lab/simulator/run.js';
import { integrityRoot, RunningRoot, sameBytes } from '../../migration/integrity.js';

const PAGES = 200;

const table = (): Uint32Array => Uint32Array.from({ length: 2 * PAGES }, (_, i) => i * 2654435761);
/** The words of the table without which the root is the same. */
const blindTo = (rootOf: (hashes: Uint32Array) => Uint8Array): number[] => {
  const whole = rootOf(table());
  return [...table().keys()].filter((word) => {
    const changed = table();
    changed[word]! ^= 1;
    return sameBytes(rootOf(changed), whole);
  });
};

describe('the integrity root', () => {
  it('differs when one word of any page’s hash does', () => {
    expect(
      blindTo((hashes) => integrityRoot(sha256, hashes, PAGES)),
      'words it is blind to',
    ).toEqual([]);
  });

  it('as kept while pages travel differs when one word of any page’s hash does', () => {
    const travelled = { pages: PAGES, zeroPages: 0, bytes: 0 };
    expect(
      blindTo((hashes) => new RunningRoot(sha256).of(hashes, travelled)),
      'words it is blind to',
    ).toEqual([]);
  });

  it('is computed anew when more pages have travelled, zero pages too', () => {
    const root = new RunningRoot(sha256);
    const hashes = table();
    const seen = [
      { pages: 1, zeroPages: 0, bytes: 0 },
      { pages: 1, zeroPages: 1, bytes: 0 },
      { pages: 2, zeroPages: 1, bytes: 0 },
    ].map((travelled, i) => {
      hashes[i]! ^= 1;
      return Buffer.from(root.of(hashes, travelled)).toString('hex');
    });
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('negative control: of half of the table is blind to the other half', () => {
    expect(blindTo((hashes) => integrityRoot(sha256, hashes, PAGES / 2))).toHaveLength(PAGES);
  });
});
