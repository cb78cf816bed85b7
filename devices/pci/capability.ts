/**
 * Configuration space out of declared capabilities. A capability is a block of registers with offsets relative to its
 * own start; a function's layout says where each one lies. Header words, both linked lists (standard from 0x34,
 * extended from 0x100) and the register table of all 4 KiB derive from that.
 */
import { invariant } from '../../base/errors.js';
import { type RegisterSpec, type RegisterTable, registerTable } from '../../base/registers.js';

export type Specs = Readonly<Record<string, RegisterSpec>>;
/** Register handles of a declared block. */
export type Registers<T> = RegisterTable<T>['reg'];

export const CONFIG_BYTES = 4096;
const STANDARD_FIRST = 0x40;
/** The extended list starts here. 7.6.1 */
export const EXTENDED_FIRST = 0x100;
/** Where a header points to the standard list. 7.5.1.1.11 */
export const CAPABILITIES_POINTER = 0x34;

export interface Capability<T = Specs> {
  readonly id: number;
  /** Version of an extended capability; undefined for the standard list. */
  readonly version: number | undefined;
  /** Bytes it takes, its list header included. */
  readonly bytes: number;
  readonly specs: T;
}

/** A capability of the standard list: one byte id, one byte next pointer, then `specs`. */
export function capability<const T extends Specs>(id: number, bytes: number, specs: T): Capability<T> {
  return { id, version: undefined, bytes, specs };
}

/** A capability of the extended list: a dword of id, version and next pointer, then `specs`. */
export function extendedCapability<const T extends Specs>(
  id: number,
  version: number,
  bytes: number,
  specs: T,
): Capability<T> {
  return { id, version, bytes, specs };
}

export interface Placed<T = Specs> {
  readonly at: number;
  readonly capability: Capability<T>;
}

/** Says where a capability starts. */
export const at = <T>(offset: number, placed: Capability<T>): Placed<T> => ({
  at: offset,
  capability: placed,
});

type CapabilitiesOf<C> = {
  readonly [K in keyof C]: C[K] extends Placed<infer T> ? Registers<T> : never;
};

export interface ConfigLayout<H = Specs, C = Readonly<Record<string, Placed>>> {
  readonly name: string;
  /** Names are those of the header, and `capability.REGISTER`. */
  readonly table: RegisterTable;
  readonly header: Registers<H>;
  readonly cap: CapabilitiesOf<C>;
  /** Where each capability starts. */
  readonly offsets: { readonly [K in keyof C]: number };
}

/** Declares the configuration space of one kind of function. Overlaps and misplaced capabilities are refused. */
export function configLayout<const H extends Specs, const C extends Readonly<Record<string, Placed<Specs>>>>(
  name: string,
  header: H,
  capabilities: C,
): ConfigLayout<H, C> {
  const placed = Object.entries(capabilities).sort(([, a], [, b]) => a.at - b.at);
  const standard = placed.filter(([, p]) => p.capability.version === undefined);
  const extended = placed.filter(([, p]) => p.capability.version !== undefined);
  for (const [key, p] of standard) {
    invariant(
      p.at >= STANDARD_FIRST && p.at % 4 === 0 && p.at + p.capability.bytes <= EXTENDED_FIRST,
      `${name}.${key}`,
    );
  }
  for (const [key, p] of extended)
    invariant(p.at >= EXTENDED_FIRST && p.at % 4 === 0 && p.capability.bytes >= 4, `${name}.${key}`);
  invariant(extended.length === 0 || extended[0]![1].at === EXTENDED_FIRST, `${name}: extended list start`);
  for (let i = 1; i < placed.length; i++) {
    const [below, above] = [placed[i - 1]!, placed[i]!];
    invariant(
      below[1].at + below[1].capability.bytes <= above[1].at,
      `${name}: ${below[0]} overlaps ${above[0]}`,
    );
  }

  const specs: Record<string, RegisterSpec> = { ...header };
  specs.CAPABILITIES = {
    offset: CAPABILITIES_POINTER,
    width: 8,
    access: 'const',
    reset: standard[0]?.[1].at ?? 0,
  };
  standard.forEach(([key, p], i) => {
    const next = standard[i + 1]?.[1].at ?? 0;
    specs[`${key}.HEADER`] = {
      offset: p.at,
      width: 16,
      access: 'const',
      reset: p.capability.id | (next << 8),
    };
    addShifted(specs, key, p);
  });
  extended.forEach(([key, p], i) => {
    const next = extended[i + 1]?.[1].at ?? 0;
    const value = p.capability.id + p.capability.version! * 2 ** 16 + next * 2 ** 20;
    specs[`${key}.HEADER`] = { offset: p.at, width: 32, access: 'const', reset: value };
    addShifted(specs, key, p);
  });

  const table = registerTable(name, { bytes: CONFIG_BYTES, sizes: [1, 2, 4] }, specs);
  const handles = table.reg as Readonly<Record<string, unknown>>;
  const pick = (prefix: string, keys: readonly string[]): Record<string, unknown> =>
    Object.fromEntries(keys.map((key) => [key, handles[`${prefix}${key}`]]));
  const cap = Object.fromEntries(
    placed.map(([key, p]) => [key, pick(`${key}.`, Object.keys(p.capability.specs))]),
  );
  return {
    name,
    table,
    header: pick('', Object.keys(header)) as Registers<H>,
    cap: cap as CapabilitiesOf<C>,
    offsets: Object.fromEntries(placed.map(([key, p]) => [key, p.at])) as { [K in keyof C]: number },
  };
}

function addShifted(specs: Record<string, RegisterSpec>, key: string, placed: Placed): void {
  const { at: start, capability: declared } = placed;
  for (const [name, spec] of Object.entries(declared.specs)) {
    const bytes = ((spec.count ?? 1) - 1) * (spec.stride ?? spec.width / 8) + spec.width / 8;
    invariant(spec.offset + bytes <= declared.bytes, `${key}.${name} lies beyond its capability`);
    specs[`${key}.${name}`] = { ...spec, offset: start + spec.offset };
  }
}
