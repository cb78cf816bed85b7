// Text. String literals are static UTF-16 that nothing ever allocates; text that comes from outside (the command line)
// is raw bytes.

/** The address of a string literal, for printk's %s. */
// @ts-ignore: decorator
@inline export function str(text: string): usize { return changetype<usize>(text); }

/** Length in characters of the literal at `text`: the runtime keeps the byte length right before it. */
// @ts-ignore: decorator
@inline export function str_length(text: usize): u32 { return load<u32>(text - 4) >> 1; }

/** Character `index` of the literal at `text`. */
// @ts-ignore: decorator
@inline export function str_at(text: usize, index: u32): u32 { return load<u16>(text + (index << 1)); }

/** Whether `length` raw bytes at `bytes` spell the literal `text`. */
export function bytes_equal(bytes: usize, length: u32, text: usize): bool {
  if (length != str_length(text)) return false;
  for (let i: u32 = 0; i < length; i++) {
    if (<u32>load<u8>(bytes + i) != str_at(text, i)) return false;
  }
  return true;
}
