/**
 * The digest behind the integrity root: made for tables of page hashes, which reach megabytes. The page-hash kernel reduces
 * each 4 KiB of the table to 8 bytes at memory speed; SHA-256 over these and the length is the root.
 */
import { createHash } from 'node:crypto';
import { PAGE_BYTES } from '../../base/units.js';
import type { Digest } from '../../migration/integrity.js';
import { simdKernels } from './kernels.js';

const SEED = 0;

/** A digest with a scratch memory of its own. */
export function tableDigest(): Digest {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const scratch = new Uint8Array(memory.buffer, 0, PAGE_BYTES);
  const kernels = simdKernels(memory);
  return {
    part(bytes, parts, at) {
      scratch.set(bytes);
      scratch.fill(0, bytes.length);
      kernels.hash(0, SEED, parts, at);
    },
    root: (parts, tableBytes) => createHash('sha256').update(String(tableBytes)).update(parts).digest(),
  };
}
