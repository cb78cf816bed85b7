/** A thread of `finishVariants`. */
export { finishModule as default } from './binaryen.js';
