/** Changes valid samples: bytes of any format, and values of those that carry a tree (JSON, MessagePack). */
import type { SeededRandom } from '../../base/random.js';

/** Numbers at the edges of what fields hold. */
const EDGES = [
  0,
  1,
  2,
  7,
  8,
  63,
  64,
  127,
  128,
  255,
  256,
  4095,
  4096,
  0xffff,
  0x1_0000,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  1e300,
  -1,
  -0x8000_0000,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
];
const TEXTS = ['', '\0', 'x'.repeat(200), 'é', '\ud800', '__proto__', 'constructor', '../..', '0', 'null'];

export const edgeNumber = (random: SeededRandom): number => random.pick(EDGES);
/** For a field of 32 bits. */
export const edgeWord = (random: SeededRandom): number =>
  random.chance(0.8) ? edgeNumber(random) >>> 0 : random.u32();

/** One to four changes: a bit, a byte, a 32-bit word, a stretch inserted, left out, doubled, or the end cut off. */
export function mutateBytes(sample: Uint8Array, random: SeededRandom): Uint8Array {
  let bytes: Uint8Array = sample.slice();
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    const at = random.below(bytes.length + 1);
    const length = random.below(random.chance(0.7) ? 8 : 64);
    const kind = random.below(7);
    if (kind === 0 && at < bytes.length) bytes[at]! ^= 1 << random.below(8);
    else if (kind === 1 && at < bytes.length)
      bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
    else if (kind === 2 && at + 4 <= bytes.length)
      new DataView(bytes.buffer).setUint32(at, edgeWord(random), true);
    else if (kind === 3) {
      const inserted = new Uint8Array(length);
      random.fill(inserted);
      bytes = joined([bytes.subarray(0, at), inserted, bytes.subarray(at)]);
    } else if (kind === 4) bytes = joined([bytes.subarray(0, at), bytes.subarray(at + length)]);
    else if (kind === 5) bytes = joined([bytes.subarray(0, at + length), bytes.subarray(at)]);
    else if (kind === 6) bytes = bytes.slice(0, at);
  }
  return bytes;
}

export function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

type Tree = Record<string, unknown> | unknown[];
const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array);

/** A copy of `value` with one to three of its nodes changed in value, kind, number or nesting. */
export function mutateTree(value: unknown, random: SeededRandom): unknown {
  const root: { value: unknown } = { value: copied(value) };
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const slots: [Tree, string | number][] = [];
    collect(root as Tree, slots);
    if (slots.length === 0) break;
    const [holder, key] = random.pick(slots.length > 1 && random.chance(0.9) ? slots.slice(1) : slots);
    change(holder, key, random);
  }
  return root.value;
}

function copied(value: unknown): unknown {
  if (value instanceof Uint8Array) return value.slice();
  if (Array.isArray(value)) return value.map(copied);
  if (!isTree(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copied(item)]));
}

function collect(tree: Tree, slots: [Tree, string | number][]): void {
  for (const key of Array.isArray(tree) ? tree.keys() : Object.keys(tree)) {
    slots.push([tree, key]);
    const item = (tree as Record<string | number, unknown>)[key];
    if (isTree(item)) collect(item, slots);
  }
}

function change(holder: Tree, key: string | number, random: SeededRandom): void {
  const at = holder as Record<string | number, unknown>;
  const old = at[key];
  const set = (value: unknown): void => {
    Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
  };
  switch (random.below(8)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete at[key];
      return;
    case 1:
      if (Array.isArray(holder))
        holder.splice(Number(key), 0, ...Array(1 + random.below(70)).fill(copied(old)));
      else set(otherKind(random));
      return;
    case 2:
      if (isTree(old) && !Array.isArray(old)) {
        Object.defineProperty(old, random.pick(TEXTS), {
          value: 1,
          writable: true,
          enumerable: true,
          configurable: true,
        });
      } else set(otherKind(random));
      return;
    case 3:
      set(nested(old, 1 + random.below(12), random.chance(0.5)));
      return;
    default:
      set(near(old, random));
  }
}

const otherKind = (random: SeededRandom): unknown =>
  random.pick<unknown>([
    null,
    true,
    false,
    [],
    {},
    'x',
    '',
    0,
    edgeNumber(random),
    new Uint8Array(random.below(80)),
  ]);

function nested(value: unknown, depth: number, lists: boolean): unknown {
  return depth === 0
    ? value
    : lists
      ? [nested(value, depth - 1, lists)]
      : { x: nested(value, depth - 1, lists) };
}

/** Something of the same kind. */
function near(old: unknown, random: SeededRandom): unknown {
  if (typeof old === 'number') return random.chance(0.4) ? old + random.pick([-1, 1]) : edgeNumber(random);
  if (typeof old === 'boolean') return !old;
  if (typeof old === 'string')
    return random.chance(0.5) ? random.pick(TEXTS) : `${old.slice(random.below(old.length + 1))}x`;
  if (old instanceof Uint8Array) {
    if (random.chance(0.5)) return mutateBytes(old, random);
    const other = new Uint8Array(random.pick([0, 1, 7, 8, 31, 32, 33, old.length + 1, old.length * 2]));
    random.fill(other);
    return other;
  }
  return otherKind(random);
}
