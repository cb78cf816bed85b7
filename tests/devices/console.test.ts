import { describe, expect, test } from 'vitest';
import { instant } from '../../base/units.js';
import { ConsoleDevice, type ConsoleLine } from '../../devices/console/device.js';

const RAM = new Uint8Array(64 * 1024);

function consoleDevice() {
  const lines: ConsoleLine[] = [];
  let now = 0;
  const device = new ConsoleDevice({
    memory: {
      slots: [],
      contains: (at, length) => at + length <= RAM.length,
      view: (at, length) => (at + length <= RAM.length ? RAM.subarray(at, at + length) : undefined),
      write: () => false,
      markDirty: () => undefined,
    },
    clock: { now: () => instant(now++) },
    print: (line) => lines.push(line),
  });
  const { handler } = device.regions[0]!;
  return {
    device,
    lines,
    texts: () => lines.map(({ text }) => text),
    type: (text: string) => {
      for (const char of text) handler.write(0, 1, char.charCodeAt(0));
    },
    print: (at: number, length: number) => {
      handler.write(4, 4, at);
      handler.write(8, 4, length);
    },
    handler,
  };
}

const put = (at: number, text: string): void => RAM.set(Buffer.from(text, 'latin1'), at);

describe('the console', () => {
  test('prints whole lines, from bytes and from RAM, with the time of their end', () => {
    const { lines, type, print, texts } = consoleDevice();
    put(100, 'from RAM\nand');
    type('one');
    expect(lines).toEqual([]);
    type(' line\r\n');
    print(100, 12);
    type(' more\n');
    expect(texts()).toEqual(['one line', 'from RAM', 'and more']);
    expect(lines.map(({ atNs }) => atNs)).toEqual([0, 1, 2]);
  });

  test('shows what could drive a terminal as text', () => {
    const { type, texts } = consoleDevice();
    type('\x1b[2J\tok\x07\xff\n');
    expect(texts()).toEqual(['\\x1b[2J\tok\\x07\\xff']);
  });

  test('breaks a line that has no end, and keeps nothing beyond its bound', () => {
    const { type, texts, device } = consoleDevice();
    type('x'.repeat(2500));
    expect(texts().map((text) => text.length)).toEqual([1024, 1024]);
    expect(device.save().state.length).toBeLessThan(1100);
  });

  test('prints at most 4096 bytes at once', () => {
    const { print, type, texts } = consoleDevice();
    put(0, 'y'.repeat(5000));
    print(0, 5000);
    type('\n');
    expect(texts().join('').length).toBe(4096);
  });

  test.each([
    [RAM.length - 3, 4],
    [RAM.length, 1],
    [0xffff_ffff, 0xffff_ffff],
  ])('ignores text at %i, %i bytes, that is not in RAM, and counts it', (at, length) => {
    const { print, texts, device } = consoleDevice();
    print(at, length);
    expect(device.ignoredWrites).toBe(1);
    expect(texts()).toEqual([]);
  });

  test('a register it does not have, or a half access, changes nothing', () => {
    const { handler, texts } = consoleDevice();
    for (const width of [1, 2, 4] as const) {
      handler.write(0x100, width, 0x41);
      expect(handler.read(0x100, width)).toBe(0);
    }
    expect(handler.read(0, 1)).toBe(0);
    expect(texts()).toEqual([]);
  });

  test('a restored console ends the line that the saved one began', () => {
    const first = consoleDevice();
    const second = consoleDevice();
    first.type('half a ');
    first.print(RAM.length, 1);
    second.device.restore(first.device.save());
    expect(second.device.save()).toEqual(first.device.save());
    second.type('line\n');
    expect(second.texts()).toEqual(['half a line']);
    expect(second.device.ignoredWrites).toBe(1);
    expect(second.handler.read(4, 4)).toBe(RAM.length);
  });

  test('refuses records of every wrong length, version and shape, and keeps its state', () => {
    const first = consoleDevice();
    first.type('abc');
    const good = first.device.save();
    const { device } = consoleDevice();
    const before = device.save();
    for (let length = 0; length < good.state.length; length++) {
      const state = good.state.subarray(0, length);
      expect(() => device.restore({ ...good, state })).toThrow(
        expect.objectContaining({ code: 'devices/recordRefused' }),
      );
    }
    expect(() => device.restore({ ...good, version: 2 })).toThrow(
      expect.objectContaining({ code: 'devices/recordVersion' }),
    );
    expect(device.save()).toEqual(before);
    device.restore(good);
    expect(device.save()).toEqual(good);
  });

  test('describes its record in words, whatever the bytes', () => {
    const { device, type } = consoleDevice();
    type('left open');
    const words = new Map(device.describe(device.save()));
    expect(words.get('open line')).toBe('left open');
    expect(words.get('ADDRESS')).toBe('0x00000000');
    expect(() => device.describe({ name: 'console', version: 1, state: new Uint8Array(3) })).not.toThrow();
  });
});
