/** Judges values by what `query-qmp-schema` says of them, and by nothing else: as a client that knows only introspection would. */

type Info = Readonly<Record<string, unknown>> & { readonly name: string; readonly 'meta-type': string };

interface Member {
  readonly name: string;
  readonly type: string;
  readonly default?: null;
}

const BY_JSON_TYPE: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  int: (value) => Number.isInteger(value),
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
  value: () => true,
};

export class SchemaJudge {
  readonly #infos: ReadonlyMap<string, Info>;

  constructor(schema: unknown) {
    this.#infos = new Map((schema as readonly Info[]).map((info) => [info.name, info]));
  }

  /** Names of everything of one kind: `command`, `event`. */
  named(kind: string): readonly string[] {
    return [...this.#infos.values()].filter((info) => info['meta-type'] === kind).map(({ name }) => name);
  }

  /** Commands that may be given as `exec-oob`. */
  outOfBand(): readonly string[] {
    return this.named('command').filter((name) => this.#infos.get(name)!['allow-oob'] === true);
  }

  /** What is wrong with the arguments of a command, its answer, or the data of an event; nothing if they are as they should be. */
  arguments(command: string, value: unknown): readonly string[] {
    return this.#wrong(String(this.#of(command, 'command')['arg-type']), value, command);
  }

  answer(command: string, value: unknown): readonly string[] {
    return this.#wrong(String(this.#of(command, 'command')['ret-type']), value, command);
  }

  event(name: string, data: unknown): readonly string[] {
    return this.#wrong(String(this.#of(name, 'event')['arg-type']), data, name);
  }

  #of(name: string, kind: string): Info {
    const info = this.#infos.get(name);
    if (info?.['meta-type'] !== kind) throw new Error(`the schema has no ${kind} ${name}`);
    return info;
  }

  #wrong(type: string, value: unknown, path: string): readonly string[] {
    const info = this.#infos.get(type);
    switch (info?.['meta-type']) {
      case 'builtin':
        return BY_JSON_TYPE[String(info['json-type'])]!(value) ? [] : [`${path} is no ${type}`];
      case 'enum':
        return (info.members as readonly Member[]).some(({ name }) => name === value)
          ? []
          : [`${path} is ${JSON.stringify(value)}`];
      case 'array':
        return Array.isArray(value)
          ? value.flatMap((one, i) => this.#wrong(String(info['element-type']), one, `${path}[${i}]`))
          : [`${path} is no array`];
      case 'alternate': {
        const types = (info.members as readonly Member[]).map((member) => member.type);
        return types.some((one) => this.#wrong(one, value, path).length === 0) ? [] : [`${path} is neither`];
      }
      case 'object':
        return info.tag === undefined
          ? this.#wrongMembers(info.members as readonly Member[], value, path)
          : this.#wrongVariant(info, String(info.tag), value, path);
      default:
        return [`${path} has the type ${type}, of which nothing is said`];
    }
  }

  /** Of an object whose member `tag` says which others it has. */
  #wrongVariant(info: Info, tag: string, value: unknown, path: string): readonly string[] {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${path} is no object`];
    const variants = info.variants as readonly { readonly case: string; readonly type: string }[];
    const found = variants.find((one) => one.case === (value as Record<string, unknown>)[tag]);
    if (found === undefined) return [`${path}.${tag} is none of its cases`];
    const more = this.#infos.get(found.type)?.members as readonly Member[];
    return this.#wrongMembers([...(info.members as readonly Member[]), ...more], value, path);
  }

  #wrongMembers(members: readonly Member[], value: unknown, path: string): readonly string[] {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${path} is no object`];
    const given = new Map(Object.entries(value));
    const missing = members
      .filter(({ name, default: otherwise }) => otherwise === undefined && !given.has(name))
      .map(({ name }) => `${path}.${name} is missing`);
    const wrong = [...given].flatMap(([name, inner]) => {
      const member = members.find((one) => one.name === name);
      if (member === undefined) return [`${path}.${name} is not in the schema`];
      return this.#wrong(member.type, inner, `${path}.${name}`);
    });
    return [...missing, ...wrong];
  }
}
