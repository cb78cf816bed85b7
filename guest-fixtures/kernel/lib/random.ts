// Random numbers for workloads: SplitMix64 over a 64-bit state word that the caller keeps in memory.

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/** A bijection of 64-bit words that spreads every bit over the whole word. */
export function mix64(value: u64): u64 {
  let z = value;
  z = (z ^ (z >> 30)) * 0xbf58_476d_1ce4_e5b9;
  z = (z ^ (z >> 27)) * 0x94d0_49bb_1331_11eb;
  return z ^ (z >> 31);
}

/** The next number of the sequence whose state lies at `state`. */
export function random_u64(state: usize): u64 {
  const next = load<u64>(state) + GAMMA;
  store<u64>(state, next);
  return mix64(next);
}

/** A number below `limit` (which is not 0). */
export function random_below(state: usize, limit: u32): u32 {
  return <u32>(((random_u64(state) >> 32) * <u64>limit) >> 32);
}
