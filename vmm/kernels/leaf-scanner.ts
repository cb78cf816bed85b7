/** The dirty scan's inner loop in SIMD instructions, on tables that lie in WebAssembly memory. */
import { invariant } from '../../base/errors.js';
import {
  BLOCK_LEAVES,
  BLOCKS_MAX,
  type LeafScanner,
  plainLeafScanner,
} from '../../iommu/host/leaf-scanner.js';
import { kernelOn } from './load.js';

interface DirtyLeaves {
  take_dirty(at: number, blocks: number, out: number, clear: number): number;
  large_blocks(at: number, blocks: number): number;
}

/**
 * A scanner of the leaf tables in `memory`. The masks are kept at byte `scratch` of it, 64 bytes that belong to the
 * scanner alone.
 */
export function simdLeafScanner(memory: WebAssembly.Memory, scratch: number): LeafScanner {
  invariant(scratch % 64 === 0, 'scratch space is aligned');
  const masks = new Int32Array(memory.buffer, scratch, BLOCKS_MAX);
  const kernel = kernelOn<DirtyLeaves>('dirty-leaves', memory);
  const plain = plainLeafScanner(new Int32Array(memory.buffer));
  return {
    masks,
    take(index, count, clear) {
      const blocks = Math.floor(count / BLOCK_LEAVES);
      let found = blocks === 0 ? 0 : kernel.take_dirty(index * 4, blocks, scratch, clear ? 1 : 0);
      if (blocks * BLOCK_LEAVES < count) {
        // The odd leaves at the end of a range.
        found += plain.take(index + 2 * blocks * BLOCK_LEAVES, count - blocks * BLOCK_LEAVES, clear);
        masks[blocks] = plain.masks[0]!;
      }
      return found;
    },
    largeBlocks: (index, blocks) => kernel.large_blocks(index * 4, blocks),
  };
}
