/** What a host offers of the part to a guest: of other steppings or under other drivers it is less, or says another revision. */
import { vfIdentity } from './functions.js';
import { QUEUES_PER_POOL, VF_VECTORS } from './registers.js';

export interface FunctionOffer {
  /** In configuration space. */
  readonly revision: number;
  /** MSI-X vectors, at most VF_VECTORS. */
  readonly vectors: number;
  /** Queue pairs that the PF's driver grants, at most QUEUES_PER_POOL. */
  readonly queues: number;
}

export const WHOLE_PART: FunctionOffer = {
  revision: vfIdentity.revision,
  vectors: VF_VECTORS,
  queues: QUEUES_PER_POOL,
};
