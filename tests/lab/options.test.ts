import { describe, expect, it } from 'vitest';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP } from '../../base/abi/platform.js';
import { GIB, KIB, MIB } from '../../base/units.js';
import {
  formatDuration,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
  parseWhole,
} from '../../lab/options/quantities.js';
import { parseMonitorAddress } from '../../vmm/monitor/monitor-address.js';
import { formatSocketAddress, parseSocketAddress } from '../../vmm/sockets/address.js';

describe('quantities', () => {
  it.each([
    ['256MiB', 256 * MIB],
    ['64M', 64 * MIB],
    ['1G', GIB],
    ['1g', GIB],
    ['1.5GiB', 1.5 * GIB],
    ['512 KiB', 512 * KIB],
    ['17B', 17],
  ])('a size %s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each([
    ['256', /has no unit; write it like 256MiB/],
    ['256MB', /sizes are binary: write MiB or M instead of MB/],
    ['256XiB', /'XiB' is no unit; known are B, KiB/],
    ['-1M', /is no size/],
    ['lots', /is no size/],
    ['', /is no size/],
    ['0x10M', /is no/],
    ['1e3M', /is no/],
    ['0.3B', /not a multiple of 1B/],
  ])('a size %s is refused in words', (text, why) => {
    expect(() => parseSize(text)).toThrow(why);
  });

  it('names the allowed range and step in units a user would write', () => {
    const range = { min: RAM_BYTES_MIN, max: RAM_BYTES_MAX, step: RAM_BYTES_STEP };
    expect(parseSize('64MiB', range)).toBe(RAM_BYTES_MIN);
    expect(parseSize('3.5GiB', range)).toBe(RAM_BYTES_MAX);
    expect(() => parseSize('4GiB', range)).toThrow('4GiB is out of range; allowed is from 64MiB to 3.5GiB');
    expect(() => parseSize('63M', range)).toThrow('from 64MiB to 3.5GiB');
    expect(() => parseSize('65537KiB', range)).toThrow('65537KiB is not a multiple of 64KiB');
    expect(() => parseWhole('5', { min: 1, max: 4 })).toThrow('5 is out of range; allowed is from 1 to 4');
    expect(() => parseWhole('two')).toThrow("'two' is no whole number");
  });

  it.each([
    ['50MiB/s', 50 * MIB],
    ['1G/s', GIB],
    ['10Gbit/s', 1.25e9],
    ['1Mbit/s', 125000],
  ])('a rate %s is %d bytes a second', (text, rate) => {
    expect(parseRate(text)).toBe(rate);
  });

  it.each(['50MiB', '50/s', '50MB/s', 'fast/s'])('a rate %s is refused', (text) => {
    expect(() => parseRate(text)).toThrow(/write it like|is no unit/);
  });

  it.each([
    ['300ms', 3e8],
    ['2s', 2e9],
    ['1.5s', 1.5e9],
    ['20us', 2e4],
    ['20µs', 2e4],
    ['1min', 6e10],
  ])('a time %s is %d ns', (text, ns) => {
    expect(parseDuration(text)).toBe(ns);
  });

  it('refuses a time without a unit, with a wrong one, or out of range', () => {
    expect(() => parseDuration('300')).toThrow('has no unit');
    expect(() => parseDuration('300h')).toThrow('known are ns, us, ms, s, min');
    expect(() => parseDuration('3s', { max: 2e9 })).toThrow('3s is out of range; allowed is from 0ns to 2s');
  });

  it('writes back what it can read', () => {
    for (const bytes of [1, KIB, 1.5 * KIB, 64 * MIB, 3.5 * GIB, 256 * MIB + 1]) {
      expect(parseSize(formatSize(bytes))).toBe(bytes);
    }
    for (const ns of [1, 1500, 2e6, 3e8, 1.25e9]) expect(parseDuration(formatDuration(ns))).toBe(ns);
  });
});

describe('addresses', () => {
  it.each([
    'tcp:127.0.0.1:4444',
    'tcp:[::1]:0',
    'tcp:host-1.example:65535',
    'unix:/run/a b:c.sock',
    'unix:x',
  ])('%s is read and written back the same', (text) => {
    expect(formatSocketAddress(parseSocketAddress(text))).toBe(text);
  });

  it.each([
    ['127.0.0.1:4444', /neither 'tcp:' nor 'unix:'/],
    ['', /neither/],
    ['exec:cat', /neither/],
    ['unix:', /path is missing/],
    [`unix:${'x'.repeat(108)}`, /108 bytes, and a socket's path may have 107/],
    ['tcp:4444', /form tcp:HOST:PORT/],
    ['tcp::4444', /host is missing/],
    ['tcp:h:', /port is missing/],
    ['tcp:h:65536', /no port/],
    ['tcp:h:-1', /no port/],
    ['tcp:::1:5', /form tcp:HOST:PORT/],
    ['tcp:[h]:5', /no host name/],
    ['tcp:a b:5', /no host name/],
  ])('%s is refused in words', (text, why) => {
    expect(() => parseSocketAddress(text)).toThrow(why);
    expect(() => parseSocketAddress(text)).toThrow(expect.objectContaining({ code: 'vmm/bad-address' }));
  });

  it("a monitor's address takes QEMU's options and no others", () => {
    expect(parseMonitorAddress('unix:/m,server=on,wait=off')).toEqual({
      address: { kind: 'unix', path: '/m' },
      wait: false,
    });
    expect(parseMonitorAddress('tcp:h:1,wait=on').wait).toBe(true);
    expect(() => parseMonitorAddress('unix:/m,server=off')).toThrow(/listens/);
    expect(() => parseMonitorAddress('unix:/m,telnet')).toThrow(/'telnet' is no option/);
  });
});
