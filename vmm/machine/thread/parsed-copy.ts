import { createHash } from 'node:crypto';
import { type ParsedImage, parseImage } from '../../../base/abi/image-parse.js';

/** The image that `bytes` are now; a copy of them, since RAM may change under a reader. Throws what `parseImage` throws. */
export const parsedCopy = (bytes: Uint8Array): ParsedImage =>
  parseImage(new Uint8Array(bytes), (hashed) => createHash('sha256').update(hashed).digest());
