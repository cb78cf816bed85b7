// The IPv4 header (RFC 791). Addresses are as they lie in memory.

export const IP_HLEN: u32 = 20;
/** Longest datagram, header included. */
export const IP_LEN_MAX: u32 = 65535;
export const IPDEFTTL: u32 = 64;

export const IP_TOT_LEN: u32 = 2;
export const IP_ID: u32 = 4;
export const IP_FRAG_OFF: u32 = 6;
export const IP_TTL: u32 = 8;
export const IP_PROTOCOL: u32 = 9;
export const IP_CHECK: u32 = 10;
export const IP_SADDR: u32 = 12;
export const IP_DADDR: u32 = 16;

// Of IP_FRAG_OFF: don't fragment, more fragments, offset in units of 8 bytes.
export const IP_DF: u32 = 0x4000;
export const IP_MF: u32 = 0x2000;
export const IP_OFFSET: u32 = 0x1fff;

export const INADDR_BROADCAST: u32 = 0xffff_ffff;

/** Whether no host may have `address`: 0/8, 127/8, and 224/4 and up, which are multicast, reserved and broadcast. */
export function ipv4_is_no_host(address: u32): bool {
  const net = address & 0xff;
  return net == 0 || net == 127 || net >= 224;
}
