/** The thread of `preallocate`. */
import { workerData } from 'node:worker_threads';
import { PAGE_BYTES } from '../../base/units.js';

const words = new Int32Array((workerData as WebAssembly.Memory).buffer);
const WORDS_PER_PAGE = PAGE_BYTES / Int32Array.BYTES_PER_ELEMENT;

// To the host a write like any other; atomic, so that it undoes none.
for (let word = 0; word < words.length; word += WORDS_PER_PAGE) Atomics.or(words, word, 0);
