// The internet checksum (RFC 1071), over words as they lie in memory: the sum is the same in either byte order, so the
// result is stored as it is.

/** Adds `length` bytes at `at` to the partial sum `sum`. */
export function csum_partial(at: usize, length: u32, sum: u64): u64 {
  const end = at + length;
  while (at + 4 <= end) {
    sum += load<u32>(at);
    at += 4;
  }
  if (at + 2 <= end) {
    sum += load<u16>(at);
    at += 2;
  }
  if (at < end) sum += load<u8>(at);
  return sum;
}

/** The checksum that belongs to a partial sum; 0 where a checksum that was summed up as well holds. */
export function csum_fold(sum: u64): u16 {
  let folded = (sum >> 32) + (sum & 0xffff_ffff);
  while (folded > 0xffff) folded = (folded >> 16) + (folded & 0xffff);
  return <u16>~folded;
}

/** The sum of the pseudo header of UDP and TCP (RFC 768), for addresses as they lie in memory. */
export function csum_tcpudp_nofold(saddr: u32, daddr: u32, length: u32, protocol: u32): u64 {
  return <u64>saddr + daddr + bswap<u16>(<u16>length) + (<u64>protocol << 8);
}
