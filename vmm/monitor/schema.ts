/**
 * What the monitor says of itself by `query-qmp-schema`: every command, event and type, in the shapes of QEMU's introspection
 * (qapi/introspect.json). Derived from what checks arguments and from what replies are declared as; types have numbers for names.
 */
import type { BuiltinName, TypeSchema } from './arguments.js';

/** One thing that is known by a name. */
export type SchemaInfo = { readonly name: string; readonly 'meta-type': string } & Readonly<
  Record<string, unknown>
>;

interface Described {
  readonly name: string;
  readonly arguments: { readonly type: TypeSchema };
}

const JSON_TYPES: Readonly<Record<BuiltinName, string>> = {
  str: 'string',
  int: 'int',
  number: 'number',
  bool: 'boolean',
  null: 'null',
  any: 'value',
};

class Types {
  readonly #names = new Map<TypeSchema, string>();
  readonly #infos = new Map<string, SchemaInfo>();

  get all(): readonly SchemaInfo[] {
    return [...this.#infos.values()];
  }

  /** The name of `type`, which from now on is one of `all`, with what it is made of. */
  nameOf(type: TypeSchema): string {
    if (type.kind === 'builtin') {
      const { name } = type;
      this.#infos.set(name, { name, 'meta-type': 'builtin', 'json-type': JSON_TYPES[name] });
      return name;
    }
    if (type.kind === 'array') {
      const element = this.nameOf(type.element);
      const name = `[${element}]`;
      this.#infos.set(name, { name, 'meta-type': 'array', 'element-type': element });
      return name;
    }
    const known = this.#names.get(type);
    if (known !== undefined) return known;
    const name = String(this.#names.size);
    // Named before it is looked into: it may contain itself.
    this.#names.set(type, name);
    this.#infos.set(name, this.#describe(name, type));
    return name;
  }

  #describe(name: string, type: Exclude<TypeSchema, { kind: 'builtin' | 'array' }>): SchemaInfo {
    switch (type.kind) {
      case 'enum':
        return {
          name,
          'meta-type': 'enum',
          members: type.values.map((value) => ({ name: value })),
          values: type.values,
        };
      case 'object':
        return {
          name,
          'meta-type': 'object',
          members: type.members.map(({ name: member, type: inner, optional }) => ({
            name: member,
            // That there is a default is how introspection says that a member may be missing.
            ...(optional && { default: null }),
            type: this.nameOf(inner),
          })),
        };
      case 'union':
        return {
          name,
          'meta-type': 'object',
          members: [{ name: type.tag, type: this.nameOf(type.tagType) }],
          tag: type.tag,
          variants: type.cases.map((one) => ({ case: one.name, type: this.nameOf(one.type) })),
        };
      case 'alternate':
        return {
          name,
          'meta-type': 'alternate',
          members: type.types.map((one) => ({ type: this.nameOf(one) })),
        };
    }
  }
}

/** Commands first, then events, then the types that they are made of. */
export function qmpSchema(
  commands: readonly (Described & {
    readonly returns: { readonly type: TypeSchema };
    readonly oob: boolean;
  })[],
  events: readonly Described[],
): readonly SchemaInfo[] {
  const types = new Types();
  const known = [
    ...commands.map(({ name, arguments: args, returns, oob }) => ({
      name,
      'meta-type': 'command',
      'arg-type': types.nameOf(args.type),
      'ret-type': types.nameOf(returns.type),
      ...(oob && { 'allow-oob': true }),
    })),
    ...events.map(({ name, arguments: args }) => ({
      name,
      'meta-type': 'event',
      'arg-type': types.nameOf(args.type),
    })),
  ];
  return [...known, ...types.all];
}
