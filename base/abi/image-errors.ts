/** Errors about a bootable image: a file, or bytes found in guest RAM, that is not what it should be. */
import { catalogue, entry, type FerryError } from '../errors.js';

export const imageErrors = catalogue('image', {
  malformed: entry<{ where: string; problem: string }>({
    exit: 'refused',
    text: ({ where, problem }) => `not a usable guest image: ${where}: ${problem}`,
    advice: () =>
      'build the image again with `ferry guest build`; the file is cut, damaged or something else',
  }),
  version: entry<{ found: number; supported: number }>({
    exit: 'refused',
    text: ({ found, supported }) =>
      `the guest image has format version ${found}, this ferry reads ${supported}`,
    advice: () => 'build the image again with the `ferry guest build` of this version',
  }),
  hash: entry<{ stated: string; found: string }>({
    exit: 'refused',
    text: ({ stated, found }) =>
      `the guest image is damaged: its content has hash ${found}, its header says ${stated}`,
    advice: () => 'build or copy the image again; it was changed after it was built',
  }),
});

/** Shorthand for the most frequent of them. */
export const malformed = (where: string, problem: string): FerryError =>
  imageErrors.error('malformed', { where, problem });
