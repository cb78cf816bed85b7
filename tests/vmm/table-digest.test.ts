import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { tableDigest } from '../../vmm/transfer/table-digest.js';

describe('the digest of a hash table', () => {
  const table = new Uint8Array(new SharedArrayBuffer(3 * 4096 + 40));
  seededRandom(5).fill(table);

  it('is the same for the same bytes, whatever was digested before', () => {
    const used = tableDigest();
    used(new Uint8Array(9 * 65536).fill(7));
    expect(used(table)).toEqual(tableDigest()(table));
    expect(used(table).length).toBe(32);
  });

  it('differs for every byte changed, for another order of its parts, and for another length', () => {
    const digest = tableDigest();
    const whole = digest(table);
    for (let at = 0; at < table.length; at += 37) {
      table[at]! ^= 1;
      expect(digest(table)).not.toEqual(whole);
      table[at]! ^= 1;
    }
    const swapped = new Uint8Array(table);
    swapped.set(table.subarray(4096, 8192), 0);
    swapped.set(table.subarray(0, 4096), 4096);
    expect(digest(swapped)).not.toEqual(whole);
    const zeros = new Uint8Array(4096);
    expect(digest(zeros)).not.toEqual(digest(zeros.subarray(8)));
    expect(digest(table)).toEqual(whole);
  });
});
