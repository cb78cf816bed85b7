/**
 * Where to listen or connect, as users write it: `tcp:HOST:PORT`, `unix:PATH`. IPv6 hosts stand in brackets.
 */
import { vmmErrors } from '../errors.js';

export type SocketAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** Longest path of a UNIX socket in bytes (sun_path, without its NUL). */
const UNIX_PATH_BYTES_MAX = 107;

const HOST_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$/;
const IPV6 = /^[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,32})?$/;

/**
 * Parses an address. Port 0 lets the system choose, and is of use only to listen. Throws a FerryError
 * `vmm/bad-address` that says what is wrong with `text`.
 */
export function parseSocketAddress(text: string): SocketAddress {
  const bad = (why: string): Error => vmmErrors.error('bad-address', { address: text.slice(0, 255), why });
  const colon = text.indexOf(':');
  const scheme = colon < 0 ? text : text.slice(0, colon);
  const rest = text.slice(colon + 1);
  if (colon < 0 || (scheme !== 'tcp' && scheme !== 'unix'))
    throw bad("it begins with neither 'tcp:' nor 'unix:'");
  if (scheme === 'unix') {
    if (rest === '') throw bad('the path is missing');
    if (rest.includes('\0')) throw bad('the path contains a NUL');
    const lengthBytes = new TextEncoder().encode(rest).length;
    if (lengthBytes > UNIX_PATH_BYTES_MAX) {
      throw bad(`the path has ${lengthBytes} bytes, and a socket's path may have ${UNIX_PATH_BYTES_MAX}`);
    }
    return { kind: 'unix', path: rest };
  }
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):([^:]*)$/.exec(rest);
  if (match === null) throw bad('it is not of the form tcp:HOST:PORT (an IPv6 host stands in brackets)');
  const [, ipv6, name, portText] = match;
  const host = ipv6 ?? name ?? '';
  if (host === '') throw bad('the host is missing');
  if (ipv6 !== undefined ? !(IPV6.test(ipv6) && ipv6.includes(':')) : !HOST_NAME.test(host)) {
    throw bad(`'${host}' is no host name or address`);
  }
  if (portText === '') throw bad('the port is missing');
  if (!/^[0-9]{1,5}$/.test(portText) || Number(portText) > 65535) {
    throw bad(`'${portText}' is no port (0 to 65535)`);
  }
  return { kind: 'tcp', host, port: Number(portText) };
}

/** The inverse of `parseSocketAddress`. */
export function formatSocketAddress(address: SocketAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `tcp:${host}:${address.port}`;
}
