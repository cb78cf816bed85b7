/** The guest's NIC in words: how many virtual functions, and their station addresses. */
import { formatMac, isGroupMac, parseMac } from '../../devices/ethernet/addresses.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import { ASSIGNED_MAX } from '../passthrough/records.js';

/** `vf` is one virtual function, `vf=N` so many. */
export type NicKind = 'none' | 'vf' | `vf=${number}`;

export const DEFAULT_MAC = '52:54:00:12:34:56';

/** How people may say it. */
export const NIC_KINDS = `vf, vf=1 to vf=${ASSIGNED_MAX}, or none`;

/** Virtual functions that `kind` asks for, 0 for `none`; undefined if it is no NIC. */
export function functionsOf(kind: string): number | undefined {
  if (kind === 'none') return 0;
  if (kind === 'vf') return 1;
  const count = /^vf=(\d)$/.exec(kind)?.[1];
  return count !== undefined && Number(count) >= 1 && Number(count) <= ASSIGNED_MAX
    ? Number(count)
    : undefined;
}

/**
 * The addresses of `functions` virtual functions: those in `text`, with commas between them, and then each the one after
 * the last. A string says what is wrong with them.
 */
export function stationsOf(text: string, functions: number): readonly MacAddress[] | string {
  const stations: MacAddress[] = [];
  for (const word of text.split(',')) {
    const mac = parseMac(word);
    if (mac === undefined || isGroupMac(mac, 0) || mac.every((byte) => byte === 0)) {
      return `'${word.slice(0, 40)}' is no station's MAC address; write it like ${DEFAULT_MAC}`;
    }
    const [a, b, c, d, e, f] = mac;
    stations.push([a!, b!, c!, d!, e!, f!]);
  }
  if (stations.length > functions) {
    return `${stations.length} MAC addresses for ${functions} virtual function${functions === 1 ? '' : 's'}`;
  }
  while (stations.length < functions) stations.push(stationAfter(stations.at(-1)!));
  const words = stations.map((mac) => formatMac(Uint8Array.from(mac), 0));
  const twice = words.find((word, i) => words.indexOf(word) !== i);
  return twice === undefined ? stations : `two virtual functions have the MAC address ${twice}`;
}

/** The same vendor's next address. */
function stationAfter([a, b, c, d, e, f]: MacAddress): MacAddress {
  const next = d * 2 ** 16 + e * 2 ** 8 + f + 1;
  return [a, b, c, (next >>> 16) & 0xff, (next >>> 8) & 0xff, next & 0xff];
}
