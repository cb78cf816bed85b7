import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../base/errors.js';
import { ascii, bytes, f64, layout, u8, u16, u32, u64 } from '../../base/layout.js';

const frame = layout(
  'frame',
  { magic: u32(), kind: u8(), name: ascii(5), flags: u16(0x0c), length: u64(), key: bytes(4), at: f64(0x20) },
  { size: 0x30 },
);

const values = {
  magic: 0xfedc_ba98,
  kind: 7,
  name: 'ferry',
  flags: 0x8001,
  length: 2 ** 53 - 1,
  key: new Uint8Array([1, 2, 3, 4]),
  at: 1.5e9,
};

describe('layout', () => {
  it('packs fields in order and honours explicit offsets', () => {
    expect(frame.offset).toEqual({ magic: 0, kind: 4, name: 5, flags: 12, length: 14, key: 22, at: 32 });
    expect(frame.size).toBe(0x30);
    expect(frame.width.length).toBe(8);
  });

  it('reads back what it wrote, little-endian, at any offset, in shared memory too', () => {
    for (const buffer of [new ArrayBuffer(100), new SharedArrayBuffer(100)]) {
      const view = new DataView(buffer, 3);
      frame.write(view, 9, values);
      expect(frame.read(view, 9)).toEqual(values);
      expect(view.getUint8(9)).toBe(0x98);
    }
  });

  it('zeroes fields that are not given, over what was there', () => {
    const view = new DataView(new Uint8Array(0x30).fill(0xff).buffer);
    frame.write(view, 0, { kind: 1 });
    expect(frame.read(view, 0)).toEqual({
      magic: 0,
      kind: 1,
      name: '',
      flags: 0,
      length: 0,
      key: new Uint8Array(4),
      at: 0,
    });
    expect(frame.encode({ kind: 1 }).length).toBe(0x30);
  });

  it('gives copies, so that a judged value cannot change under the judge', () => {
    const view = new DataView(new SharedArrayBuffer(0x30));
    frame.write(view, 0, values);
    const { key } = frame.read(view, 0);
    view.setUint8(frame.offset.key, 99);
    expect(key[0]).toBe(1);
  });

  it.each([
    ['a byte', { kind: 256 }],
    ['a negative word', { flags: -1 }],
    ['a fraction', { magic: 0.5 }],
    ['more than 53 bits', { length: 2 ** 53 }],
    ['long text', { name: 'ferries' }],
    ['text that is not ASCII', { name: 'fährt' }],
    ['text with NUL', { name: 'a\0b' }],
    ['long bytes', { key: new Uint8Array(5) }],
  ])('refuses %s that does not fit', (_what, partial) => {
    expect(() => frame.encode(partial)).toThrow(InvariantError);
  });

  it('reads an inexact 64-bit number from a hostile peer as something every bound refuses', () => {
    const view = new DataView(new Uint8Array(0x30).fill(0xff).buffer);
    expect(frame.read(view, 0).length).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
  });

  it('refuses overlapping fields and a size too small', () => {
    expect(() => layout('bad', { a: u32(), b: u8(3) })).toThrow(/overlaps/);
    expect(() => layout('bad', { a: u32(), b: u8() }, { size: 4 })).toThrow(InvariantError);
  });
});
