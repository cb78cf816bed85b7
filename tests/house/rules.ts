/** House rules: each takes a tree and returns what breaks it, one line a finding. */
import type { Catalogue, ErrorEntry } from '../../base/errors.js';
import { isExitClass } from '../../base/exit-status.js';
import {
  entriesOf,
  importsOf,
  isHostSource,
  resolveImport,
  staticImportsOf,
  type Tree,
  withoutComments,
} from './tree.js';

const folderOf = (path: string): string => path.split('/')[0]!;

/** Top-level folders that each folder may import besides itself. Siblings meet only through `base`. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  devices: ['base'],
  iommu: ['base'],
  migration: ['base'],
  'guest-fixtures': ['base'],
  vmm: ['base', 'devices', 'iommu', 'migration', 'guest-fixtures'],
  lab: ['base', 'devices', 'iommu', 'migration', 'guest-fixtures', 'vmm'],
  tests: ['base', 'devices', 'iommu', 'migration', 'guest-fixtures', 'vmm', 'lab'],
};

export function importDirection(tree: Tree): string[] {
  const findings: string[] = [];
  for (const [path, text] of tree) {
    const allowed = MAY_IMPORT[folderOf(path)];
    if (allowed === undefined || !isHostSource(path)) continue;
    for (const specifier of importsOf(text)) {
      const target = resolveImport(tree, path, specifier);
      if (target === undefined || !isHostSource(target)) continue;
      const folder = folderOf(target);
      if (folder !== folderOf(path) && !allowed.includes(folder)) {
        findings.push(`${path} imports ${target}`);
      }
    }
  }
  return findings;
}

/** Where the real world may be touched: threads, sockets, processes, the command, tests and the toolchain. */
const DRIVERS = [
  /^lab\//,
  /^tests\//,
  /^scripts\//,
  /^guest-fixtures\/toolchain\//,
  /^vmm\/(process|sockets|threads|tls|transfer|kernels|monitor\/listener\.ts)/,
  /^vmm\/(machine|vcpu)\/thread\//,
  /^vmm\/vfio-user\/(client-memory|client-interrupts|connection|server)\.ts$/,
  /^vmm\/.*(worker|thread|socket|process)[\w-]*\.ts$/,
  /^vitest\.config\.ts$/,
];

export const isDriver = (path: string): boolean => DRIVERS.some((pattern) => pattern.test(path));

export function nodeImports(tree: Tree): string[] {
  const findings: string[] = [];
  for (const [path, text] of tree) {
    if (!isHostSource(path) || isDriver(path)) continue;
    for (const specifier of importsOf(text)) {
      if (specifier.startsWith('node:')) findings.push(`${path} imports ${specifier}`);
    }
  }
  return findings;
}

/** Calls that reach around the ports a core is given. */
const REAL_WORLD =
  /\b(Math\.random|Date\.now|new Date|performance\.now|setTimeout|setInterval|setImmediate|console\.\w+|process\.\w+)\b/g;
const CORES = /^(base|devices|iommu|migration)\//;

export function realWorldCalls(tree: Tree): string[] {
  const findings: string[] = [];
  for (const [path, text] of tree) {
    if (!CORES.test(path) || !isHostSource(path)) continue;
    for (const match of withoutComments(text).matchAll(REAL_WORLD)) findings.push(`${path} uses ${match[1]}`);
  }
  return findings;
}

/** Where reading the product starts: the command, the library, the build's scripts. Tests are no users. */
const ENTRIES = [/^lab\/(ferry|index)\.ts$/, /^scripts\/.*\.mjs$/, /^vitest\.config\.ts$/];
/** What vitest runs, and what `npm run mutants` does. */
const TESTS = [/^tests\/.*\.test\.ts$/, /^tests\/mutants\/run\.ts$/];

/** Rooms that are products of their own and have no command yet, by the file that reading them starts with. */
const OTHER_ENTRIES: readonly RegExp[] = [
  // The build loads them by a path that it computes.
  /^guest-fixtures\/toolchain\/(abi-constants|assemblyscript)\.ts$/,
  // The build bundles it, and writes what loads it.
  /^vmm\/process\/compiled-ahead\.ts$/,
  // VFIO's feature interface with its log of writes: for clients outside, and for tracking by the device itself.
  /^devices\/vfio\/device\.ts$/,
];

/** Entries of threads and programs that the product starts and the build does not bundle: they would not be found. */
export function unbundledEntries(tree: Tree): string[] {
  const script = tree.get('scripts/bundle.mjs') ?? '';
  const findings: string[] = [];
  for (const [path, text] of tree) {
    if (!isHostSource(path) || path.startsWith('tests/')) continue;
    for (const specifier of entriesOf(text)) {
      const entry = resolveImport(tree, path, specifier);
      if (entry === undefined || !script.includes(`'${entry}'`)) findings.push(`${path} starts ${specifier}`);
    }
  }
  return findings;
}

/** Files of the product that nothing of it uses, and files below `tests` that no test does. */
export function unreachableFiles(tree: Tree): string[] {
  const product = reachedFrom(tree, [...ENTRIES, ...OTHER_ENTRIES]);
  const tests = reachedFrom(tree, TESTS);
  return [...tree.keys()]
    .filter((path) => isHostSource(path) && !path.endsWith('.d.ts'))
    .filter((path) => !(path.startsWith('tests/') ? tests : product).has(path))
    .sort();
}

function reachedFrom(tree: Tree, entries: readonly RegExp[]): ReadonlySet<string> {
  const reached = new Set<string>();
  const queue = [...tree.keys()].filter((path) => entries.some((entry) => entry.test(path)));
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    for (const specifier of importsOf(tree.get(path)!)) {
      const target = resolveImport(tree, path, specifier);
      if (target !== undefined) queue.push(target);
    }
  }
  return reached;
}

/**
 * Circles of files: each a list of files in which every one imports, for its values or its types, the next, and the last
 * the first. A worker's entry named by URL does not: who starts a thread does not need
 * what it runs.
 */
export function fileCircles(tree: Tree): string[] {
  return circles(importGraph(tree, (path) => path));
}

/**
 * Circles of folders, at every depth: among the children of one folder, a file there standing for itself, each imports what
 * the files below it import.
 */
export function folderCircles(tree: Tree): string[] {
  const parents = new Set<string>();
  for (const path of tree.keys()) {
    if (!counted(path)) continue;
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1))
      parents.add(path.slice(0, at));
  }
  const findings: string[] = [];
  for (const parent of ['', ...parents]) {
    const prefix = parent === '' ? '' : `${parent}/`;
    const childOf = (path: string): string | undefined => {
      if (!path.startsWith(prefix)) return undefined;
      const end = path.indexOf('/', prefix.length);
      return end < 0 ? path : path.slice(0, end);
    };
    findings.push(...circles(importGraph(tree, childOf)));
  }
  return [...new Set(findings)];
}

const counted = (path: string): boolean =>
  /\.m?ts$/.test(path) && !/^(tests|dist|types)\/|\.d\.ts$/.test(path);

/** Who imports whom, files standing for what `nodeOf` says; what it names undefined does not count. */
function importGraph(
  tree: Tree,
  nodeOf: (path: string) => string | undefined,
): ReadonlyMap<string, ReadonlySet<string>> {
  const graph = new Map<string, Set<string>>();
  for (const [path, text] of tree) {
    const from = counted(path) ? nodeOf(path) : undefined;
    if (from === undefined) continue;
    const targets = graph.get(from) ?? new Set<string>();
    graph.set(from, targets);
    for (const specifier of staticImportsOf(text)) {
      const target = resolveImport(tree, path, specifier);
      const to = target === undefined || !counted(target) ? undefined : nodeOf(target);
      if (to !== undefined && to !== from) targets.add(to);
    }
  }
  return graph;
}

/** One shortest circle through each group of nodes that reach one another, as `a -> b -> a`. */
function circles(graph: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const found: string[] = [];
  const known = new Set<string>();
  for (const start of [...graph.keys()].sort()) {
    if (known.has(start)) continue;
    const from = new Map<string, string>();
    const queue = [start];
    let closing: string | undefined;
    for (let node = queue.shift(); node !== undefined && closing === undefined; node = queue.shift()) {
      for (const next of graph.get(node) ?? []) {
        if (next === start) {
          closing = node;
          break;
        }
        if (from.has(next)) continue;
        from.set(next, node);
        queue.push(next);
      }
    }
    if (closing === undefined) continue;
    const circle = [start];
    for (let node = closing; node !== start; node = from.get(node)!) circle.splice(1, 0, node);
    for (const node of circle) known.add(node);
    found.push([...circle, start].join(' -> '));
  }
  return found;
}

/** Names of approaches that are words for something else too, and the files that mean that: resets, a member of QEMU's event, what is fuzzed. */
const OTHER_MEANINGS: Readonly<Record<string, readonly string[]>> = {
  reset: ['devices/power/device.ts', 'migration/observed-device.ts'],
  'device-state': [
    'vmm/monitor/protocol.ts',
    'vmm/monitor/events.ts',
    'lab/fuzz/device-state.ts',
    'lab/fuzz/targets.ts',
  ],
};

/** Names of approaches stand in their descriptors alone; everybody else asks the registries. */
export function approachNames(tree: Tree, names: readonly string[]): string[] {
  const word = new RegExp(`(['"\`])(${names.join('|')})\\1`, 'g');
  const own = (path: string): boolean => /^(migration|lab\/qemu)\/(tracking|stop|start)\//.test(path);
  const findings: string[] = [];
  for (const [path, text] of tree) {
    if (!isHostSource(path) || own(path) || path.startsWith('tests/')) continue;
    for (const [, , name] of withoutComments(text).matchAll(word)) {
      if (!OTHER_MEANINGS[name!]?.includes(path)) findings.push(`${path} names ${name}`);
    }
  }
  return findings;
}

export const LINES_MAX = 500;

export function longFiles(tree: Tree): string[] {
  const findings: string[] = [];
  for (const [path, text] of tree) {
    const lines = text.split('\n').length - 1;
    if (/\.(m?ts|mjs|wat|c|h)$/.test(path) && !path.includes('/generated/') && lines > LINES_MAX) {
      findings.push(`${path} has ${lines} lines`);
    }
  }
  return findings;
}

/** Written in two pieces so that this file does not break its own rule. */
const word = (...parts: string[]): string => parts.join('');
const LATER = new RegExp(
  [word('\\bTO', 'DO\\b'), word('\\bFIX', 'ME\\b'), word('\\bXX', 'X\\b')].join('|'),
  'g',
);
const SILENCED = new RegExp(
  [
    // Followed by what may follow a type: in prose something is "as any other".
    word('\\bas an', 'y\\b(?=\\s*(?:[^\\w\\s]|$))'),
    word('@ts-ig', 'nore'),
    word('@ts-no', 'check'),
    word('@ts-expect', '-error'),
  ].join('|'),
  'g',
);

/** In guests the compiler's silencer stands before AssemblyScript decorators, which an editor takes for errors. */
export function bannedWords(tree: Tree): string[] {
  const source = (path: string): boolean => /\.(m?ts|mjs|js|wat)$/.test(path);
  return [...matches(tree, LATER, source), ...matches(tree, SILENCED, isHostSource)];
}

/** Folders of somebody's, and the way to a checkout's build. */
const MACHINE_PATH = new RegExp(
  `(?<![\\w.$}])/(?:${['work', 'farm', 'tmp', 'home', 'root', 'Users', 'mnt'].join('|')})/[\\w.-]+` +
    '|(?<![\\w.$}/:*-])/(?:[\\w.-]+/)+dist/[\\w.-]+',
  'g',
);

/** Paths of one machine have no business in a file that others clone. */
export function machinePaths(tree: Tree): string[] {
  return matches(
    tree,
    MACHINE_PATH,
    (path) => path !== 'package-lock.json' && !path.startsWith('tests/house/'),
  );
}

function matches(tree: Tree, pattern: RegExp, applies: (path: string) => boolean): string[] {
  const findings: string[] = [];
  for (const [path, text] of tree) {
    if (!applies(path)) continue;
    text.split('\n').forEach((line, i) => {
      for (const match of line.matchAll(pattern)) findings.push(`${path}:${i + 1} ${match[0]}`);
    });
  }
  return findings;
}

export type AnyCatalogue = Catalogue<Readonly<Record<string, ErrorEntry<never>>>>;

/** Every error ends a command with a class of the one table; no code is declared twice. */
export function errorCatalogues(catalogues: readonly { path: string; catalogue: AnyCatalogue }[]): string[] {
  const findings: string[] = [];
  const codes = new Set<string>();
  for (const { catalogue } of catalogues) {
    for (const [name, { exit }] of Object.entries(catalogue.entries)) {
      const code = `${catalogue.folder}/${name}`;
      if (codes.has(code)) findings.push(`${code} is declared twice`);
      if (!isExitClass(exit) || exit === 'defect')
        findings.push(`${code} ends with ${exit}, which is no class of errors`);
      codes.add(code);
    }
  }
  return findings;
}
