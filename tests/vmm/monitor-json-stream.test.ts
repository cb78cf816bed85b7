import { describe, expect, it } from 'vitest';
import { JsonStream, type JsonStreamLimits } from '../../vmm/monitor/json-stream.js';

type Out = { value: unknown; id?: string } | { error: string };

function feed(chunks: readonly Uint8Array[], limits: Partial<JsonStreamLimits> = {}): Out[] {
  const out: Out[] = [];
  const stream = new JsonStream(
    {
      value: (value, idText) => out.push(idText === undefined ? { value } : { value, id: idText }),
      error: (error) => out.push({ error }),
    },
    limits,
  );
  for (const chunk of chunks) stream.push(chunk);
  return out;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const parse = (text: string, limits: Partial<JsonStreamLimits> = {}): Out[] => feed([bytes(text)], limits);
const errors = (out: readonly Out[]): string[] => out.flatMap((o) => ('error' in o ? [o.error] : []));

const MESSAGES = [
  '{"execute": "query-status"}',
  '{"execute":"x","arguments":{"a":[1,-2.5e3,true,null,{"b":"\\u00e4\\n\\""}],"c":{}},"id":[1,{"id":2}]}',
  '[]',
  '{ "id" : "ü€😀" , "execute" : "y" }',
  '17',
  '"text with { [ and \\\\ in it"',
];

describe('JSON stream', () => {
  it('gives the same values wherever the bytes are cut', () => {
    const text = bytes(`${MESSAGES.join('\r\n')}\n`);
    const whole = feed([text]);
    expect(whole).toHaveLength(MESSAGES.length);
    expect(whole.map((o) => 'value' in o && o.value)).toEqual(MESSAGES.map((m) => JSON.parse(m)));
    for (let cut = 0; cut <= text.length; cut++) {
      expect(feed([text.subarray(0, cut), text.subarray(cut)])).toEqual(whole);
    }
    expect(feed([...text].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
  });

  it('needs no line ends between objects, and allows them inside', () => {
    expect(parse('{"a":1}{"b":2}\n{\n  "c":\n3\n}')).toEqual([
      { value: { a: 1 } },
      { value: { b: 2 } },
      { value: { c: 3 } },
    ]);
  });

  it('keeps the text of the id as it was written', () => {
    expect(parse('{"id": 18446744073709551615}')[0]).toHaveProperty('id', '18446744073709551615');
    expect(parse('{"id": {"b": [1, 1.50]} , "x": {"id": 3}}')[0]).toHaveProperty('id', '{"b": [1, 1.50]}');
    expect(parse('{"x": [{"id": 3}]}')[0]).not.toHaveProperty('id');
    expect(parse('{"\\u0069d": null}')[0]).toHaveProperty('id', 'null');
    expect(parse('{"id":\n[1,\n2]}')[0]).toHaveProperty('id', '[1, 2]');
  });

  it.each([
    ['{"a" 1}', /stray '1', expecting ':'/],
    ['{"a":1,}', /stray '}', expecting a string as member name/],
    ['{"a":1]', /stray ']'/],
    ['}', /stray '}', expecting value/],
    ['{a:1}', /stray 'a'/],
    ['{"a":nul}', /invalid keyword 'nul'/],
    ['{"a":01}', /invalid number '01'/],
    ['{"a":"\\q"}', /invalid escape/],
    ['{"a":"\u0001"}', /control character/],
    ['{"\\x":1}', /invalid escape sequence '\\x' in string/],
    // What JSON.parse takes and QEMU's parser refuses.
    ['{"execute":"query-status","execute":"stop"}', /JSON parse error, duplicate key/],
    ['{"a":{"b":[{"c":1,"d":2,"\\u0063":3}]}}', /duplicate key/],
    ['{"a":"\\ud800"}', /\\uD800 is not a valid Unicode character/],
    ['{"a":"\\udc00\\ud800"}', /\\uDC00 is not a valid Unicode character/],
    ['{"a":"\\ud83dx"}', /not a valid Unicode character/],
    ['{"a":%d}', /stray '%'/],
    ['[1,2,]', /stray ']'/],
    ['{"a":+1}', /invalid number '\+1'/],
    ['{"a":.5}', /invalid number/],
    ['{"a":NaN}', /invalid keyword 'NaN'/],
    ['quit', /invalid keyword 'quit'/],
    ['\u0000', /stray byte 0x00/],
  ])('answers %s with one error, and the next line works', (bad, words) => {
    const out = parse(`${bad}\n{"after":1}\n`);
    expect(errors(out)).toHaveLength(1);
    expect(errors(out)[0]).toMatch(words);
    expect(out.at(-1)).toEqual({ value: { after: 1 } });
  });

  it.each([
    // What QEMU's parser takes and JSON.parse refuses.
    ["{'execute':'query-status'}", { execute: 'query-status' }],
    [`{"a":'say "x"', 'b':"it's"}`, { a: 'say "x"', b: "it's" }],
    [`['it\\'s', "it\\'s"]`, ["it's", "it's"]],
    // What both take, where one could think otherwise.
    ['{"a":1e999}', { a: Number.POSITIVE_INFINITY }],
    ['{"a":-0.0e-1}', { a: -0 }],
    ['{"a":"\\u0000\\ud83d\\ude00\\/"}', { a: '\u0000\u{1f600}/' }],
    ['{"":{"":{}}}', { '': { '': {} } }],
    ['{"a":{"b":1},"c":{"b":2}}', { a: { b: 1 }, c: { b: 2 } }],
  ])('takes %s', (text, value) => {
    expect(parse(text)).toEqual([{ value }]);
  });

  it('takes a member called __proto__ as a member, and nesting as deep as QEMU', () => {
    const [taken] = parse('{"__proto__":{"execute":"stop"}}') as { value: object }[];
    expect(Object.keys(taken!.value)).toEqual(['__proto__']);
    expect((taken!.value as { execute?: unknown }).execute).toBeUndefined();
    expect(parse(`${'['.repeat(1024)}${']'.repeat(1024)}`)).toHaveLength(1);
    expect(parse(`${'['.repeat(1025)}\n`)).toEqual([{ error: 'JSON nesting depth limit exceeded' }]);
  });

  it('answers a mistake as soon as it is there, and takes an object on the next line as a new message', () => {
    const out = parse('{"execute": "stop"\n{"execute": "cont"}');
    expect(errors(out)).toHaveLength(1);
    expect(out.at(-1)).toEqual({ value: { execute: 'cont' } });
  });

  it('refuses bytes that are no UTF-8, in strings, keys and outside, and goes on', () => {
    for (const bad of [
      [0x22, 0xff, 0x22],
      [0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d],
      [0xfe, 0xff],
      [0x22, 0xed, 0xa0, 0x80, 0x22],
    ]) {
      const out = feed([Uint8Array.from(bad), bytes('\n{"after":1}')]);
      expect(errors(out)).toHaveLength(1);
      expect(out.at(-1)).toEqual({ value: { after: 1 } });
    }
  });

  it('bounds nesting and length, and goes on after both', () => {
    const deep = parse(`${'['.repeat(5)}${']'.repeat(5)}\n1\n`, { depthMax: 4 });
    expect(deep).toEqual([{ error: 'JSON nesting depth limit exceeded' }, { value: 1 }]);
    expect(parse(`${'['.repeat(4)}${']'.repeat(4)}`, { depthMax: 4 })).toEqual([{ value: [[[[]]]] }]);
    const long = parse(`"${'x'.repeat(100)}"\n1\n`, { bytesMax: 100 });
    expect(long).toEqual([{ error: 'JSON token size limit exceeded' }, { value: 1 }]);
    expect(parse(`"${'x'.repeat(98)}"`, { bytesMax: 100 })).toHaveLength(1);
  });

  it('keeps nothing of an endless garbage line', () => {
    const garbage = new Uint8Array(65536).fill(0x80);
    const out = feed(Array.from({ length: 64 }, () => garbage));
    expect(out).toHaveLength(1);
  });

  it('agrees with JSON.parse about what is right, for random damage to a message', () => {
    const text = MESSAGES[1];
    let seed = 1;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    const alphabet = '{}[]:,"\\ 0a1-.e\n';
    for (let i = 0; i < 3000; i++) {
      const at = random(text.length);
      const damaged = `${text.slice(0, at)}${alphabet[random(alphabet.length)]}${text.slice(at + random(2))}`;
      let expected: unknown;
      try {
        expected = JSON.parse(damaged);
      } catch {
        expected = undefined;
      }
      const out = parse(`${damaged}\n`);
      // JSON.parse takes the last of several.
      if (errors(out)[0] === 'JSON parse error, duplicate key') continue;
      if (expected !== undefined) expect(out.map((o) => 'value' in o && o.value)).toEqual([expected]);
      else expect(out).not.toEqual([{ value: expect.anything() }]);
    }
  });
});
