/** What can be wrong with a module that is to become a guest. */
import { catalogue, entry } from '../../base/errors.js';

export const guestErrors = catalogue('guest', {
  'not-wasm': entry<{ name: string; problem: string }>({
    exit: 'refused',
    text: ({ name, problem }) => `${name} is not a valid WebAssembly module: ${problem}`,
    advice: () => 'give a .wasm binary or a .wat text that the engine accepts',
  }),
  interface: entry<{ name: string; problem: string }>({
    exit: 'refused',
    text: ({ name, problem }) => `${name} does not follow the guest interface: ${problem}`,
    advice: () => 'docs/guest-interface.md, "Imports" and "Exports", says what a guest imports and exports',
  }),
  instruction: entry<{ name: string; function: string; instruction: string; problem: string }>({
    exit: 'refused',
    text: (facts) =>
      `${facts.name}: function ${facts.function} uses ${facts.instruction}, which a guest can't: ${facts.problem}`,
    advice: () =>
      'compile the guest without it: docs/guest-interface.md, "What a guest can\'t do", says which and why',
  }),
  module: entry<{ name: string; problem: string }>({
    exit: 'refused',
    text: ({ name, problem }) => `${name} can't become a guest: ${problem}`,
    advice: () =>
      'a guest keeps its state in linear memory and plain mutable globals, and nowhere else ' +
      '(docs/guest-interface.md, "What a guest can\'t do")',
  }),
  data: entry<{ name: string; problem: string }>({
    exit: 'refused',
    text: ({ name, problem }) => `${name}: its initial data can't be placed in RAM: ${problem}`,
    advice: () =>
      'link the guest at 64 KiB or above (AssemblyScript: --memoryBase 65536; LLVM: --global-base=65536); ' +
      'docs/guest-interface.md, "Memory", says what lies below',
  }),
  compile: entry<{ file: string; problem: string }>({
    exit: 'refused',
    text: ({ file, problem }) => `${file} does not compile:\n${problem}`,
    advice: () => 'correct the source and build again',
  }),
});
