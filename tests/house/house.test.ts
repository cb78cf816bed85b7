import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { catalogue, type entry } from '../../base/errors.js';
import { EFFORTS } from '../../migration/approach.js';
import { builtIn } from '../../migration/registry.js';
import {
  type AnyCatalogue,
  approachNames,
  bannedWords,
  errorCatalogues,
  fileCircles,
  folderCircles,
  importDirection,
  LINES_MAX,
  longFiles,
  machinePaths,
  nodeImports,
  realWorldCalls,
  unbundledEntries,
  unreachableFiles,
} from './rules.js';
import { importsOf, readTree, type Tree, withoutComments } from './tree.js';

const tree = readTree(fileURLToPath(new URL('../..', import.meta.url)));
const small = (files: Record<string, string>): Tree => new Map(Object.entries(files));

describe('the scanner', () => {
  it('finds imports of every form, and none in comments or plain strings', () => {
    const found = importsOf(`
      import './a.js'; import b from "./b.js"; import type { C } from './c.js';
      import {
        d, // from './no.js'
      } from './d.js';
      export * from './e.js'; export { f } from './f.js';
      const g = await import('./g.js'), h = new URL('./h.js', import.meta.url);
      /* import './no.js' */ // import './no.js'
      const url = 'http://x'; import './i.js';
      const text = "it's from './no.js'", quote = /['"]/; import './j.js';
    `);
    expect(found.sort()).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].map((n) => `./${n}.js`));
  });

  it('keeps strings that look like comments', () => {
    expect(withoutComments("a('//b') // c")).toBe("a('//b') ");
  });

  it('reads this tree', () => {
    expect(tree.has('base/errors.ts')).toBe(true);
    expect(tree.has('tests/house/house.test.ts')).toBe(true);
  });
});

describe('imports', () => {
  it('go only from upper folders to lower ones, never between siblings', () => {
    expect(importDirection(tree)).toEqual([]);
    const control = small({
      'base/a.ts': "import '../vmm/b.js';",
      'vmm/b.ts': "import '../base/a.js'; import '../iommu/c.js';",
      'iommu/c.ts': "import '../devices/d.js';",
      'devices/d.ts': "import './e.js';",
      'devices/e.ts': '',
    });
    expect(importDirection(control)).toEqual([
      'base/a.ts imports vmm/b.ts',
      'iommu/c.ts imports devices/d.ts',
    ]);
  });

  it('form no circles of files, nor of folders', () => {
    expect(fileCircles(tree)).toEqual([]);
    expect(folderCircles(tree)).toEqual([]);
    const control = small({
      'vmm/a.ts': "import type { B } from './b.js';",
      'vmm/b.ts': "import { c } from './deep/c.js';",
      'vmm/deep/c.ts': "import './d.js';",
      'vmm/deep/d.ts': "new Worker(new URL('../a.js', import.meta.url));",
      'lab/x/one.ts': "import '../y/one.js';",
      'lab/x/two.ts': '',
      'lab/y/one.ts': '',
      'lab/y/two.ts': "import '../x/two.js';",
      'base/e.ts': "import { f } from './f.js';",
      'base/f.ts': "import type { E } from './e.js';",
    });
    expect(fileCircles(control)).toEqual(['base/e.ts -> base/f.ts -> base/e.ts']);
    expect(folderCircles(control)).toEqual([
      'lab/x -> lab/y -> lab/x',
      'base/e.ts -> base/f.ts -> base/e.ts',
    ]);
  });

  it('of node:* stand only in drivers, the lab, tests and the toolchain', () => {
    expect(nodeImports(tree)).toEqual([]);
    const control = small({
      'migration/a.ts': "import fs from 'node:fs';",
      'vmm/machine/b.ts': "import { Worker } from 'node:worker_threads';",
      'vmm/vcpu/worker.ts': "import { Worker } from 'node:worker_threads';",
      'lab/c.ts': "import fs from 'node:fs';",
    });
    expect(nodeImports(control)).toEqual([
      'migration/a.ts imports node:fs',
      'vmm/machine/b.ts imports node:worker_threads',
    ]);
  });

  it('reach every file of the product from the command, the library, the build or a worker entry', () => {
    expect(unreachableFiles(tree)).toEqual([]);
    const control = small({
      'lab/ferry.ts': "import '../vmm/a.js';",
      'vmm/a.ts': "new Worker(new URL('./worker.js', import.meta.url));",
      'vmm/worker.ts': "export { b } from './b.js';",
      'vmm/b.ts': '',
      'vmm/dead.ts': "import './deader.js';",
      'vmm/deader.ts': '',
      'scripts/build.mjs': "import '../dist/vmm/used-by-build.js';",
      'vmm/used-by-build.ts': '',
      'vmm/used-by-tests.ts': '',
      'tests/a.test.ts': "import '../vmm/used-by-tests.js'; import './helper.js';",
      'tests/helper.ts': '',
      'tests/idle-helper.ts': '',
    });
    expect(unreachableFiles(control)).toEqual([
      'tests/idle-helper.ts',
      'vmm/dead.ts',
      'vmm/deader.ts',
      'vmm/used-by-tests.ts',
    ]);
  });
});

describe('entries of threads and programs', () => {
  it('are bundled by the build', () => {
    expect(unbundledEntries(tree)).toEqual([]);
    const control = small({
      'scripts/bundle.mjs': "const ALONE = ['vmm/listed-worker.ts', 'vmm/gone-worker.ts'];",
      'vmm/a.ts': "new Worker(bundleOf(new URL('./listed-worker.js', import.meta.url)));",
      'vmm/b.ts': "new Worker(bundleOf(new URL('./other-worker.js', import.meta.url)));",
      'vmm/c.ts': "new Worker(bundleOf(new URL('./gone-worker.js', import.meta.url)));",
      'vmm/listed-worker.ts': '',
      'vmm/other-worker.ts': '',
    });
    expect(unbundledEntries(control)).toEqual([
      'vmm/b.ts starts ./other-worker.js',
      'vmm/c.ts starts ./gone-worker.js',
    ]);
  });
});

describe('cores', () => {
  it('take time, randomness and output as arguments', () => {
    expect(realWorldCalls(tree)).toEqual([]);
    const control = small({
      'iommu/a.ts': 'const t = Date.now(); // Math.random()\nsetTimeout(f, 1);',
      'vmm/b.ts': 'Date.now()',
    });
    expect(realWorldCalls(control)).toEqual(['iommu/a.ts uses Date.now', 'iommu/a.ts uses setTimeout']);
  });
});

describe('approaches', () => {
  /** `none` and `auto` are words of many things. */
  const names = EFFORTS.flatMap((effort) => builtIn[effort].map(({ name }) => name)).filter(
    (name) => name !== 'none',
  );

  it('are named where they are described and nowhere else', () => {
    expect(names.length).toBeGreaterThan(3);
    expect(approachNames(tree, names)).toEqual([]);
    const control = small({
      'vmm/a.ts': "if (stop === 'device-state') f();",
      'devices/power/device.ts': "if (stop === 'reset' || stop === 'device-state') f();",
      'vmm/c.ts': "if (start === 'reset') f();",
      'migration/stop/device-state.ts': "export const stop = { name: 'device-state' };",
      'tests/b.ts': "'device-state'",
    });
    expect(approachNames(control, names)).toEqual([
      'vmm/a.ts names device-state',
      'devices/power/device.ts names device-state',
      'vmm/c.ts names reset',
    ]);
  });

  it('say what they do step by step, when to use them, and what they can not cope with', () => {
    const silent = (registry: Pick<typeof builtIn, 'tracking' | 'stop' | 'start'>): string[] =>
      EFFORTS.flatMap((effort) =>
        registry[effort]
          .filter(({ steps, use, limits }) => steps.length === 0 || use === '' || limits === '')
          .map(({ name }) => `${effort} ${name}`),
      );
    expect(silent(builtIn)).toEqual([]);
    const [tracking] = builtIn.tracking;
    expect(silent({ ...builtIn, tracking: [{ ...tracking!, use: '' }] })).toEqual([
      `tracking ${tracking!.name}`,
    ]);
  });
});

describe('errors', () => {
  it('end a command with a class of the one table, and have a code of their own', async () => {
    const found: { path: string; catalogue: AnyCatalogue }[] = [];
    for (const path of tree.keys()) {
      if (!/(^|\/)[\w-]*errors\.ts$/.test(path) || path === 'base/errors.ts' || path.startsWith('tests/'))
        continue;
      const module: Record<string, unknown> = await import(new URL(`../../${path}`, import.meta.url).href);
      for (const value of Object.values(module)) {
        if (typeof value === 'object' && value !== null && 'entries' in value && 'folder' in value) {
          found.push({ path, catalogue: value as AnyCatalogue });
        }
      }
    }
    expect(errorCatalogues(found)).toEqual([]);
  });

  it('are found out when they repeat a code or end with a class that there is not', () => {
    const one = (exit: string) => ({ exit, text: () => '', advice: () => '' }) as ReturnType<typeof entry>;
    const control = [
      { path: 'vmm/errors.ts', catalogue: catalogue('vmm', { a: one('refused'), b: one('failed') }) },
      { path: 'vmm/more/errors.ts', catalogue: catalogue('vmm', { a: one('refused'), c: one('tired') }) },
      { path: 'migration/errors.ts', catalogue: catalogue('migration', { d: one('defect') }) },
    ] as unknown as { path: string; catalogue: AnyCatalogue }[];
    expect(errorCatalogues(control)).toEqual([
      'vmm/a is declared twice',
      'vmm/c ends with tired, which is no class of errors',
      'migration/d ends with defect, which is no class of errors',
    ]);
  });
});

describe('files', () => {
  it(`have at most ${LINES_MAX} lines`, () => {
    expect(longFiles(tree)).toEqual([]);
    expect(
      longFiles(small({ 'base/a.ts': 'x\n'.repeat(LINES_MAX + 1), 'docs/b.md': 'x\n'.repeat(999) })),
    ).toEqual([`base/a.ts has ${LINES_MAX + 1} lines`]);
  });

  it('leave nothing for later and silence no compiler', () => {
    expect(bannedWords(tree)).toEqual([]);
    const control = small({
      'base/a.ts': ['// TO', 'DO\nx as an', 'y; // @ts-ig', 'nore\nx as anything\n// as an', 'y other'].join(
        '',
      ),
    });
    expect(bannedWords(control)).toHaveLength(3);
  });

  it('name no path of one machine', () => {
    expect(machinePaths(tree)).toEqual([]);
    const control = small({
      'docs/a.md': 'see /home/me/x\nhttps://x.org/home/y and ./work/z',
      'b.ts': "'/tmp/socket'",
      'c.ts': "'../../dist/a.js' 'https://x.org/y/dist/z' '/srv/me/dist/guests/kernel.img'",
    });
    expect(machinePaths(control)).toEqual([
      'docs/a.md:1 /home/me',
      'b.ts:1 /tmp/socket',
      'c.ts:1 /srv/me/dist/guests',
    ]);
  });
});
