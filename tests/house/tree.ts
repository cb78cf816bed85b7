/** The source tree as the house rules see it: paths from the project's root, and text. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

export type Tree = ReadonlyMap<string, string>;

const SKIPPED = new Set(['node_modules', 'dist', '.git', 'recordings', 'coverage', '.qemu-world']);
const TEXT =
  /\.(ts|mts|mjs|js|json|md|yml|yaml|wat|sh|txt|c|h)$|(^|\/)(run|Makefile|\.npmrc|\.gitignore|\.editorconfig)$/;

/** Reads every text file below `root`. */
export function readTree(root: string): Tree {
  const tree = new Map<string, string>();
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = posix.join(folder, entry.name);
      if (entry.isDirectory()) {
        if (!SKIPPED.has(entry.name)) walk(path);
      } else if (TEXT.test(path)) {
        tree.set(path, readFileSync(join(root, path), 'utf8'));
      }
    }
  };
  walk('');
  return tree;
}

/** A TypeScript file of the host: guests are AssemblyScript, with rules of their own. */
export const isHostSource = (path: string): boolean =>
  /\.m?ts$/.test(path) && !/^guest-fixtures\/(kernel|workloads)\//.test(path);

/**
 * The text with comments blanked out, so that an example in a comment is no import. Strings stay; a `//` inside a
 * string or template does not start a comment.
 */
export function withoutComments(text: string): string {
  let code = '';
  let at = 0;
  while (at < text.length) {
    const rest = text.slice(at, at + 2);
    if (rest === '//') {
      const end = text.indexOf('\n', at);
      at = end < 0 ? text.length : end;
    } else if (rest === '/*') {
      const end = text.indexOf('*/', at + 2);
      at = end < 0 ? text.length : end + 2;
    } else if (rest[0] === "'" || rest[0] === '"' || rest[0] === '`') {
      const end = endOfString(text, at);
      code += text.slice(at, end);
      at = end;
    } else {
      code += rest[0];
      at++;
    }
  }
  return code;
}

function endOfString(text: string, start: number): number {
  const quote = text[start];
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === quote) return at + 1;
    // An apostrophe in a regular expression is no string: only templates go over lines.
    else if (text[at] === '\n' && quote !== '`') return start + 1;
  }
  return start + 1;
}

const IMPORTS = [
  /\b(?:import|export)\b[^'"`;()]*?\bfrom\s*['"]([^'"]+)['"]/g,
  /\bimport\s*['"]([^'"]+)['"]/g,
  /\bimport\s*\(\s*['"]([^'"]+)['"]/g,
  /\bnew\s+URL\s*\(\s*['"]([^'"]+)['"]\s*,\s*import\.meta\.url\s*\)/g,
];

/** What a file imports for its values or types before it runs; not what it loads later, nor worker entries. */
export function staticImportsOf(text: string): string[] {
  const code = withoutComments(text);
  return IMPORTS.slice(0, 2).flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1]!));
}

/** What a file starts as a thread or a program: entries by URL. */
export function entriesOf(text: string): string[] {
  return [...withoutComments(text).matchAll(IMPORTS[3]!)].map((match) => match[1]!);
}

/** Everything a file names as another module: static and dynamic imports, re-exports, worker entries by URL. */
export function importsOf(text: string): string[] {
  const code = withoutComments(text);
  return IMPORTS.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1]!));
}

/** The source file behind a relative specifier, undefined for packages and for what is not in the tree. */
export function resolveImport(tree: Tree, importer: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  const path = posix.join(posix.dirname(importer), specifier).replace(/^dist\//, '');
  // The guest's compiler takes specifiers without an ending.
  const candidates = [path, path.replace(/\.js$/, '.ts'), path.replace(/\.mjs$/, '.mts'), `${path}.ts`];
  return candidates.find((candidate) => tree.has(candidate));
}
