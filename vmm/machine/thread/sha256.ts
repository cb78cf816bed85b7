import { createHash } from 'node:crypto';
import type { Sha256 } from '../../../base/abi/image-parse.js';

export const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest();
