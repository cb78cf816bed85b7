/** The guest's NIC in words: how many virtual functions, and their station addresses. */
import { formatMac, isGroupMac, parseMac } from '../../devices/ethernet/addresses.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { Facet } from '../../migration/approach.js';
import { ASSIGNED_MAX, assignedName, SLOT_KINDS, virtioName } from '../passthrough/records.js';

/**
 * `vf` is one virtual function, `vf=N` so many; properties follow, each after a comma, as `PROPERTY=VALUE`. `virtio` is a
 * virtio-net device of the VMM's own.
 */
export type NicKind = 'none' | 'virtio' | `vf${string}`;

export const DEFAULT_MAC = '52:54:00:12:34:56';

/** What may be said of the functions besides their number. */
interface NicPropertyText {
  /** The first holds if none is given. */
  readonly values: readonly [string, ...string[]];
  readonly text: string;
  /** Facets of the devices that are there with this of the values, and not with another. */
  readonly gives?: { readonly [F in Facet]?: string };
}

export const NIC_PROPERTIES = {
  revision: { values: ['1', '0', '2'], text: 'which revision of the part they say they are' },
  vectors: { values: ['3', '2'], text: 'their MSI-X vectors' },
  queues: { values: ['2', '1'], text: 'queue pairs that their driver is granted' },
  failover: {
    values: ['off', 'on'],
    text: 'whether a virtio-net standby with the same address is beside it',
    gives: { standby: 'on' },
  },
  slot: {
    values: SLOT_KINDS,
    text: 'their slots; a quick one has neither attention button nor power controller, one of acpi is handled by firmware',
    gives: { button: 'ordinary', firmware: 'acpi' },
  },
  link: { values: ['up', 'down'], text: 'whether the cable is plugged in' },
  'enable-migration': {
    values: ['on', 'off'],
    text: 'whether they speak VFIO migration',
    gives: { vfio: 'on' },
  },
} as const satisfies Record<string, NicPropertyText>;

type NicProperties = typeof NIC_PROPERTIES;
export type NicProperty = keyof NicProperties;

/** How people may say it. */
export const NIC_KINDS =
  `vf, vf=1 to vf=${ASSIGNED_MAX}, virtio, or none; after a function ` +
  Object.entries(NIC_PROPERTIES)
    .map(([name, { values }]) => `,${name}=${values.join('|')}`)
    .join(' ');

/** What a NIC was said to be. */
export type NicChoice = { readonly functions: number; readonly virtio: boolean } & {
  readonly [P in NicProperty]: NicProperties[P]['values'][number];
};

/** `text` taken apart; undefined if it is no NIC. */
export function nicChoiceOf(text: string): NicChoice | undefined {
  const [kind, ...properties] = text.split(',');
  const functions = functionsIn(kind!);
  if (functions === undefined || (functions === 0 && properties.length > 0)) return undefined;
  const given = new Map<string, string>();
  for (const property of properties) {
    const [name, value] = property.split(/=(.*)/s) as [string, string | undefined];
    const known = Object.hasOwn(NIC_PROPERTIES, name) ? NIC_PROPERTIES[name as NicProperty] : undefined;
    if (given.has(name) || !known?.values.some((one) => one === value)) return undefined;
    given.set(name, value!);
  }
  const all = Object.entries(NIC_PROPERTIES).map(([name, { values }]) => [
    name,
    given.get(name) ?? values[0],
  ]);
  const choice = { functions, virtio: kind === VIRTIO, ...Object.fromEntries(all) } as NicChoice;
  // The guest's interfaces have numbers, and those of one function with its standby are known.
  return choice.failover === 'on' && functions !== 1 ? undefined : choice;
}

/** `nic` with these values in the place of what it says of the same properties. Of what has no functions: as it is. */
export function withProperties(nic: NicKind, values: Partial<Record<NicProperty, string>>): NicKind {
  if ((functionsOf(nic) ?? 0) === 0) return nic;
  const kept = nic.split(',').filter((word) => !Object.hasOwn(values, word.split('=')[0]!));
  return [...kept, ...Object.entries(values).map(([name, value]) => `${name}=${value}`)].join(',') as NicKind;
}

/** `nic` with devices that have the facets `needs`, and those of `without` not, as far as nothing is said of that. */
export function nicWith(nic: NicKind, needs: readonly Facet[], without: readonly Facet[]): NicKind {
  const values: Partial<Record<NicProperty, string>> = {};
  for (const [name, property] of Object.entries(NIC_PROPERTIES) as [NicProperty, NicPropertyText][]) {
    if (nic.split(',').some((word) => word.startsWith(`${name}=`))) continue;
    for (const [facet, given] of Object.entries(property.gives ?? {}) as [Facet, string][]) {
      const other = property.values.find((value) => value !== given);
      const chosen = needs.includes(facet) ? given : without.includes(facet) ? other : undefined;
      if (chosen !== undefined && chosen !== property.values[0]) values[name] = chosen;
    }
  }
  const with_ = withProperties(nic, values);
  // Some can't be had with several functions.
  return nicChoiceOf(with_) === undefined ? nic : with_;
}

/** Whether the devices of `nic` have one of the facets, of those that a property gives. */
export function givesAny(nic: NicKind, facets: readonly Facet[]): boolean {
  const choice = nicChoiceOf(nic);
  return (Object.entries(NIC_PROPERTIES) as [NicProperty, NicPropertyText][]).some(([name, { gives }]) =>
    facets.some((facet) => gives?.[facet] !== undefined && choice?.[name] === gives[facet]),
  );
}

const VIRTIO = 'virtio';

function functionsIn(kind: string): number | undefined {
  if (kind === 'none' || kind === VIRTIO) return 0;
  if (kind === 'vf') return 1;
  const count = /^vf=(\d)$/.exec(kind)?.[1];
  return count !== undefined && Number(count) >= 1 && Number(count) <= ASSIGNED_MAX
    ? Number(count)
    : undefined;
}

/** Virtual functions that `kind` asks for; undefined if it is no NIC. */
export const functionsOf = (kind: string): number | undefined => nicChoiceOf(kind)?.functions;

/** The devices that carry the guest's traffic, each with an interface of its own; undefined if `kind` is no NIC. */
export function devicesOf(kind: string): readonly string[] | undefined {
  const choice = nicChoiceOf(kind);
  if (choice === undefined) return undefined;
  if (choice.virtio && choice.functions === 0) return [virtioName(0)];
  return Array.from({ length: choice.functions }, (_, i) => assignedName(i));
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
