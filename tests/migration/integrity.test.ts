/** The integrity root stands for every page: whichever differs, it does. */
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../lab/simulator/run.js';
import { HashTable, PART_PAGES } from '../../migration/hash-table.js';
import { type Digest, RunningRoot, sameBytes } from '../../migration/integrity.js';

/** Two parts and some of a third. */
const PAGES = 2 * PART_PAGES + 100;

function table(): HashTable {
  const made = new HashTable(PAGES);
  made.words.forEach((_, i) => {
    made.words[i] = i * 2654435761;
  });
  return made;
}

/** Words of all parts, the first and last of each among them. */
const WORDS = [...Array(2 * PAGES).keys()].filter(
  (word) =>
    word % 37 === 0 ||
    word % (2 * PART_PAGES) < 2 ||
    (word + 2) % (2 * PART_PAGES) < 2 ||
    word > 2 * PAGES - 3,
);

/** Counts the parts that are digested. */
function counting(): { digest: Digest; parts: () => number } {
  let count = 0;
  const digest: Digest = {
    part(...given) {
      count++;
      sha256.part(...given);
    },
    root: sha256.root,
  };
  return {
    digest,
    parts: () => {
      const counted = count;
      count = 0;
      return counted;
    },
  };
}

describe('the integrity root', () => {
  it('differs when one word of any page’s hash does', () => {
    const whole = new RunningRoot(sha256).of(table());
    const blind = WORDS.filter((word) => {
      const changed = table();
      changed.words[word]! ^= 1;
      return sameBytes(new RunningRoot(sha256).of(changed), whole);
    });
    expect(blind, 'words it is blind to').toEqual([]);
  });

  it('as kept while pages travel is what it is when computed anew, whichever page’s hash changed', () => {
    const hashes = table();
    const kept = new RunningRoot(sha256);
    kept.of(hashes);
    const stale = WORDS.filter((word) => {
      hashes.words[word]! ^= 1;
      hashes.stored(word >>> 1, (word >>> 1) + 1);
      const copy = table();
      copy.words.set(hashes.words);
      return !sameBytes(kept.of(hashes), new RunningRoot(sha256).of(copy));
    });
    expect(stale, 'words after whose change it was stale').toEqual([]);
  });

  it('digests what changed, and no more', () => {
    const { digest, parts } = counting();
    const hashes = table();
    const kept = new RunningRoot(digest);
    kept.of(hashes);
    expect(parts()).toBe(3);
    kept.of(hashes);
    expect(parts()).toBe(0);
    hashes.stored(PART_PAGES - 1, PART_PAGES);
    kept.of(hashes);
    expect(parts()).toBe(1);
    hashes.stored(PART_PAGES - 1, PART_PAGES + 1);
    kept.of(hashes);
    expect(parts()).toBe(2);
    hashes.stored(0, PAGES);
    kept.of(hashes);
    expect(parts()).toBe(3);
  });

  it('of a table that others share is told by them what changed', () => {
    const hashes = table();
    const kept = new RunningRoot(sha256);
    const before = kept.of(hashes);
    const theirs = new HashTable(PAGES, hashes.buffers);
    theirs.words[2 * PART_PAGES]! ^= 1;
    theirs.stored(PART_PAGES, PART_PAGES + 1);
    expect(sameBytes(kept.of(hashes), before)).toBe(false);
  });

  it('negative control: a change that nobody marks goes unseen', () => {
    const hashes = table();
    const kept = new RunningRoot(sha256);
    const before = kept.of(hashes);
    hashes.words[0]! ^= 1;
    expect(kept.of(hashes)).toEqual(before);
  });
});
