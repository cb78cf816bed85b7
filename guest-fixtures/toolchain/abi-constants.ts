/**
 * The platform's constants for AssemblyScript guests, derived from the declared layouts in `base/abi`, so that guest
 * and host can't disagree about an address, an offset or a vector.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as boot from '../../base/abi/boot-params.js';
import * as platform from '../../base/abi/platform.js';
import type { Layout } from '../../base/layout.js';
import { PAGE_BYTES, PAGE_SHIFT } from '../../base/units.js';

/** `memoryMapEntries` -> `MEMORY_MAP_ENTRIES`. */
const upperSnake = (name: string): string => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase();

const constant = (name: string, value: number): string =>
  `export const ${name}: u32 = ${value < 10 ? value : `0x${value.toString(16)}`};`;

/** Every number a module exports, under its own name, sorted: the order of a namespace's members is its loader's. */
const numbersOf = (module: object): string[] =>
  Object.entries(module)
    .filter((pair): pair is [string, number] => typeof pair[1] === 'number')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => constant(name, value));

/**
 * `<LAYOUT>_<FIELD>` for each field's byte offset and `<LAYOUT>_SIZE` for the whole structure. A field whose name
 * is taken by the value that belongs in it (BOOT_PARAMS_MAGIC) has `_AT` appended.
 */
function offsetsOf(layout: Layout, taken: object): string[] {
  const prefix = upperSnake(layout.name);
  const lines = Object.entries(layout.offset).map(([field, at]) => {
    const name = `${prefix}_${upperSnake(field)}`;
    return constant(name in taken ? `${name}_AT` : name, at);
  });
  return [...lines, constant(`${prefix}_SIZE`, layout.size)];
}

/** The text of the AssemblyScript module. Pure: the same declarations always give the same text. */
export function abiConstants(): string {
  const parts: [string, string[]][] = [
    ['units', [constant('PAGE_SHIFT', PAGE_SHIFT), constant('PAGE_BYTES', PAGE_BYTES)]],
    ['platform', numbersOf(platform)],
    ['boot information page', numbersOf(boot)],
    ['byte offsets in struct boot_params', offsetsOf(boot.bootParams as unknown as Layout, boot)],
    ['byte offsets in struct memory_map_entry', offsetsOf(boot.memoryMapEntry as unknown as Layout, boot)],
  ];
  const names = parts.flatMap(([, lines]) => lines.map((line) => line.split(':')[0]));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`two constants are named ${twice}`);
  return [
    '// Generated from base/abi by the guest toolchain; do not edit. `npm run build` writes it again.',
    ...parts.flatMap(([title, lines]) => ['', `// ${title}`, ...lines]),
    '',
  ].join('\n');
}

/** Writes the constants to `path` if they differ from what is there; true if the file changed. */
export function writeAbi(path: string): boolean {
  const text = abiConstants();
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return false;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return true;
}
