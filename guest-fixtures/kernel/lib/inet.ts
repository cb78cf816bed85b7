// IPv4 addresses in text (inet_pton of POSIX, four decimal numbers).

const DOT: u32 = 0x2e;

/**
 * The address that the `length` raw bytes at `text` spell, as it lies in memory, or -1 if they spell none. Numbers have
 * one to three digits and no sign.
 */
export function in4_pton(text: usize, length: u32): i64 {
  const end = text + length;
  let at = text;
  let address: u32 = 0;
  for (let part: u32 = 0; part < 4; part++) {
    let value: u32 = 0;
    let digits: u32 = 0;
    for (; at < end && load<u8>(at) >= 0x30 && load<u8>(at) <= 0x39 && digits < 4; digits++) {
      value = value * 10 + (load<u8>(at) - 0x30);
      at++;
    }
    if (digits == 0 || digits > 3 || value > 255) return -1;
    address |= value << (part << 3);
    if (part == 3) break;
    if (at == end || load<u8>(at) != DOT) return -1;
    at++;
  }
  return at == end ? <i64>address : -1;
}
