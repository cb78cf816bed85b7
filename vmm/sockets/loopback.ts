/** Whether an address can be reached from this host alone. */
import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import type { SocketAddress } from './address.js';

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** A name is of this host if all addresses are that it has; one that can't be resolved is for who connects to tell. */
export async function isLocal(address: SocketAddress): Promise<boolean> {
  if (address.kind === 'unix') return true;
  const { host } = address;
  if (isIP(host) !== 0) return isLoopback(host);
  const addresses = await lookup(host, { all: true }).catch(() => []);
  return addresses.every((one) => isLoopback(one.address));
}

/** An IPv4 address that is written as an IPv6 one is that IPv4 address. */
function isLoopback(ip: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  const plain = mapped ?? ip;
  return LOOPBACK.check(plain, isIP(plain) === 4 ? 'ipv4' : 'ipv6');
}
