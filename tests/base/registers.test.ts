import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../base/errors.js';
import { describeRegisters, registerRows } from '../../base/register-dump.js';
import { block, RegisterFile, type RegisterTable, registerTable } from '../../base/registers.js';

const table = registerTable(
  'test',
  { bytes: 0x80, aligned: false },
  {
    CTRL: { offset: 0x00, width: 32, access: 'rw', reset: 0x1234_5678, spec: '1.1' },
    STATUS: {
      offset: 0x04,
      width: 32,
      fields: { READY: [0, 1, 'ro'], ERROR: [1, 1, 'w1c'], CAUSE: [8, 8, 'rc'], LOG: [16, 4, 'w1cs'] },
    },
    COMMAND: { offset: 0x08, width: 16, access: 'wo' },
    BYTE: { offset: 0x0a, width: 8, access: 'rws', reset: 0x5a },
    WIDE: { offset: 0x10, width: 64, access: 'rw', fields: { ADDRESS: [12, 52], MODE: [10, 2] } },
    EITHER: { offset: 0x18, width: 32, access: 'rcw1c' },
    ...block(3, 0x10, {
      HEAD: { offset: 0x20, width: 32, access: 'ro' },
      TAIL: { offset: 0x24, width: 32, access: 'rw' },
    }),
    WORDS: { offset: 0x60, width: 16, access: 'rw', count: 4 },
  },
);
const { reg } = table;
type SpecsOf<T> = T extends RegisterTable<infer S> ? S : never;

describe('register file', () => {
  it('starts at the declared reset values', () => {
    const file = new RegisterFile(table);
    expect(file.read(0, 4)).toBe(0x1234_5678);
    expect(file.read(0x0a, 1)).toBe(0x5a);
    expect(file.read(0x10, 8)).toBe(0);
  });

  it('merges partial accesses of every size and alignment like a byte array does', () => {
    const file = new RegisterFile(table);
    const model = new DataView(new ArrayBuffer(0x20));
    for (const offset of [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]) {
      for (const size of [1, 2, 4, 8]) {
        if (offset + size > 0x18) continue;
        for (let i = 0; i < 8; i++) file.write(0x10 + i, 1, 0xf0 + i);
        for (let i = 0; i < 8; i++) model.setUint8(0x10 + i, 0xf0 + i);
        const low = 0x8192_a3b4;
        const high = 0xc5d6_e7f8;
        file.write(offset, size, low, high);
        for (let i = 0; i < size; i++) {
          model.setUint8(offset + i, i < 4 ? (low >>> (i * 8)) & 0xff : (high >>> ((i - 4) * 8)) & 0xff);
        }
        for (let at = 0x10; at < 0x18; at++) {
          for (const width of [1, 2, 4] as const) {
            if (at + width > 0x18) continue;
            let expected = 0;
            for (let i = 0; i < width; i++) expected += model.getUint8(at + i) * 2 ** (8 * i);
            expect(file.read(at, width), `${size}@${offset} read ${width}@${at}`).toBe(expected);
          }
        }
        expect(file.read(0x10, 8)).toBe(model.getUint32(0x10, true));
        expect(file.high).toBe(model.getUint32(0x14, true));
        if (offset + 8 <= 0x18) {
          expect(file.read(offset, 8)).toBe(model.getUint32(offset, true));
          expect(file.high).toBe(model.getUint32(offset + 4, true));
        }
      }
    }
  });

  it('reads eight bytes at any alignment', () => {
    const file = new RegisterFile(table);
    for (let i = 0; i < 4; i++) file.write(0x60 + 2 * i, 2, 0x1110 * (i + 1));
    file.write(0x24, 4, 0xdddd_cccc);
    for (let offset = 0x5a; offset <= 0x66; offset++) {
      const low = file.read(offset, 8);
      const high = file.high;
      for (let i = 0; i < 8; i++) {
        const byte = ((i < 4 ? low : high) >>> ((i & 3) * 8)) & 0xff;
        expect(byte, `byte ${i} at ${offset}`).toBe(file.read(offset + i, 1));
      }
    }
  });

  it('lets software change only what the access kind allows', () => {
    const file = new RegisterFile(table);
    file.set(reg.STATUS, 0xffff_ffff);
    file.write(0x04, 4, 0);
    expect(file.get(reg.STATUS)).toBe(0xffff_ffff);
    file.write(0x04, 4, 0x000f_0002);
    expect(file.get(reg.STATUS)).toBe(0xfff0_fffd);
    file.write(0x20, 4, 0xffff_ffff);
    expect(file.read(0x20, 4)).toBe(0);
  });

  it('clears read-to-clear bits in the bytes that were read, and only there', () => {
    const file = new RegisterFile(table);
    file.set(reg.STATUS, 0x0000_ff01);
    expect(file.read(0x04, 1)).toBe(1);
    expect(file.get(reg.STATUS)).toBe(0xff01);
    expect(file.read(0x05, 1)).toBe(0xff);
    expect(file.get(reg.STATUS)).toBe(1);
  });

  it('clears rcw1c bits either way', () => {
    const file = new RegisterFile(table);
    file.set(reg.EITHER, 7);
    file.write(0x18, 4, 2);
    expect(file.read(0x18, 4)).toBe(5);
    expect(file.read(0x18, 4)).toBe(0);
  });

  it('never stores a write-only register but shows its hook what was written', () => {
    const seen: number[][] = [];
    const file = new RegisterFile(table, { COMMAND: { write: (...args) => seen.push(args) } });
    file.write(0x08, 2, 0xbeef);
    file.write(0x09, 1, 0x77);
    expect(file.read(0x08, 2)).toBe(0);
    expect(seen).toEqual([
      [0xbeef, 0, 0, 0],
      [0x7700, 0, 0, 0],
    ]);
  });

  it('calls write hooks after both halves of an 8-byte write are stored, low first', () => {
    const seen: number[][] = [];
    const file: RegisterFile<SpecsOf<typeof table>> = new RegisterFile(table, {
      WIDE: {
        write: (written, before, _index, half) => seen.push([half, written, before, file.get64(reg.WIDE)]),
      },
    });
    file.write(0x10, 8, 0x1000, 2);
    expect(seen).toEqual([
      [0, 0x1000, 0, 0x2_0000_1000],
      [1, 2, 0, 0x2_0000_1000],
    ]);
    seen.length = 0;
    file.write(0x14, 4, 5);
    expect(seen).toEqual([[1, 5, 2, 0x5_0000_1000]]);
  });

  it('passes the instance index of an array, and hooks of neighbours stay silent', () => {
    const seen: number[][] = [];
    const file = new RegisterFile(table, {
      TAIL: { write: (written, before, index) => seen.push([index, written, before]) },
      WORDS: { write: (written, before, index) => seen.push([100 + index, written, before]) },
    });
    file.write(0x34, 4, 9);
    file.write(0x40, 4, 1);
    file.write(0x62, 2, 3);
    file.write(0x64, 4, 0x0007_0006);
    expect(seen).toEqual([
      [1, 9, 0],
      [101, 3, 0],
      [102, 6, 0],
      [103, 7, 0],
    ]);
  });

  it('lets a read hook give the value, within its own lanes', () => {
    const file = new RegisterFile(table, { BYTE: { read: (stored) => stored ^ 0xff } });
    expect(file.read(0x0a, 1)).toBe(0xa5);
    expect(file.read(0x08, 4)).toBe(0x00a5_0000);
    expect(file.read(0x08, 2)).toBe(0);
  });

  it('keeps sticky bits over a function-level reset and nothing over power-on', () => {
    const file = new RegisterFile(table);
    file.write(0, 4, 1);
    file.write(0x0a, 1, 0x11);
    file.set(reg.STATUS, 0xffff_ffff);
    file.reset('function');
    expect(file.read(0, 4)).toBe(0x1234_5678);
    expect(file.read(0x0a, 1)).toBe(0x11);
    expect(file.get(reg.STATUS)).toBe(0x000f_0000);
    file.reset('power-on');
    expect(file.read(0x0a, 1)).toBe(0x5a);
    expect(file.get(reg.STATUS)).toBe(0);
  });

  it('takes other reset values for one instance', () => {
    const file = new RegisterFile(table, {}, { WIDE: [0xdead_b000, 0xffff_ffff], BYTE: 1, TAIL: 4 });
    expect(file.read(0x10, 8)).toBe(0xdead_b000);
    expect(file.high).toBe(0xffff_ffff);
    file.write(0x34, 4, 0);
    file.reset('power-on');
    expect(file.read(0x34, 4)).toBe(4);
    expect(new RegisterFile(table).read(0x10, 8)).toBe(0);
  });

  it('refuses sizes, alignments and offsets the table does not allow', () => {
    const strict = registerTable(
      'strict',
      { bytes: 16, sizes: [4, 8] },
      {
        A: { offset: 0, width: 32, access: 'rw', reset: 7 },
        B: { offset: 8, width: 64, access: 'rw' },
      },
    );
    const file = new RegisterFile(strict);
    expect(file.read(0, 1)).toBe(0xff);
    expect(file.read(0, 2)).toBe(0xffff);
    expect(file.read(2, 4)).toBe(0xffff_ffff);
    expect(file.read(16, 4)).toBe(0xffff_ffff);
    expect(file.read(-4, 4)).toBe(0xffff_ffff);
    expect(file.read(12, 8)).toBe(0xffff_ffff);
    expect(file.high).toBe(0xffff_ffff);
    file.write(0, 1, 0);
    file.write(2, 4, 0);
    file.write(16, 4, 0);
    file.write(0, 3, 0);
    expect(file.read(0, 4)).toBe(7);
    expect(file.read(4, 4)).toBe(0);
  });

  it('saves and restores everything, and changes nothing for a record that does not fit', () => {
    const file = new RegisterFile(table);
    for (const [offset, value] of [
      [0, 99],
      [0x0a, 3],
      [0x10, 0xabc],
      [0x44, 5],
      [0x62, 6],
    ] as const) {
      file.write(offset, offset === 0x0a ? 1 : 2, value);
    }
    file.set(reg.STATUS, 0x000f_ff03);
    const saved = file.save();
    const other = new RegisterFile(table);
    expect(other.restore(saved)).toBeUndefined();
    expect(other.words).toEqual(file.words);
    expect(other.save()).toEqual(saved);
    const before = other.save();
    expect(other.restore(saved.subarray(1))).toMatch(/bytes of registers/);
    const bad = saved.slice();
    bad[7]! |= 0x80; // reserved bit 31 of STATUS
    expect(other.restore(bad)).toMatch(/^test: fixed bits of STATUS at offset 0x4 differ: /);
    expect(other.save()).toEqual(before);
  });

  it('describes saved registers by name and field, whatever the bytes', () => {
    const file = new RegisterFile(table);
    file.set(reg.STATUS, 0x0000_2a01);
    file.set(reg.WIDE, [0x1234_5c00, 0xff]);
    const lines = new Map(describeRegisters(table, file.save()));
    expect(lines.get('STATUS')).toBe('0x00002a01 READY=1 CAUSE=0x2a');
    expect(lines.get('WIDE')).toBe('0x000000ff12345c00 ADDRESS=0xff12345 MODE=3');
    expect(lines.get('HEAD[2]')).toBe('0x00000000');
    expect(new Map(describeRegisters(table, new Uint8Array(5))).get('STATUS')).toBe('missing');
    expect(registerRows(table)).toContainEqual(expect.objectContaining({ name: 'CTRL', spec: '1.1' }));
  });

  it('reads and writes fields of registers of every width', () => {
    const file = new RegisterFile(table);
    file.setField(reg.WIDE, reg.WIDE.fields.ADDRESS, 0xf_1234_5678_9abc);
    expect(file.getField(reg.WIDE, reg.WIDE.fields.ADDRESS)).toBe(0xf_1234_5678_9abc);
    expect(file.get(reg.WIDE)).toBe(0x89ab_c000);
    file.setField(reg.STATUS, reg.STATUS.fields.LOG, 9);
    expect(file.getField(reg.STATUS, reg.STATUS.fields.LOG)).toBe(9);
    expect(() => file.setField(reg.STATUS, reg.STATUS.fields.LOG, 16)).toThrow(InvariantError);
    file.set(reg.WORDS, 0xabcd, 3);
    expect(file.get(reg.WORDS, 3)).toBe(0xabcd);
    expect(file.get(reg.WORDS, 2)).toBe(0);
  });
});

describe('declaration', () => {
  const declare = (specs: Parameters<typeof registerTable>[2]) => () =>
    registerTable('bad', { bytes: 32 }, specs);

  it.each([
    ['overlap', { A: { offset: 0, width: 32 }, B: { offset: 2, width: 16 } }],
    ['array overlap', { A: { offset: 0, width: 32, count: 4, stride: 4 }, B: { offset: 12, width: 8 } }],
    ['misalignment', { A: { offset: 2, width: 32 } }],
    ['register beyond the file', { A: { offset: 24, width: 64, count: 2 } }],
    ['field beyond the register', { A: { offset: 0, width: 16, fields: { X: [12, 5] } } }],
    ['field overlap', { A: { offset: 0, width: 16, fields: { X: [0, 5], Y: [4, 1] } } }],
    ['reset value too wide', { A: { offset: 0, width: 8, reset: 256 } }],
    ['stride below the width', { A: { offset: 0, width: 32, count: 2, stride: 2 } }],
  ] as const)('refuses %s', (_what, specs) => {
    expect(declare(specs)).toThrow(InvariantError);
  });

  it('accepts neighbours that only touch', () => {
    expect(declare({ A: { offset: 0, width: 16 }, B: { offset: 2, width: 16 } })).not.toThrow();
  });
});
