/** The fabric's own options as people write them: `name=value`, separated by commas. */
import { formatIpv4, isGroupMac, isHostIpv4, parseIpv4, parseMac } from '../../devices/ethernet/addresses.js';
import type { Station } from '../../devices/ethernet/datagram.js';
import type { FlowOptions } from '../../devices/ethernet/flow.js';
import { FLOW_PAYLOAD_BYTES_MAX, FLOW_PAYLOAD_BYTES_MIN } from '../../devices/ethernet/flow-payload.js';
import { PORT_DISCARD, PORT_ECHO } from '../../devices/ethernet/peer.js';
import { BadValue, parseWhole } from '../options/quantities.js';

export interface FlowSpec extends FlowOptions {
  /** Address of the peer that it comes from; the first one if not given. */
  readonly fromIp?: number;
}

/** Datagrams a second that a flow may be asked for: more than any machine of ours makes. */
export const RATE_MAX = 1_000_000;
const RATE_DEFAULT = 1000;
const PAYLOAD_DEFAULT = 64;

function parsePairs<K extends string>(text: string, names: readonly K[]): Partial<Record<K, string>> {
  const pairs: Partial<Record<K, string>> = {};
  for (const part of text.split(',')) {
    const equals = part.indexOf('=');
    const name = names.find((known) => known === part.slice(0, equals));
    if (equals < 0 || name === undefined) {
      throw new BadValue(
        `'${part.slice(0, 40)}' is none of ${names.map((known) => `${known}=...`).join(', ')}`,
      );
    }
    if (pairs[name] !== undefined) throw new BadValue(`${name} is given twice`);
    pairs[name] = part.slice(equals + 1);
  }
  return pairs;
}

function parseAddress(text: string | undefined, name: string): number {
  if (text === undefined) throw new BadValue(`${name}=... is missing`);
  const ip = parseIpv4(text);
  if (ip === undefined || !isHostIpv4(ip)) {
    throw new BadValue(`'${text.slice(0, 40)}' is no host's IPv4 address; write it like 10.0.0.1`);
  }
  return ip;
}

/**
 * `ip=10.0.0.1[,mac=02:00:0a:00:00:01]`. Without a MAC address the station has a locally administered one that its IP
 * address determines. Throws BadValue.
 */
export function parsePeer(text: string): Station {
  const pairs = parsePairs(text, ['ip', 'mac']);
  const ip = parseAddress(pairs.ip, 'ip');
  if (pairs.mac === undefined) {
    return { ip, mac: Uint8Array.of(0x02, 0, ip >>> 24, ip >>> 16, ip >>> 8, ip) };
  }
  const mac = parseMac(pairs.mac);
  if (mac === undefined || isGroupMac(mac, 0)) {
    throw new BadValue(
      `'${pairs.mac.slice(0, 40)}' is no station's MAC address; write it like 52:54:00:12:34:56`,
    );
  }
  return { ip, mac };
}

/** `to=10.0.0.2[,port=7][,rate=1000][,size=64][,count=N][,kind=echo|out][,from=10.0.0.1]`. Throws BadValue. */
export function parseFlow(text: string): FlowSpec {
  const pairs = parsePairs(text, ['to', 'port', 'rate', 'size', 'count', 'kind', 'from']);
  const kind = pairs.kind ?? 'echo';
  if (kind !== 'echo' && kind !== 'out')
    throw new BadValue(`kind is echo or out, not '${kind.slice(0, 40)}'`);
  const whole = (
    name: 'port' | 'rate' | 'size' | 'count',
    fallback: number,
    min: number,
    max: number,
  ): number => {
    const given = pairs[name];
    if (given === undefined) return fallback;
    try {
      return parseWhole(given, { min, max });
    } catch (error) {
      throw error instanceof BadValue ? new BadValue(`${name}: ${error.message}`) : error;
    }
  };
  const ip = parseAddress(pairs.to, 'to');
  const fromIp = pairs.from === undefined ? undefined : parseAddress(pairs.from, 'from');
  if (fromIp === ip) throw new BadValue(`a flow from ${formatIpv4(ip)} to itself meets no network`);
  return {
    kind,
    ip,
    port: whole('port', kind === 'echo' ? PORT_ECHO : PORT_DISCARD, 1, 65535),
    rate: whole('rate', RATE_DEFAULT, 1, RATE_MAX),
    payloadBytes: whole('size', PAYLOAD_DEFAULT, FLOW_PAYLOAD_BYTES_MIN, FLOW_PAYLOAD_BYTES_MAX),
    ...(pairs.count === undefined ? {} : { count: whole('count', 0, 1, 0xffff_ffff) }),
    ...(fromIp === undefined ? {} : { fromIp }),
  };
}

/** `0.1%` or `0.001`, as a share from 0 to 1. Throws BadValue. */
export function parseShare(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(%?)$/.exec(text.trim());
  const share = match === null ? Number.NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1);
  if (!(share >= 0 && share <= 1)) {
    throw new BadValue(`'${text.slice(0, 40)}' is no share from 0 to 1; write it like 0.1%`);
  }
  return share;
}
