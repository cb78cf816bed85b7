/** What is kept of an interface whose device is away, as a guest's agent tells it and is told it again. */
import * as v from 'valibot';

/** No guest of ours has more, and no other makes us keep more. */
const ITEMS_MAX = 256;

const text = v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,64}$/));
const listOf = <T extends v.GenericSchema>(item: T) => v.pipe(v.array(item), v.maxLength(ITEMS_MAX));

const address = v.object({ 'ip-address': text, prefix: v.pipe(v.number(), v.integer()) });
const neighbour = v.object({ 'ip-address': text, 'hardware-address': text });
/** Members as the agent's commands have them; gateways are those of default routes. */
const keptInterface = v.object({
  addresses: listOf(address),
  gateways: listOf(text),
  neighbours: listOf(neighbour),
});

export type KeptInterface = v.InferOutput<typeof keptInterface>;

const interfaces = listOf(
  v.object({
    name: text,
    'hardware-address': v.optional(text),
    'ip-addresses': v.optional(listOf(v.object({ ...address.entries, 'ip-address-type': text })), []),
  }),
);
const routes = listOf(v.object({ iface: text, destination: text, gateway: v.optional(text) }));
const neighbours = listOf(v.object({ ...neighbour.entries, iface: text }));

/** Makes what a command returned what it should be, or throws what `refuse` makes of the problem. */
function judge<T extends v.GenericSchema>(
  schema: T,
  value: unknown,
  refuse: (problem: string) => Error,
): v.InferOutput<T> {
  const judged = v.safeParse(schema, value);
  if (judged.success) return judged.output;
  const [issue] = judged.issues;
  throw refuse(`${v.getDotPath(issue!) ?? 'all of it'}: ${issue!.message}`);
}

/**
 * The interface with that hardware address in what guest-network-get-interfaces returns; of several, as a standby and its master
 * have the same, the one that has addresses. Undefined if there is none.
 */
export function interfaceIn(
  returned: unknown,
  mac: string,
  refuse: (problem: string) => Error,
): { readonly name: string; readonly addresses: KeptInterface['addresses'] } | undefined {
  const found = judge(interfaces, returned, refuse)
    .filter((one) => one['hardware-address']?.toLowerCase() === mac)
    .map((one) => ({
      name: one.name,
      addresses: one['ip-addresses']
        .filter((item) => item['ip-address-type'] === 'ipv4')
        .map((item) => ({ 'ip-address': item['ip-address'], prefix: item.prefix })),
    }));
  return found.find(({ addresses }) => addresses.length > 0) ?? found[0];
}

/** Gateways of the interface's default routes in what guest-network-get-route returns. */
export const gatewaysIn = (
  returned: unknown,
  iface: string,
  refuse: (problem: string) => Error,
): KeptInterface['gateways'] =>
  judge(routes, returned, refuse)
    .filter((one) => one.iface === iface && one.destination === '0.0.0.0')
    .flatMap(({ gateway }) => (gateway === undefined || gateway === '0.0.0.0' ? [] : [gateway]));

/** The interface's neighbours in what x-ferry-network-get-neighbours returns. */
export const neighboursIn = (
  returned: unknown,
  iface: string,
  refuse: (problem: string) => Error,
): KeptInterface['neighbours'] =>
  judge(neighbours, returned, refuse)
    .filter((one) => one.iface === iface)
    .map((one) => ({ 'ip-address': one['ip-address'], 'hardware-address': one['hardware-address'] }));

/** Printable ASCII, as all of it is. */
export const encodeInterface = (kept: KeptInterface): Uint8Array =>
  Uint8Array.from(JSON.stringify(kept), (character) => character.charCodeAt(0));

/** Throws what `refuse` makes of the problem, for what `encodeInterface` can't have written. */
export function decodeInterface(
  pieces: readonly Uint8Array[],
  refuse: (problem: string) => Error,
): KeptInterface {
  let value: unknown;
  try {
    value = JSON.parse(pieces.map(asciiOf).join(''));
  } catch {
    throw refuse('no JSON, where an interface was kept');
  }
  return judge(keptInterface, value, refuse);
}

const asciiOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
