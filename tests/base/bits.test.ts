import { describe, expect, it } from 'vitest';
import { BitField, bits, compose } from '../../base/bits.js';
import { InvariantError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';

describe('bit fields', () => {
  it('read back what was written, at every position and width, and leave all other bits alone', () => {
    const random = seededRandom(1);
    for (let lsb = 0; lsb < 64; lsb++) {
      for (let width = 1; (lsb & 31) + width <= 64 && width <= 53; width++) {
        const field = new BitField(lsb, width);
        const value = Math.floor(random.unit() * 2 ** width);
        const words = new Uint32Array([0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff]);
        field.write(words, 1, value);
        expect(field.read(words, 1), `${width} bits at ${lsb}`).toBe(value);
        const whole = words.reduceRight((sum, word) => (sum << 32n) | BigInt(word), 0n);
        const expected =
          ((1n << 128n) - 1n) ^ ((BigInt(value) ^ ((1n << BigInt(width)) - 1n)) << BigInt(lsb + 32));
        expect(whole, `${width} bits at ${lsb}`).toBe(expected);
        if (lsb + width <= 32) expect(field.get(words[1]!)).toBe(value);
      }
    }
  });

  it('are unsigned up to bit 31', () => {
    const { TOP, ALL } = { ...bits({ TOP: [31, 1] }), ...bits({ ALL: [0, 32] }) };
    expect(TOP.set(0, 1)).toBe(0x8000_0000);
    expect(ALL.get(-1)).toBe(0xffff_ffff);
    expect(ALL.set(0, 0xffff_ffff)).toBe(0xffff_ffff);
  });

  it('keep any 64-bit page address exact in place', () => {
    const { ADDRESS } = bits({ ADDRESS: [12, 52] });
    const words = new Uint32Array(2);
    for (const address of [0x1000, 0xffff_f000, 0x1_0000_0000, 2 ** 57 - 4096, 2 ** 63 + 4096 * 3]) {
      ADDRESS.writeInPlace(words, 0, address);
      expect(ADDRESS.readInPlace(words, 0)).toBe(address);
      expect(BigInt(words[1]!) * 2n ** 32n + BigInt(words[0]!)).toBe(BigInt(address));
    }
    expect(() => ADDRESS.writeInPlace(words, 0, 0x1800)).toThrow(InvariantError);
  });

  it('refuse values that do not fit', () => {
    const { MODE, WIDE } = bits({ MODE: [4, 3], WIDE: [30, 4] });
    expect(() => MODE.set(0, 8)).toThrow(InvariantError);
    expect(() => MODE.set(0, -1)).toThrow(InvariantError);
    expect(() => MODE.set(0, 0.5)).toThrow(InvariantError);
    expect(MODE.set(0xffff_ffff, 0)).toBe(0xffff_ff8f);
    expect(() => WIDE.set(0, 1)).toThrow(InvariantError);
    expect(() => WIDE.write([0, 0], 0, 16)).toThrow(InvariantError);
  });

  it('refuse declarations that overlap or span three words', () => {
    expect(() => bits({ A: [0, 4], B: [3, 1] })).toThrow(/overlap/);
    expect(() => bits({ A: [31, 34] })).toThrow(InvariantError);
    expect(() => bits({ A: [0, 0] })).toThrow(InvariantError);
    expect(() => bits({ A: [0, 4], B: [4, 1] })).not.toThrow();
  });

  it('compose whole structures', () => {
    const fields = bits({ P: [0, 1], TABLE: [12, 52], DID: [72, 16] });
    expect(compose(fields, 4, { P: 1, TABLE: 0x1_2345, DID: 0xabcd })).toEqual([
      0x1234_5001, 0, 0x00ab_cd00, 0,
    ]);
  });
});
