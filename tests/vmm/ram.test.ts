import { describe, expect, test } from 'vitest';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP } from '../../base/abi/platform.js';
import { gpa, MIB } from '../../base/units.js';
import { allocateRam, checkMachineSize, GuestRam } from '../../vmm/ram/guest-ram.js';

const PAGE = 4096;

function ram(loggedPages = RAM_BYTES_MIN / PAGE): GuestRam {
  return GuestRam.create(allocateRam(RAM_BYTES_MIN), loggedPages);
}

const dirtyPages = ({ deviceLog }: GuestRam): number[] => {
  const pages: number[] = [];
  for (let page = deviceLog.next(0); page >= 0; page = deviceLog.next(page + 1)) pages.push(page);
  return pages;
};

describe('the size of a machine', () => {
  test.each([RAM_BYTES_MIN, RAM_BYTES_MIN + RAM_BYTES_STEP, RAM_BYTES_MAX])(
    '%i bytes of RAM are accepted',
    (bytes) => {
      expect(() => checkMachineSize(bytes, 1)).not.toThrow();
    },
  );

  test.each([
    0,
    -1,
    Number.NaN,
    Infinity,
    RAM_BYTES_MIN - RAM_BYTES_STEP,
    RAM_BYTES_MIN + 1,
    RAM_BYTES_MAX + RAM_BYTES_STEP,
  ])('%d bytes of RAM are refused with a typed error', (bytes) => {
    expect(() => checkMachineSize(bytes, 1)).toThrow(expect.objectContaining({ code: 'vmm/machine-option' }));
  });

  test.each([0, 5, 1.5, -1])('%d vCPUs are refused with a typed error', (vcpus) => {
    expect(() => checkMachineSize(RAM_BYTES_MIN, vcpus)).toThrow(
      expect.objectContaining({ code: 'vmm/machine-option' }),
    );
  });

  test('a host that refuses the address range is a typed error', () => {
    expect(() => allocateRam(2 ** 33)).toThrow(expect.objectContaining({ code: 'vmm/ram-unavailable' }));
  });

  test('the largest RAM costs the host nothing until it is touched', () => {
    const before = process.memoryUsage().rss;
    const large = GuestRam.create(allocateRam(RAM_BYTES_MAX), 1);
    expect(large.u8.length).toBe(RAM_BYTES_MAX);
    large.u8[RAM_BYTES_MAX - 1] = 1;
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * MIB);
  });
});

describe('guest RAM', () => {
  test('linear memory ends where RAM ends', () => {
    const { memory } = ram();
    expect(memory.buffer.byteLength).toBe(RAM_BYTES_MIN);
  });

  test('a write marks every page that it touches, and no other', () => {
    const memory = ram();
    expect(memory.write(gpa(3 * PAGE - 1), new Uint8Array(PAGE + 2).fill(7))).toBe(true);
    expect(dirtyPages(memory)).toEqual([2, 3, 4]);
    expect(memory.u8[3 * PAGE - 1]).toBe(7);
    expect(memory.u8[3 * PAGE - 2]).toBe(0);
  });

  test('a write of nothing marks nothing', () => {
    const memory = ram();
    expect(memory.write(gpa(PAGE), new Uint8Array(0))).toBe(true);
    expect(dirtyPages(memory)).toEqual([]);
  });

  test('negative control: a store past the door is in no log', () => {
    const memory = ram();
    memory.u8[PAGE] = 1;
    expect(dirtyPages(memory)).toEqual([]);
  });

  test.each([
    [RAM_BYTES_MIN, 1],
    [RAM_BYTES_MIN - 1, 2],
    [-1, 1],
    [0, RAM_BYTES_MIN + 1],
    [Number.NaN, 1],
    [2 ** 52, 1],
  ])('at %d, %d bytes are no RAM: nothing is written, viewed or marked', (at, length) => {
    const memory = ram();
    expect(memory.contains(gpa(at), length)).toBe(false);
    expect(memory.view(gpa(at), length)).toBeUndefined();
    if (length < 10) expect(memory.write(gpa(at), new Uint8Array(length).fill(1))).toBe(false);
    expect(dirtyPages(memory)).toEqual([]);
  });

  test('pages of the reserved range are in no log', () => {
    const memory = ram(10);
    memory.write(gpa(9 * PAGE), new Uint8Array(3 * PAGE));
    expect(dirtyPages(memory)).toEqual([9]);
  });

  test('another thread builds the same RAM and log from the handle', () => {
    const memory = ram();
    const other = new GuestRam(memory.handle);
    other.write(gpa(0), Uint8Array.of(42));
    expect(memory.u8[0]).toBe(42);
    expect(dirtyPages(memory)).toEqual([0]);
  });

  test('a second slot above 4 GiB is reached by its address, and writes do not run from one into the other', () => {
    const high = { gpa: gpa(2 ** 32), buffer: new SharedArrayBuffer(2 * PAGE) };
    const memory = GuestRam.create(allocateRam(RAM_BYTES_MIN), 16, [high]);
    expect(memory.write(gpa(2 ** 32 + 5), Uint8Array.of(1, 2))).toBe(true);
    expect([...memory.slots[1]!.u8.subarray(5, 7)]).toEqual([1, 2]);
    expect(memory.contains(gpa(RAM_BYTES_MIN - 1), 2)).toBe(false);
    expect(memory.contains(gpa(2 ** 32 - 1), 1)).toBe(false);
  });
});
