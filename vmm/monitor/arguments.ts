/**
 * Argument schemas of monitor commands: small combinators that check a value, say in QEMU's words what is wrong with
 * it, and give the checked value its type. What commands answer, and what events tell, is declared by them as well.
 */
import { QmpError } from './protocol.js';

/** Types that QEMU's introspection has by name. */
export type BuiltinName = 'str' | 'int' | 'number' | 'bool' | 'null' | 'any';

/** What a value is, for introspection. One shape has one of them, whose members may lead back to it. */
export type TypeSchema =
  | { readonly kind: 'builtin'; readonly name: BuiltinName }
  | { readonly kind: 'enum'; readonly values: readonly string[] }
  | { readonly kind: 'array'; readonly element: TypeSchema }
  | { readonly kind: 'alternate'; readonly types: readonly TypeSchema[] }
  | { readonly kind: 'object'; readonly members: readonly MemberSchema[] }
  | UnionSchema;

/** An object with the members of one case beside `tag`, which says which. */
export interface UnionSchema {
  readonly kind: 'union';
  readonly tag: string;
  readonly tagType: TypeSchema;
  readonly cases: readonly { readonly name: string; readonly type: TypeSchema }[];
}

interface MemberSchema {
  readonly name: string;
  readonly type: TypeSchema;
  readonly optional: boolean;
}

export const builtin = (name: BuiltinName): TypeSchema => ({ kind: 'builtin', name });

/** A checker of one value. `path` names it in messages: `enable[0]`, `capabilities[1].state`. */
export interface Shape<T> {
  readonly optional: boolean;
  check(value: unknown, path: string): T;
  /** For `query-commands` readers and help: `int 1..16`, `string`. */
  readonly words: string;
  readonly type: TypeSchema;
}

export type TypeOf<S> = S extends Shape<infer T> ? T : never;

type Members = Readonly<Record<string, Shape<unknown>>>;
type OptionalKeys<M extends Members> = {
  [K in keyof M]: undefined extends TypeOf<M[K]> ? K : never;
}[keyof M];
export type StructOf<M extends Members> = {
  readonly [K in Exclude<keyof M, OptionalKeys<M>>]: TypeOf<M[K]>;
} & {
  readonly [K in OptionalKeys<M>]?: Exclude<TypeOf<M[K]>, undefined>;
};

function wrongType(path: string, expected: string): QmpError {
  return new QmpError(`Invalid parameter type for '${path}', expected: ${expected}`);
}

/** Text of at most `lengthMax` UTF-16 units. */
export function string(lengthMax = 4096): Shape<string> {
  return {
    optional: false,
    words: 'string',
    type: builtin('str'),
    check(value, path) {
      if (typeof value !== 'string') throw wrongType(path, 'string');
      if (value.length > lengthMax) {
        throw new QmpError(`Parameter '${path}' expects at most ${lengthMax} characters`);
      }
      return value;
    },
  };
}

/** A whole number in [min, max]; `what` completes "expects": `a value of bytes per second`. */
export function integer(min: number, max: number, what = 'a value'): Shape<number> {
  return {
    optional: false,
    words: `int ${min}..${max}`,
    type: builtin('int'),
    check(value, path) {
      if (typeof value !== 'number' || !Number.isInteger(value)) throw wrongType(path, 'integer');
      if (value < min || value > max) {
        throw new QmpError(`Parameter '${path}' expects ${what} between ${min} and ${max}`);
      }
      return value;
    },
  };
}

/** A whole number that counts something. */
export const count = (): Shape<number> => integer(0, Number.MAX_SAFE_INTEGER);

export function number(): Shape<number> {
  return {
    optional: false,
    words: 'number',
    type: builtin('number'),
    check(value, path) {
      if (typeof value !== 'number') throw wrongType(path, 'number');
      return value;
    },
  };
}

/** Whatever it is. */
export function anything(): Shape<unknown> {
  return { optional: false, words: 'any', type: builtin('any'), check: (value) => value };
}

/** A shape that is defined by itself. */
export function lazy<T>(shape: () => Shape<T>): Shape<T> {
  return {
    optional: false,
    words: '...',
    get type() {
      return shape().type;
    },
    check: (value, path) => shape().check(value, path),
  };
}

export function boolean(): Shape<boolean> {
  return {
    optional: false,
    words: 'bool',
    type: builtin('bool'),
    check(value, path) {
      if (typeof value !== 'boolean') throw wrongType(path, 'boolean');
      return value;
    },
  };
}

/** One of the given words. */
export function oneOf<const W extends readonly string[]>(...words: W): Shape<W[number]> {
  return {
    optional: false,
    words: words.join('|'),
    type: { kind: 'enum', values: words },
    check(value, path) {
      if (typeof value !== 'string') throw wrongType(path, 'string');
      if (!words.includes(value)) {
        throw new QmpError(`Parameter '${path}' does not accept value '${value.slice(0, 64)}'`);
      }
      return value;
    },
  };
}

/** An array of at most `lengthMax` elements of one shape. */
export function list<T>(element: Shape<T>, lengthMax = 64): Shape<readonly T[]> {
  return {
    optional: false,
    words: `[${element.words}]`,
    get type() {
      return { kind: 'array', element: element.type } as const;
    },
    check(value, path) {
      if (!Array.isArray(value)) throw wrongType(path, 'array');
      if (value.length > lengthMax) {
        throw new QmpError(`Parameter '${path}' expects at most ${lengthMax} elements`);
      }
      return value.map((item: unknown, index) => element.check(item, `${path}[${index}]`));
    },
  };
}

/** May be left out. */
export function optional<T>(shape: Shape<T>): Shape<T | undefined> {
  return {
    optional: true,
    words: shape.words,
    get type() {
      return shape.type;
    },
    check: (value, path) => shape.check(value, path),
  };
}

/** An object with exactly these members. At the top (`path` empty) members go by their own names. */
export function struct<const M extends Members>(members: M): Shape<StructOf<M>> {
  const words = Object.entries(members).map(([name, m]) => `${m.optional ? '*' : ''}${name}: ${m.words}`);
  return {
    optional: false,
    words: `{${words.join(', ')}}`,
    type: {
      kind: 'object',
      get members() {
        return Object.entries(members).map(([name, { type, optional }]) => ({ name, type, optional }));
      },
    },
    check(value, path) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        throw wrongType(path, 'object');
      const given = value as Readonly<Record<string, unknown>>;
      const full = (name: string): string => (path === '' ? name : `${path}.${name}`);
      const checked: Record<string, unknown> = {};
      for (const [name, shape] of Object.entries(members)) {
        if (Object.hasOwn(given, name)) checked[name] = shape.check(given[name], full(name));
        else if (!shape.optional) throw new QmpError(`Parameter '${full(name)}' is missing`);
      }
      for (const name of Object.keys(given)) {
        if (!Object.hasOwn(members, name)) {
          throw new QmpError(`Parameter '${full(name.slice(0, 64))}' is unexpected`);
        }
      }
      return checked as StructOf<M>;
    },
  };
}

type UnionOf<Tag extends string, C extends Readonly<Record<string, Members>>> = {
  [K in keyof C & string]: { readonly [T in Tag]: K } & StructOf<C[K]>;
}[keyof C & string];

/** An object of one of several kinds: `tag` names it, and it has that one's members and no others. */
export function union<const Tag extends string, const C extends Readonly<Record<string, Members>>>(
  tag: Tag,
  cases: C,
): Shape<UnionOf<Tag, C>> {
  const kind = oneOf(...Object.keys(cases));
  const bodies = Object.entries(cases).map(([name, members]) => ({ name, body: struct(members) }));
  return {
    optional: false,
    words: `{${tag}: ${kind.words}, ...}`,
    type: {
      kind: 'union',
      tag,
      tagType: kind.type,
      cases: bodies.map(({ name, body }) => ({ name, type: body.type })),
    },
    check(value, path) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        throw wrongType(path, 'object');
      const { [tag]: name, ...rest } = value as Readonly<Record<string, unknown>>;
      if (name === undefined) throw new QmpError(`Parameter '${path}.${tag}' is missing`);
      const known = kind.check(name, `${path}.${tag}`);
      const { body } = bodies.find((one) => one.name === known)!;
      return { [tag]: known, ...body.check(rest, path) } as UnionOf<Tag, C>;
    },
  };
}
