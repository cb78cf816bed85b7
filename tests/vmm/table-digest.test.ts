import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { referencePageHash } from '../../migration/pages/page-hash.js';
import { tableDigest } from '../../vmm/transfer/table-digest.js';

const partOf = (bytes: Uint8Array, digest = tableDigest()): Uint32Array => {
  const parts = new Uint32Array(2);
  digest.part(bytes, parts, 0);
  return parts;
};

describe('the digest of a hash table', () => {
  const part = new Uint8Array(new SharedArrayBuffer(4096));
  seededRandom(5).fill(part);

  it('of a part is the page hash of its bytes, and of zeros behind a shorter one', () => {
    const reference = (bytes: Uint8Array): Uint32Array => {
      const page = new Uint8Array(4096);
      page.set(bytes);
      const hash = new Uint32Array(2);
      referencePageHash(page, 0, hash, 0);
      return hash;
    };
    const digest = tableDigest();
    expect(partOf(part, digest)).toEqual(reference(part));
    // After a whole one, of which nothing may be left.
    expect(partOf(part.subarray(0, 40), digest)).toEqual(reference(part.subarray(0, 40)));
  });

  it('of the whole differs for every part changed, for another order of parts, and for another length', () => {
    const { root } = tableDigest();
    const parts = Uint32Array.from({ length: 16 }, (_, i) => i * 2654435761);
    const whole = root(parts, 32_768);
    expect(whole.length).toBe(32);
    for (let at = 0; at < parts.length; at++) {
      const changed = parts.slice();
      changed[at]! ^= 1;
      expect(root(changed, 32_768)).not.toEqual(whole);
    }
    const swapped = Uint32Array.from([
      ...parts.subarray(2, 4),
      ...parts.subarray(0, 2),
      ...parts.subarray(4),
    ]);
    expect(root(swapped, 32_768)).not.toEqual(whole);
    expect(root(parts, 32_760)).not.toEqual(whole);
    expect(root(parts, 32_768)).toEqual(whole);
  });
});
