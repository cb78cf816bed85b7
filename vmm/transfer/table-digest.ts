/**
 * The digest behind the integrity root: made for tables of page hashes, which reach megabytes and are digested twice
 * within the blackout. The page-hash kernel reduces each 4 KiB of the table to 8 bytes at memory speed; SHA-256 over
 * these and the length is the root.
 */
import { createHash } from 'node:crypto';
import { PAGE_BYTES } from '../../base/units.js';
import type { Digest } from '../../migration/integrity.js';
import type { PageKernels } from '../../migration/pages/page-kernels.js';
import { simdKernels } from './kernels.js';

const WASM_PAGE_BYTES = 65536;
const SEED = 0;

/** A digest with a scratch memory of its own, kept and grown to the largest table seen. */
export function tableDigest(): Digest {
  let scratch = new Uint8Array(0);
  let kernels: PageKernels | undefined;
  return (table) => {
    if (kernels === undefined || scratch.length < table.length) {
      const pages = Math.max(1, Math.ceil(table.length / WASM_PAGE_BYTES));
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
      scratch = new Uint8Array(memory.buffer as ArrayBuffer);
      kernels = simdKernels(memory);
    }
    const parts = Math.ceil(table.length / PAGE_BYTES);
    scratch.set(table);
    scratch.fill(0, table.length, parts * PAGE_BYTES);
    const hashes = new Uint32Array(2 * parts);
    for (let part = 0; part < parts; part++) kernels.hash(part, SEED, hashes, 2 * part);
    return createHash('sha256').update(String(table.length)).update(hashes).digest();
  };
}
