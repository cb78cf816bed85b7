import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { AtomicBitmap, countTrailingZeros, popCount } from '../../base/bitmap.js';
import { seededRandom } from '../../base/random.js';

describe('atomic bitmap', () => {
  it('agrees with a set of numbers over random operations, at lengths around a word', () => {
    const random = seededRandom(11);
    for (const length of [1, 31, 32, 33, 63, 64, 65, 1000]) {
      const bitmap = new AtomicBitmap(length);
      const model = new Set<number>();
      for (let step = 0; step < 2 * length; step++) {
        const index = random.below(length);
        expect(bitmap.set(index)).toBe(!model.has(index));
        model.add(index);
        expect(bitmap.has(index)).toBe(true);
        if (random.chance(0.05)) {
          const word = random.below(bitmap.words.length);
          const taken = bitmap.exchangeWord(word);
          for (let bit = 0; bit < 32; bit++) {
            expect(((taken >>> bit) & 1) === 1).toBe(model.delete(word * 32 + bit));
          }
        }
        expect(bitmap.count()).toBe(model.size);
      }
      const listed: number[] = [];
      for (let i = bitmap.next(0); i >= 0; i = bitmap.next(i + 1)) listed.push(i);
      expect(listed).toEqual([...model].sort((a, b) => a - b));
    }
  });

  it('fills exactly its length, so that no bit beyond it exists', () => {
    for (const length of [0, 1, 31, 32, 33, 64]) {
      const bitmap = new AtomicBitmap(length);
      bitmap.fill();
      expect(bitmap.count()).toBe(length);
      expect(bitmap.next(length)).toBe(-1);
      bitmap.clear();
      expect(bitmap.next(0)).toBe(-1);
    }
  });

  it('sets ranges exactly, wherever they start and end', () => {
    const random = seededRandom(13);
    for (let step = 0; step < 500; step++) {
      const bitmap = new AtomicBitmap(300);
      const first = random.below(301);
      const end = random.between(first, 300);
      bitmap.setRange(first, end);
      expect(bitmap.count()).toBe(end - first);
      if (end > first) expect(bitmap.next(0)).toBe(first);
      expect(bitmap.next(end)).toBe(-1);
    }
  });

  it('drains into another by or-ing, empties itself, and counts only what was new', () => {
    const source = new AtomicBitmap(100);
    const target = new AtomicBitmap(100);
    for (const index of [3, 40, 99]) source.set(index);
    for (const index of [3, 4]) target.set(index);
    expect(source.drainInto(target)).toBe(2);
    expect(source.count()).toBe(0);
    expect([3, 4, 40, 99].every((index) => target.has(index))).toBe(true);
    expect(() => source.drainInto(new AtomicBitmap(101))).toThrow();
  });

  it('shares its words through the buffer and refuses one of another size', () => {
    const bitmap = new AtomicBitmap(70);
    const other = new AtomicBitmap(70, bitmap.buffer);
    bitmap.set(69);
    expect(other.has(69)).toBe(true);
    expect(other.orWord(2, 0x21)).toBe(1);
    expect(() => new AtomicBitmap(100, bitmap.buffer)).toThrow();
  });

  it('counts bits and trailing zeros like a loop does', () => {
    const random = seededRandom(12);
    for (const word of [0, 1, 0x8000_0000, 0xffff_ffff, ...Array.from({ length: 200 }, () => random.u32())]) {
      let ones = 0;
      for (let bit = 0; bit < 32; bit++) ones += (word >>> bit) & 1;
      expect(popCount(word | 0)).toBe(ones);
      if (word !== 0) {
        let zeros = 0;
        while (((word >>> zeros) & 1) === 0) zeros++;
        expect(countTrailingZeros(word | 0)).toBe(zeros);
      }
    }
  });

  it('loses no bit that another thread sets while words are taken', async () => {
    const SET = 300_000;
    const bitmap = new AtomicBitmap(32);
    // Counts the bits that it found clear: each of them is somebody's to take, once.
    const setter = new Worker(
      `const { workerData: { buffer, count } } = require('node:worker_threads');
       const words = new Int32Array(buffer);
       for (let set = 0, bit = 0; set < count; bit++) if ((Atomics.or(words, 0, 1 << bit) & (1 << bit)) === 0) set++;`,
      { eval: true, workerData: { buffer: bitmap.buffer, count: SET } },
    );
    let ended = false;
    setter.once('exit', () => {
      ended = true;
    });
    let taken = 0;
    while (!ended) {
      for (let i = 0; i < 20_000; i++) taken += popCount(bitmap.exchangeWord(0));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(taken + popCount(bitmap.exchangeWord(0))).toBe(SET);
  });
});
