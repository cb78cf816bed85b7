// Big-endian fields of network headers, at any alignment. Addresses of IPv4 are kept as they lie in memory (__be32 in
// Linux): two of them are compared without conversion.

// @ts-ignore: decorator
@inline export function get_be16(at: usize): u32 { return bswap<u16>(load<u16>(at)); }
// @ts-ignore: decorator
@inline export function put_be16(value: u32, at: usize): void { store<u16>(at, bswap<u16>(<u16>value)); }
// @ts-ignore: decorator
@inline export function get_be32(at: usize): u32 { return bswap<u32>(load<u32>(at)); }
// @ts-ignore: decorator
@inline export function put_be32(value: u32, at: usize): void { store<u32>(at, bswap<u32>(value)); }
