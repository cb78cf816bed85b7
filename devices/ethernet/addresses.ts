/** MAC and IPv4 addresses: as people write them, as bytes, and, for IPv4, as the 32-bit number that is compared. */

export const MAC_BYTES = 6;

export const BROADCAST_MAC: Uint8Array = new Uint8Array(MAC_BYTES).fill(0xff);

const MAC = /^[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}$/i;
const IPV4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;

/** `52:54:00:12:34:56` (or with dashes) as six bytes; undefined if it is none. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!MAC.test(text)) return undefined;
  return Uint8Array.from(text.split(/[:-]/), (pair) => Number.parseInt(pair, 16));
}

export function formatMac(bytes: Uint8Array, at = 0): string {
  const pairs: string[] = [];
  for (let i = 0; i < MAC_BYTES; i++) pairs.push(bytes[at + i]!.toString(16).padStart(2, '0'));
  return pairs.join(':');
}

/** `10.0.0.1` as a number; undefined if it is no address. */
export function parseIpv4(text: string): number | undefined {
  const parts = IPV4.exec(text)?.slice(1).map(Number);
  if (parts === undefined || parts.some((part) => part > 255)) return undefined;
  return parts.reduce((address, part) => address * 256 + part, 0);
}

export const formatIpv4 = (address: number): string =>
  [address >>> 24, (address >>> 16) & 0xff, (address >>> 8) & 0xff, address & 0xff].join('.');

/** An address for one host (an IPv4 address that a peer or a guest may have). */
export const isHostIpv4 = (address: number): boolean => {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
};

/** Group bit: multicast and broadcast. IEEE 802-2014, 8.2.2 */
export const isGroupMac = (bytes: Uint8Array, at: number): boolean => (bytes[at]! & 1) !== 0;

export function sameMac(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}
