/**
 * JSON as people write it by hand, read with the place of everything in it: who made a mistake wants its line. The grammar is that of
 * `JSON.parse`, and a name may stand only once in an object.
 */

/** Members and indices from the outermost value inwards. */
export type Path = readonly (string | number)[];

export interface JsonText {
  readonly value: unknown;
  /** Where the value at `path` begins; where the nearest value around it does, if there is none. */
  readonly placeOf: (path: Path) => number;
}

/** What is wrong with a text, and where. */
export class JsonMistake extends Error {
  readonly at: number;

  constructor(at: number, why: string) {
    super(why);
    this.name = 'JsonMistake';
    this.at = at;
  }
}

/** Deeper than anything that is written by hand. */
const DEPTH_MAX = 64;
const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/sy;
const SCALAR = /[A-Za-z0-9+\-.]+/y;
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const WORDS: Readonly<Record<string, unknown>> = { true: true, false: false, null: null };

/** Throws `JsonMistake`. */
export function readJson(text: string): JsonText {
  const reader = new Reader(text);
  const value = reader.whole();
  const placeOf = (path: Path): number => {
    for (let length = path.length; ; length--) {
      const at = reader.places.get(keyOf(path.slice(0, length)));
      if (at !== undefined || length === 0) return at ?? 0;
    }
  };
  return { value, placeOf };
}

/** Line and column of a place in `text`, both from 1. */
export function lineAndColumn(text: string, at: number): { readonly line: number; readonly column: number } {
  const before = text.slice(0, at).split('\n');
  return { line: before.length, column: before.at(-1)!.length + 1 };
}

const keyOf = (path: Path): string => JSON.stringify(path);

class Reader {
  readonly places = new Map<string, number>();
  readonly #text: string;
  readonly #path: (string | number)[] = [];
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): unknown {
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) throw this.#unexpected('the end');
    return value;
  }

  #value(): unknown {
    this.#space();
    this.places.set(keyOf(this.#path), this.#at);
    if (this.#path.length > DEPTH_MAX) throw new JsonMistake(this.#at, 'it is nested too deep');
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object();
      case '[':
        return this.#array();
      case '"':
        return this.#string();
    }
    const word = this.#match(SCALAR);
    if (word !== undefined && NUMBER.test(word)) return Number(word);
    if (word !== undefined && Object.hasOwn(WORDS, word)) return WORDS[word];
    this.#at -= word?.length ?? 0;
    throw this.#unexpected('a value');
  }

  #object(): unknown {
    const members = new Map<string, unknown>();
    this.#members('}', () => {
      this.#space();
      const at = this.#at;
      if (this.#text[at] !== '"') throw this.#unexpected('a name in double quotes');
      const name = this.#string();
      if (members.has(name)) throw new JsonMistake(at, `'${name}' stands here twice`);
      this.#take(':');
      members.set(name, this.#within(name));
    });
    return Object.fromEntries(members);
  }

  #array(): unknown {
    const elements: unknown[] = [];
    this.#members(']', () => {
      elements.push(this.#within(elements.length));
    });
    return elements;
  }

  /** What stands between brackets, the first of which is next. */
  #members(end: '}' | ']', member: () => void): void {
    this.#at++;
    this.#space();
    if (this.#text[this.#at] === end) {
      this.#at++;
      return;
    }
    for (;;) {
      member();
      this.#space();
      const next = this.#text[this.#at];
      if (next !== end && next !== ',') throw this.#unexpected(`',' or '${end}'`);
      this.#at++;
      if (next === end) return;
    }
  }

  #within(step: string | number): unknown {
    this.#path.push(step);
    const value = this.#value();
    this.#path.pop();
    return value;
  }

  #string(): string {
    const at = this.#at;
    const quoted = this.#match(STRING);
    if (quoted === undefined) throw new JsonMistake(at, 'this text does not end');
    try {
      return JSON.parse(quoted) as string;
    } catch {
      throw new JsonMistake(at, 'a character of this text must be escaped, or is escaped wrongly');
    }
  }

  #take(character: string): void {
    this.#space();
    if (this.#text[this.#at] !== character) throw this.#unexpected(`'${character}'`);
    this.#at++;
  }

  #space(): void {
    this.#match(SPACE);
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text)?.[0];
    this.#at += match?.length ?? 0;
    return match;
  }

  #unexpected(wanted: string): JsonMistake {
    const found = this.#text.slice(this.#at).match(/^(?:[A-Za-z0-9+\-.]{1,20}|.)/su)?.[0];
    return new JsonMistake(
      this.#at,
      `here must come ${wanted}, and not ${found === undefined ? 'the end' : `'${found}'`}`,
    );
  }
}
