/** CRC-32 as Ethernet, gzip and PNG have it (ISO 3309, reflected polynomial 0xedb88320), table-driven. */

const table = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  table[byte] = value;
}

/**
 * Checksum of `bytes[from, to)`, an unsigned 32-bit number; `before` is that of what came before them in the same
 * stream. Meant for headers and device state, not for pages.
 */
export function crc32(bytes: Uint8Array, from = 0, to = bytes.length, before = 0): number {
  let crc = ~before;
  for (let i = from; i < to; i++) crc = (crc >>> 8) ^ table[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
