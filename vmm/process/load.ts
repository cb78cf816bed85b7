/** Loads the VMM itself into this process, with the engine set as it wants it: what is loaded later is compiled as it says. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { compiledOf } from '../built.js';
import { compileAhead } from './engine.js';

export function loadVmm(): typeof import('./vmm.js') {
  compileAhead();
  const bundle = compiledOf(new URL('./vmm.js', import.meta.url));
  return createRequire(import.meta.url)(fileURLToPath(bundle)) as typeof import('./vmm.js');
}
