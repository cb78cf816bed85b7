/**
 * Cuts a byte stream into JSON values, and takes and refuses what QEMU's parser does (docs/interop/qmp-spec, "JSON"): strings
 * may stand in single quotes, a key may not come twice in an object, a lone surrogate is no character. Knows no sockets:
 * bytes come in pieces of any size, values and errors go out.
 *
 * The grammar is followed byte by byte, so that a mistake is answered where it happens and not when some later
 * bracket happens to balance it. After a mistake the rest of that line is skipped, and the stream is usable again: a
 * person who typed a bad line gets one error for it. Nothing is kept of a message but its bytes, and those are
 * bounded, in number and in nesting.
 */

export interface JsonStreamLimits {
  /** Longest message in bytes, white space outside included. */
  readonly bytesMax: number;
  /** Deepest nesting of objects and arrays. */
  readonly depthMax: number;
}

export interface JsonStreamSink {
  /**
   * One complete value. `idText` is the text of the member `id` of a top-level object as it was written, so that it
   * can be echoed exactly even where a number exceeds what JavaScript holds; strings in single quotes have double ones.
   */
  value(value: unknown, idText: string | undefined): void;
  /** One mistake, in QEMU's words. */
  error(text: string): void;
}

/** Nesting as QEMU has it; its messages may be longer. */
const DEFAULT_LIMITS: JsonStreamLimits = { bytesMax: 1024 * 1024, depthMax: 1024 };

/** What the grammar expects next, or which token is under way. */
type Expect =
  | 'value'
  | 'value-or-end' // after '['
  | 'key' // after ',' in an object
  | 'key-or-end' // after '{'
  | 'colon'
  | 'comma-or-end'
  | 'string'
  | 'escape'
  | 'scalar'
  | 'next-line'; // skipping after a mistake

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const DELETE = 0x7f;

const isSpace = (byte: number): boolean => byte === SPACE || byte === LF || byte === TAB || byte === CR;

/** Bytes of numbers and of the words true, false, null; also of words that are wrong, to name them whole. */
const isScalar = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || // digits
  (byte >= 0x61 && byte <= 0x7a) || // a-z
  (byte >= 0x41 && byte <= 0x5a) || // A-Z
  byte === 0x2b ||
  byte === 0x2d ||
  byte === 0x2e ||
  byte === 0x5f;

const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/** A container that has not ended yet. */
type Container =
  | { readonly kind: 'object'; readonly members: Record<string, unknown>; key: string }
  | { readonly kind: 'array'; readonly elements: unknown[] };

export class JsonStream {
  readonly #sink: JsonStreamSink;
  readonly #limits: JsonStreamLimits;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  #expect: Expect = 'value';
  /** Open containers, outermost first. */
  readonly #open: Container[] = [];
  /** The quote that the string under way began with. */
  #quote = QUOTE;
  #stringIsKey = false;
  /** Nothing but white space since the last line feed. */
  #lineIsEmpty = true;

  #bytes = new Uint8Array(1024);
  #length = 0;
  #tokenStart = 0;
  #keyIsId = false;
  #idStart = -1;
  #idEnd = -1;

  constructor(sink: JsonStreamSink, limits: Partial<JsonStreamLimits> = {}) {
    this.#sink = sink;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
  }

  /** Takes the next bytes of the stream; calls the sink for everything that they complete. */
  push(chunk: Uint8Array): void {
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      this.#take(byte);
      this.#lineIsEmpty = byte === LF || (this.#lineIsEmpty && isSpace(byte));
    }
  }

  #take(byte: number): void {
    if (this.#expect === 'next-line') {
      if (byte === LF) this.#reset();
      return;
    }
    if (this.#expect === 'scalar' && !isScalar(byte)) {
      // The byte behind a word or number ends it and means something of its own.
      if (!this.#scalarEnds(byte)) return;
    }
    if (this.#length === 0 && isSpace(byte)) return;
    if (!this.#keep(byte)) {
      this.#fail('JSON token size limit exceeded', byte);
      return;
    }
    switch (this.#expect) {
      case 'string':
        if (byte === this.#quote) this.#stringEnds(byte);
        else if (byte === BACKSLASH) this.#expect = 'escape';
        else if (byte < SPACE) this.#fail('JSON parse error, control character in a string', byte);
        return;
      case 'escape':
        if (byte < SPACE) this.#fail('JSON parse error, control character in a string', byte);
        else this.#expect = 'string';
        return;
      case 'scalar':
        return;
      default:
        if (!isSpace(byte)) this.#structure(byte);
    }
  }

  /** One byte outside strings and scalars. */
  #structure(byte: number): void {
    const expect = this.#expect;
    const wantsValue = expect === 'value' || expect === 'value-or-end';
    switch (byte) {
      case OPEN_BRACE:
      case OPEN_BRACKET:
        if (!wantsValue) break;
        if (this.#open.length >= this.#limits.depthMax) {
          this.#fail('JSON nesting depth limit exceeded', byte);
          return;
        }
        this.#valueStarts();
        this.#open.push(
          byte === OPEN_BRACE ? { kind: 'object', members: {}, key: '' } : { kind: 'array', elements: [] },
        );
        this.#expect = byte === OPEN_BRACE ? 'key-or-end' : 'value-or-end';
        return;
      case CLOSE_BRACE:
        if (this.#open.at(-1)?.kind !== 'object' || (expect !== 'key-or-end' && expect !== 'comma-or-end'))
          break;
        this.#containerEnds();
        return;
      case CLOSE_BRACKET:
        if (this.#open.at(-1)?.kind !== 'array' || (expect !== 'value-or-end' && expect !== 'comma-or-end'))
          break;
        this.#containerEnds();
        return;
      case COMMA:
        if (expect !== 'comma-or-end') break;
        this.#expect = this.#open.at(-1)?.kind === 'object' ? 'key' : 'value';
        return;
      case COLON:
        if (expect !== 'colon') break;
        this.#expect = 'value';
        return;
      case QUOTE:
      case SINGLE_QUOTE:
        if (expect !== 'key' && expect !== 'key-or-end' && !wantsValue) break;
        this.#stringIsKey = !wantsValue;
        if (wantsValue) this.#valueStarts();
        this.#tokenStart = this.#length - 1;
        this.#quote = byte;
        this.#expect = 'string';
        return;
      default:
        if (!isScalar(byte) || !wantsValue) break;
        this.#valueStarts();
        this.#tokenStart = this.#length - 1;
        this.#expect = 'scalar';
        return;
    }
    this.#fail(`JSON parse error, ${unexpected(byte)}, expecting ${EXPECTING[expect]}`, byte);
  }

  #stringEnds(byte: number): void {
    const text = this.#decode(this.#tokenStart + 1, this.#length - 1);
    if (text === undefined) {
      this.#fail('JSON parse error, invalid UTF-8 sequence in string', byte);
      return;
    }
    const string = unescaped(text);
    if (typeof string !== 'string') {
      this.#fail(`JSON parse error, ${string.problem}`, byte);
      return;
    }
    if (!this.#stringIsKey) {
      this.#valueEnds(string);
      return;
    }
    const object = this.#open.at(-1) as Container & { kind: 'object' };
    if (Object.hasOwn(object.members, string)) {
      this.#fail('JSON parse error, duplicate key', byte);
      return;
    }
    object.key = string;
    if (this.#open.length === 1) this.#keyIsId = string === 'id';
    this.#expect = 'colon';
  }

  /** False if the scalar was a mistake. */
  #scalarEnds(byte: number): boolean {
    const text = this.#decode(this.#tokenStart, this.#length) ?? '';
    if (!Object.hasOwn(KEYWORDS, text) && !NUMBER.test(text)) {
      const kind = /^[+-.0-9]/.test(text) ? 'number' : 'keyword';
      this.#fail(`JSON parse error, invalid ${kind} '${text.slice(0, 64)}'`, byte);
      return false;
    }
    this.#valueEnds(Object.hasOwn(KEYWORDS, text) ? KEYWORDS[text] : Number(text));
    return true;
  }

  #containerEnds(): void {
    const container = this.#open.pop()!;
    this.#valueEnds(container.kind === 'object' ? container.members : container.elements);
  }

  #valueStarts(): void {
    if (this.#keyIsId && this.#open.length === 1) this.#idStart = this.#length - 1;
  }

  #valueEnds(value: unknown): void {
    if (this.#open.length === 1 && this.#keyIsId) {
      this.#keyIsId = false;
      this.#idEnd = this.#length;
    }
    const container = this.#open.at(-1);
    if (container !== undefined) {
      if (container.kind === 'array') container.elements.push(value);
      else setOwn(container.members, container.key, value);
      this.#expect = 'comma-or-end';
      return;
    }
    const idText = this.#idEnd < 0 ? undefined : echoed(this.#decode(this.#idStart, this.#idEnd));
    this.#reset();
    this.#sink.value(value, idText);
  }

  /** Reports a mistake at `byte`; an object that begins the next line is taken as a new message. */
  #fail(text: string, byte: number): void {
    const restart = byte === OPEN_BRACE && this.#lineIsEmpty && this.#expect !== 'value';
    this.#reset();
    if (byte !== LF) this.#expect = 'next-line';
    this.#sink.error(text);
    if (restart) {
      this.#reset();
      this.#take(byte);
    }
  }

  #reset(): void {
    this.#expect = 'value';
    this.#open.length = 0;
    this.#length = 0;
    this.#keyIsId = false;
    this.#idStart = -1;
    this.#idEnd = -1;
    if (this.#bytes.length > 65536) this.#bytes = new Uint8Array(1024);
  }

  /** False if the message has become too long. */
  #keep(byte: number): boolean {
    if (this.#length === this.#limits.bytesMax) return false;
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(Math.min(this.#bytes.length * 2, this.#limits.bytesMax));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = byte;
    return true;
  }

  /** Undefined if the bytes are no UTF-8. */
  #decode(start: number, end: number): string | undefined {
    try {
      return this.#decoder.decode(this.#bytes.subarray(start, end));
    } catch {
      return undefined;
    }
  }
}

const EXPECTING: Readonly<Record<Expect, string>> = {
  value: 'value',
  'value-or-end': "value or ']'",
  key: 'a string as member name',
  'key-or-end': "a string as member name or '}'",
  colon: "':'",
  'comma-or-end': "',' or the end of the object or array",
  string: 'string',
  escape: 'escape sequence',
  scalar: 'value',
  'next-line': 'value',
};

function unexpected(byte: number): string {
  if (byte > SPACE && byte < DELETE) return `stray '${String.fromCharCode(byte)}'`;
  return `stray byte 0x${byte.toString(16).padStart(2, '0')}`;
}

const KEYWORDS: Readonly<Record<string, unknown>> = { true: true, false: false, null: null };

/** Also a member called `__proto__`. */
function setOwn(members: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(members, key, { value, writable: true, enumerable: true, configurable: true });
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/**
 * A value's text as it may stand in a reply, which is one line of JSON: line breaks, which can only be white space, become
 * spaces, and what only we and QEMU read, single quotes around a string or escaped in one, becomes what everyone reads.
 */
function echoed(text: string | undefined): string | undefined {
  const line = text?.replace(/[\r\n]/g, ' ');
  if (!line?.includes("'")) return line;
  let out = '';
  for (let at = 0; at < line.length; at++) {
    const quote = line[at]!;
    if (quote !== '"' && quote !== "'") {
      out += quote;
      continue;
    }
    const start = at + 1;
    for (at = start; line[at] !== quote; at++) if (line[at] === '\\') at++;
    out += JSON.stringify(unescaped(line.slice(start, at)));
  }
  return out;
}

/** What stands between the quotes, or what is wrong with it. */
function unescaped(text: string): string | { readonly problem: string } {
  if (!text.includes('\\')) return text;
  let out = '';
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== '\\') {
      out += text[at];
      continue;
    }
    const kind = text[++at] ?? '';
    if (kind !== 'u') {
      const meaning = ESCAPES[kind];
      if (meaning === undefined) return { problem: `invalid escape sequence '\\${kind}' in string` };
      out += meaning;
      continue;
    }
    const unit = hexUnit(text, at + 1);
    if (unit === undefined) return { problem: "invalid escape sequence '\\u' in string" };
    at += 4;
    out += String.fromCharCode(unit);
    if (unit < 0xd800 || unit > 0xdfff) continue;
    const low = text.startsWith('\\u', at + 1) ? hexUnit(text, at + 3) : undefined;
    if (unit > 0xdbff || low === undefined || low < 0xdc00 || low > 0xdfff) {
      return { problem: `\\u${unit.toString(16).toUpperCase()} is not a valid Unicode character` };
    }
    out += String.fromCharCode(low);
    at += 6;
  }
  return out;
}

function hexUnit(text: string, at: number): number | undefined {
  const digits = text.slice(at, at + 4);
  return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : undefined;
}
