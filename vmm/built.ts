/**
 * Where the build puts things. The same code runs from its sources (tests), from the modules that the compiler makes of
 * them, and from bundles: a program or a thread that is started is always a bundle, since loading some two hundred small
 * modules takes longer than what most of them do.
 */

/** `dist/`, seen from `vmm/`, from `dist/vmm/` and from `dist/bin/`. */
const DIST = new URL(import.meta.url.endsWith('.ts') ? '../dist/' : '../', import.meta.url);

/** A file that the build makes, by its path below `dist/`. */
export const builtFile = (path: string): URL => new URL(path, DIST);

/**
 * The bundle of a program's or a thread's entry module, which the caller names by `new URL('./worker.js', import.meta.url)`
 * as if it were to be started itself. `scripts/bundle.mjs` lists those that there are; their names are all different.
 */
export const bundleOf = (entry: URL): URL => builtFile(`bin/${nameOf(entry)}`);

/** The same for an entry that is compiled ahead (`vmm/process/compiled-ahead.ts`): a CommonJS file. */
export const compiledOf = (entry: URL): URL => builtFile(`bin/${nameOf(entry).replace(/\.js$/, '.cjs')}`);

const nameOf = (entry: URL): string => entry.pathname.slice(entry.pathname.lastIndexOf('/') + 1);
