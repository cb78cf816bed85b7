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
  take_dirty(at: number, blocks: number, out: number, clear: number, large: number, dirty: number): number;
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
  const takeBlocks = (
    index: number,
    blocks: number,
    clear: boolean,
    large: boolean,
    dirty: number,
  ): number => {
    const taken = kernel.take_dirty(index * 4, blocks, scratch, clear ? 1 : 0, large ? 1 : 0, dirty);
    scanner.found = taken & 0xffff;
    return taken >>> 16;
  };
  const scanner = {
    masks,
    found: 0,
    take(index: number, count: number, clear: boolean, dirty: number): void {
      const blocks = Math.floor(count / BLOCK_LEAVES);
      scanner.found = 0;
      if (blocks > 0) takeBlocks(index, blocks, clear, false, dirty);
      if (blocks * BLOCK_LEAVES === count) return;
      // The odd leaves at the end of a range.
      plain.take(index + 2 * blocks * BLOCK_LEAVES, count - blocks * BLOCK_LEAVES, clear, dirty);
      masks[blocks] = plain.masks[0]!;
      scanner.found += plain.found;
    },
    takeLarge: (index: number, blocks: number, clear: boolean, dirty: number) =>
      takeBlocks(index, blocks, clear, true, dirty),
  };
  return scanner;
}
