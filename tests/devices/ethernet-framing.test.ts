import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { FRAME_BYTES_MAX } from '../../devices/ethernet/frame.js';
import {
  FrameStreamEncoder,
  FrameStreamParser,
  STREAM_FRAME_BYTES_MAX,
} from '../../devices/ethernet/stream-framing.js';

const random = seededRandom(11);

function frameOf(length: number): Uint8Array {
  const frame = new Uint8Array(length);
  random.fill(frame);
  return frame;
}

const header = (length: number): number[] =>
  [length >>> 24, length >>> 16, length >>> 8, length].map((b) => b & 255);

const joined = (...parts: (Uint8Array | number[])[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((p) => [...p]));

function parser() {
  const frames: Uint8Array[] = [];
  const it = new FrameStreamParser((bytes, at, length) => frames.push(bytes.slice(at, at + length)));
  return { frames, it };
}

describe('a stream of frames', () => {
  const frames = [0, 1, 14, 60, 64, 442, 70, 3].map(frameOf);
  const stream = joined(...frames.flatMap((frame) => [header(frame.length), frame]));

  it('gives the same frames wherever it is cut in two', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const { frames: found, it } = parser();
      expect(it.push(stream.subarray(0, cut)) && it.push(stream.subarray(cut))).toBe(true);
      expect(found).toEqual(frames);
      expect(it.isWithinFrame).toBe(false);
    }
  });

  it('gives the same frames byte by byte, and in random pieces', () => {
    for (const most of [1, 2, 3, 5, 100]) {
      const { frames: found, it } = parser();
      for (let at = 0; at < stream.length; ) {
        const end = at + random.between(1, most);
        it.push(stream.subarray(at, end));
        at = end;
      }
      expect(found).toEqual(frames);
    }
  });

  it('that ends within a frame or a header says so', () => {
    for (const bytes of [stream.subarray(0, 6), Uint8Array.of(0, 0), Uint8Array.of(0, 0, 0xff, 0)]) {
      const { it } = parser();
      it.push(bytes);
      expect(it.isWithinFrame).toBe(true);
    }
  });

  it('skips giants without holding them, and finds what follows', () => {
    const giant = new Uint8Array(STREAM_FRAME_BYTES_MAX);
    const bytes = joined(header(giant.length), giant, header(20), frames[2]!, [1, 2, 3, 4, 5, 6]);
    for (const size of [1000, bytes.length]) {
      const { frames: found, it } = parser();
      for (let at = 0; at < bytes.length; at += size) it.push(bytes.subarray(at, at + size));
      expect(it.giants).toBe(1);
      expect(found).toEqual([joined(frames[2]!, [1, 2, 3, 4, 5, 6])]);
    }
  });

  it('is of no further use after a length that is no frame’s', () => {
    for (const bad of [STREAM_FRAME_BYTES_MAX + 1, 0x4745_5420, 0xffff_ffff]) {
      const { frames: found, it } = parser();
      expect(it.push(joined(header(1), [9], header(bad), [1, 2, 3, 4, 5]))).toBe(false);
      expect(it.push(joined(header(1), [9]))).toBe(false);
      expect(found).toEqual([Uint8Array.of(9)]);
    }
  });
});

describe('the encoder', () => {
  it('writes what the parser reads, in few pieces', () => {
    const { frames: found, it: reader } = parser();
    let writes = 0;
    const encoder = new FrameStreamEncoder((bytes) => {
      writes++;
      reader.push(bytes);
    });
    const sent = Array.from({ length: 300 }, () => frameOf(random.below(1500)));
    for (const frame of sent) {
      const shifted = joined([1, 2, 3], frame);
      expect(encoder.add(shifted, 3, frame.length)).toBe(true);
    }
    encoder.flush();
    for (let i = encoder.blocksInFlight; i > 0; i--) encoder.written();
    expect(found).toEqual(sent);
    expect(writes).toBeLessThan(6);
  });

  it('refuses frames when the reader takes nothing, and takes them again when he does', () => {
    const blocks: Uint8Array[] = [];
    const encoder = new FrameStreamEncoder((bytes) => blocks.push(bytes));
    const frame = frameOf(FRAME_BYTES_MAX);
    let taken = 0;
    while (taken < 10_000 && encoder.add(frame, 0, frame.length)) {
      taken++;
      encoder.flush();
    }
    // Two blocks went with one frame each, the others full: 126 times four.
    expect(taken).toBe(2 + 126 * 4);
    expect(blocks).toHaveLength(127 + 1);
    encoder.written();
    expect(encoder.add(frame, 0, frame.length)).toBe(true);
  });

  it('gives a slow reader all of 8 MiB in small frames, however often it is flushed', () => {
    const encoder = new FrameStreamEncoder(() => {});
    const frame = frameOf(60);
    let bytes = 0;
    while (bytes < 1e8 && encoder.add(frame, 0, 60)) {
      bytes += 64;
      encoder.flush();
    }
    expect(bytes).toBeGreaterThan(126 * 65536 - 64 * 126);
    expect(bytes).toBeLessThan(128 * 65536);
  });
});
