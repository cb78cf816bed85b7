import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { GUEST_DATA_BASE, imageHeader, imageSection } from '../../base/abi/image.js';
import { encodeImage } from '../../base/abi/image-encode.js';
import { imageRamBytesMin, type ParsedImage, parseImage } from '../../base/abi/image-parse.js';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, VCPUS_MAX } from '../../base/abi/platform.js';
import { reservedRange } from '../../base/abi/reserved-range.js';
import { FerryError } from '../../base/errors.js';
import { buildImage, sha256 } from '../../guest-fixtures/toolchain/build.js';
import { describeImage } from '../../guest-fixtures/toolchain/describe.js';

const TINY = new URL('../../guest-fixtures/tiny/tiny.wat', import.meta.url);

let image: Uint8Array;
let parsed: ParsedImage;
beforeAll(async () => {
  image = await buildImage(readFileSync(TINY, 'utf8'), { name: 'tiny' });
  parsed = parseImage(image, sha256);
});

/** The code of the error that parsing ends in; anything but a FerryError fails the test. */
function codeOf(bytes: Uint8Array): string {
  try {
    parseImage(bytes, sha256);
  } catch (error) {
    if (error instanceof FerryError) return error.code;
    throw error;
  }
  return 'none';
}

/** A copy with `change` made to it and, unless told otherwise, a content hash that matches again. */
function changed(change: (bytes: Uint8Array, view: DataView) => void, rehash = true): Uint8Array {
  const bytes = image.slice();
  change(bytes, new DataView(bytes.buffer));
  if (rehash) bytes.set(sha256(bytes.subarray(imageHeader.size)), imageHeader.offset.contentHash);
  return bytes;
}

const sectionAt = (index: number): number => imageHeader.size + index * imageSection.size;

describe('an image', () => {
  it('parses to what was built', () => {
    expect(parsed.meta.name).toBe('tiny');
    expect(parsed.meta.registers.map((register) => register.name).sort()).toEqual([
      'checksum',
      'ferry_irq_enabled',
      'jiffies',
      'next_tick',
    ]);
    expect(parsed.meta.functionNames).toContain('report');
    expect(parsed.data[0]!.gpa).toBe(GUEST_DATA_BASE);
    expect(Buffer.from(parsed.data[0]!.bytes).toString('latin1')).toMatch(/^tiny: up/);
    for (const code of Object.values(parsed.code)) expect(WebAssembly.validate(code.slice())).toBe(true);
  });

  it('is the same bytes for the same source', async () => {
    const again = await buildImage(readFileSync(TINY, 'utf8'), { name: 'tiny' });
    expect(Buffer.compare(again, image)).toBe(0);
  });

  it('is found at the start of a longer range, as in guest RAM', () => {
    const ram = new Uint8Array(image.length + 4096).fill(0x5a);
    ram.set(image);
    expect(parseImage(ram, sha256).contentHash).toEqual(parsed.contentHash);
  });

  it('says how much RAM it needs: its data, itself, and the reserved range of all its vCPUs', () => {
    for (const [bytes, dataEnd, smp] of [
      [10_000, 0x20000, false],
      [60 << 20, 0x20000, true],
      [1 << 20, 1 << 30, true],
    ] as const) {
      const ram = imageRamBytesMin(bytes, { dataEnd, smp });
      const free = (ramBytes: number): number =>
        ramBytes - reservedRange(ramBytes, smp ? VCPUS_MAX : 1).bytes;
      expect(free(ram)).toBeGreaterThanOrEqual(bytes + dataEnd);
      if (ram > RAM_BYTES_MIN) expect(free(ram - 65536)).toBeLessThan(bytes + dataEnd + 2 * 4096);
    }
    expect(parsed.ramBytesMin).toBe(RAM_BYTES_MIN);
  });

  it('is described in plain values', () => {
    const description = describeImage(image);
    expect(JSON.parse(JSON.stringify(description))).toEqual(description);
    expect(description.variants.map(({ variant }) => variant)).toEqual(['run', 'log', 'postcopy']);
    expect(description.variants[0]!.growth).toBe(1);
    expect(description.variants[1]!.growth).toBeGreaterThan(1);
    expect(description.sections.map(({ name }) => name)).toContain('CODE postcopy');
  });

  it('too large for RAM is not written', () => {
    const content = { meta: { ...parsed.meta, dataEnd: RAM_BYTES_MAX }, data: [], code: parsed.code };
    expect(() => encodeImage(content, sha256)).toThrow(/bytes of RAM/);
  });
});

describe('parsing refuses', () => {
  it('an image cut at any byte', () => {
    const table = sectionAt(parsed.sections.length);
    const cuts = new Set<number>();
    for (let at = 0; at <= table + 16; at++) cuts.add(at);
    for (const { offset, lengthBytes } of parsed.sections) {
      for (const at of [offset - 1, offset, offset + 1, offset + lengthBytes - 1]) cuts.add(at);
    }
    cuts.add(image.length - 1);
    for (const at of cuts) expect(codeOf(image.subarray(0, at)), `cut at ${at}`).toMatch(/^image\//);
    expect(codeOf(image)).toBe('none');
  });

  it('any flipped bit of header and section table, and of the content', () => {
    const table = sectionAt(parsed.sections.length);
    for (let bit = 0; bit < table * 8; bit++) {
      const flipped = changed((bytes) => {
        bytes[bit >> 3]! ^= 1 << (bit & 7);
      }, false);
      expect(codeOf(flipped), `bit ${bit}`).toMatch(/^image\//);
    }
    for (let at = table; at < image.length; at += 97) {
      const flipped = changed((bytes) => {
        bytes[at]! ^= 0x10;
      }, false);
      expect(codeOf(flipped), `byte ${at}`).toBe('image/hash');
    }
  });

  it('sections of another kind or at another place, even if the hash was made to match', () => {
    for (let section = 0; section < parsed.sections.length; section++) {
      for (const field of ['kind', 'reserved', 'offset'] as const) {
        const start = sectionAt(section) + imageSection.offset[field];
        for (let bit = start * 8; bit < (start + imageSection.width[field]) * 8; bit++) {
          const flipped = changed((bytes) => {
            bytes[bit >> 3]! ^= 1 << (bit & 7);
          });
          expect(codeOf(flipped), `section ${section} ${field}`).toMatch(/^image\//);
        }
      }
    }
  });

  it('another version, naming both', () => {
    const newer = changed((_, view) => view.setUint16(imageHeader.offset.version, 7, true));
    expect(codeOf(newer)).toBe('image/version');
  });

  it('counts and lengths that are huge, at once', () => {
    const started = performance.now();
    for (const [offset, width] of [
      [imageHeader.offset.sectionCount, 2],
      [imageHeader.offset.totalBytes, 4],
      [imageHeader.offset.ramBytesMin, 4],
      [sectionAt(0) + imageSection.offset.lengthBytes, 4],
      [sectionAt(0) + imageSection.offset.offset, 4],
      [sectionAt(1) + imageSection.offset.gpa, 4],
    ] as const) {
      expect(codeOf(changed((bytes) => bytes.fill(0xff, offset, offset + width)))).toBe('image/malformed');
    }
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('a description of the guest that is not one', () => {
    const meta = parsed.sections.find(({ name }) => name === 'META')!;
    const original = JSON.parse(
      Buffer.from(image.subarray(meta.offset, meta.offset + meta.lengthBytes)).toString(),
    ) as Record<string, unknown>;
    const withMeta = (text: string): string =>
      codeOf(
        changed((bytes) => {
          bytes.fill(0x20, meta.offset, meta.offset + meta.lengthBytes);
          bytes.set(Buffer.from(text, 'latin1'), meta.offset);
        }),
      );
    expect(withMeta(JSON.stringify(original))).toBe('none');
    const slim = { ...original, functionNames: [] };
    for (const wrong of [
      '',
      'null',
      '[]',
      '{',
      '[[[[[[[[[[',
      '{"name":"\xff"}',
      ...Object.keys(slim).map((key) => JSON.stringify({ ...slim, [key]: undefined })),
      ...Object.keys(slim).map((key) => JSON.stringify({ ...slim, [key]: { length: 1 } })),
      JSON.stringify({ ...slim, dataEnd: 1.5e5 + 0.5 }),
      JSON.stringify({ ...slim, dataEnd: 1 }),
      JSON.stringify({ ...slim, dataEnd: 2 ** 40 }),
      JSON.stringify({ ...slim, registers: [{ name: 'a', type: 'v128' }] }),
      JSON.stringify({
        ...slim,
        registers: [
          { name: 'a', type: 'i32' },
          { name: 'a', type: 'i32' },
        ],
      }),
      JSON.stringify({ ...slim, functionNames: [7] }),
    ]) {
      expect(withMeta(wrong), wrong).toBe('image/malformed');
    }
  });

  it('data outside what is the guest’s, or overlapping', () => {
    const at = (gpa: number): string =>
      codeOf(changed((_, view) => view.setUint32(sectionAt(1) + imageSection.offset.gpa, gpa, true)));
    expect(at(GUEST_DATA_BASE)).toBe('none');
    expect(at(GUEST_DATA_BASE - 1)).toBe('image/malformed');
    expect(at(parsed.meta.dataEnd)).toBe('image/malformed');
    const twice = encodeImage(
      {
        meta: parsed.meta,
        data: [
          { gpa: GUEST_DATA_BASE, bytes: new Uint8Array(10) },
          { gpa: GUEST_DATA_BASE + 9, bytes: new Uint8Array(10) },
        ],
        code: parsed.code,
      },
      sha256,
    );
    expect(codeOf(twice)).toBe('image/malformed');
  });

  it('code that is not WebAssembly', () => {
    const code = parsed.sections.find(({ name }) => name === 'CODE log')!;
    expect(
      codeOf(
        changed((bytes) => {
          bytes[code.offset] = 1;
        }),
      ),
    ).toBe('image/malformed');
  });

  it('random bytes behind a good magic number', () => {
    let state = 1;
    for (let round = 0; round < 300; round++) {
      const bytes = new Uint8Array(400).map(() => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state >>> 24;
      });
      bytes.set(image.subarray(0, 6 + (round % 3) * 30));
      expect(codeOf(bytes)).toMatch(/^image\//);
    }
  });
});
