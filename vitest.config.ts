import { dirname, relative, resolve } from 'node:path';
import { defineConfig, type Plugin } from 'vitest/config';

// What the product prints is compared as plain words, whatever the terminal or the CI around the tests asks for: both the
// code under test and Node itself (numbers of `console.log`) colour what they print if these say so.
delete process.env.FORCE_COLOR;
process.env.NO_COLOR = '1';

const LONG = 'tests/**/*.long.test.ts';
/** Whole machines in QEMU; where there is what they need, and minutes for it. */
const QEMU = 'tests/qemu/**/*.test.ts';
const include = { long: LONG, qemu: QEMU }[process.env.TESTS ?? ''];

/** An emulated machine takes its time; what waits there has bounds of its own. */
const QEMU_MS = 3_600_000;

const root = import.meta.dirname;

/**
 * What tests import of the product is what people run: the compiled files, loaded by Node itself. Vitest would transform each
 * source anew, and make every use of an import a call of a getter, which costs the hot loops of the product a third of their
 * speed.
 */
function compiledProduct(): Plugin {
  return {
    name: 'compiled-product',
    enforce: 'pre',
    resolveId(source, importer) {
      if (importer === undefined || !/^\.\.?\/.*\.js$/.test(source)) return undefined;
      const path = relative(root, resolve(dirname(importer), source));
      if (path.startsWith('tests/')) return undefined;
      return { id: resolve(root, path.startsWith('dist/') ? '.' : 'dist', path), external: true };
    },
  };
}

export default defineConfig({
  plugins: [compiledProduct()],
  test: {
    // What costs many moves of real processes, and shows what the others know by one, or in virtual time.
    include: [include ?? 'tests/**/*.test.ts'],
    exclude: include === undefined ? [LONG, QEMU] : [],
    server: { deps: { external: [/\/dist\//] } },
    globalSetup: 'scripts/compile-product.mjs',
    // Process tests spawn VMMs with threads of their own, and wait for them now and then: three files at a time keep two
    // cores busy.
    pool: 'forks',
    maxWorkers: 3,
    // No test changes anything outside its own objects, so that files may share a process, and load the product once.
    isolate: false,
    // What bounds a hang must not bound a busy machine: a test that takes 10 s may take 100 beside other work.
    testTimeout: include === QEMU ? QEMU_MS : 180_000,
    hookTimeout: include === QEMU ? QEMU_MS : 180_000,
  },
});
