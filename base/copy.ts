/**
 * Copying bytes in hot paths. A few are copied fastest by hand: the view that a bulk copy needs costs as much as some
 * thirty bytes do. Longer ones are copied through a view, which dies at once and costs the same whatever the length.
 */
const BY_HAND_MAX = 32;

/** Copies `count` bytes from `source[from]` on to `target[to]` on. The two don't overlap. */
export function copyBytes(
  target: Uint8Array,
  to: number,
  source: Uint8Array,
  from: number,
  count: number,
): void {
  if (count > BY_HAND_MAX) target.set(source.subarray(from, from + count), to);
  else for (let i = 0; i < count; i++) target[to + i] = source[from + i]!;
}
