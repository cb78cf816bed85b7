import { describe, expect, it } from 'vitest';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP } from '../../base/abi/platform.js';
import { GIB, KIB, MIB } from '../../base/units.js';
import { commandLine, type MigrateOptions, monitorParameters, scenarioOf } from '../../lab/move/scenario.js';
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
    ['2TiB', 2048 * GIB],
    ['512 KiB', 512 * KIB],
    ['17B', 17],
  ])('a size %s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each([
    ['256', /has no unit; write it like 256MiB/],
    ['256MB', /sizes are binary: write MiB or M instead of MB/],
    ['1TB', /write TiB or T instead of TB/],
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
    expect(parseSize('4MiB', range)).toBe(RAM_BYTES_MIN);
    expect(parseSize('3.5GiB', range)).toBe(RAM_BYTES_MAX);
    expect(() => parseSize('4GiB', range)).toThrow('4GiB is out of range; allowed is from 4MiB to 3.5GiB');
    expect(() => parseSize('3M', range)).toThrow('from 4MiB to 3.5GiB');
    expect(() => parseSize('65537KiB', range)).toThrow('65537KiB is not a multiple of 64KiB');
    expect(() => parseWhole('5', { min: 1, max: 4 })).toThrow('5 is out of range; allowed is from 1 to 4');
    expect(parseWhole('2e6')).toBe(2_000_000);
    for (const no of ['1.5e6', '1e', '10e3', 'e6', '1e-3']) {
      expect(() => parseWhole(no), no).toThrow('is no whole number');
    }
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
    expect(parseMonitorAddress('tcp:[::1]:0,server').address).toEqual({ kind: 'tcp', host: '::1', port: 0 });
    expect(parseMonitorAddress('unix:/a,,b,,,wait=on')).toEqual({
      address: { kind: 'unix', path: '/a,b,' },
      wait: true,
    });
    expect(() => parseMonitorAddress('unix:/m,')).toThrow(/'' is no option/);
    expect(() => parseMonitorAddress('unix:/m,server=off')).toThrow(/listens/);
    expect(() => parseMonitorAddress('unix:/m,telnet')).toThrow(/'telnet' is no option/);
  });
});

describe('the scenario of a move', () => {
  it.each<[MigrateOptions, RegExp]>([
    [{ dirtyRate: 1 }, /--dirty-rate says something only with --workload stress or mixed, not with ledger/],
    [{ guest: 'x.img', workload: 'stress' }, /--workload and --guest contradict each other/],
    [{ guest: 'x.img', dirtyRate: 1 }, /--dirty-rate and --guest contradict each other/],
    [{ workload: 'idle', workingSetBytes: MIB }, /--working-set says something only with/],
    [
      { memoryBytes: 64 * MIB, workingSetBytes: 64 * MIB },
      /--working-set and --memory contradict each other/,
    ],
    [
      { guest: 'x.img', nic: 'vf', flows: ['echo', 'from-guest'] },
      /--flow from-guest and --guest contradict/,
    ],
    [{ guest: 'x.img', nic: 'vf', flows: ['to-guest'] }, /any guest may answer echo, at UDP port 7/],
    [{ guest: 'x.img', rate: 5 }, /--rate says nothing without --nic vf/],
    [{ guest: 'x.img', guestBehaviour: 'late' }, /--guest-behaviour and --guest contradict each other/],
    [{ guestBehaviour: 'driverless', flows: ['echo'] }, /driverless and traffic contradict each other/],
    [
      { guestBehaviour: 'driverless', workload: 'udp-stream' },
      /driverless and traffic contradict each other/,
    ],
    [{ nic: 'none', requestTimeoutMs: 50 }, /--request-timeout says nothing with --nic none/],
    [{ nic: 'none', deviceStartTimeoutMs: 50 }, /--device-start-timeout says nothing with --nic none/],
    [{ nic: 'none', tracking: 'pinned' }, /--tracking says nothing with --nic none/],
    [{ nic: 'none', iommuLeaves: 'huge' }, /--iommu-leaves says nothing with --nic none/],
    [{ nic: 'none', iommuStage: 'first' }, /--iommu-stage says nothing with --nic none/],
    [{ nic: 'none', stop: 'auto' }, /--stop says nothing/],
    [{ nic: 'none', start: 'auto' }, /--start says nothing/],
    [{ nic: 'none', flows: [] }, /--flow says nothing/],
    [{ nic: 'none', payloadBytes: 64 }, /--size says nothing/],
    [{ nic: 'none', pcap: 'x' }, /--pcap says nothing with --nic none: there is no device and no network/],
    [{ nic: 'none', workload: 'udp-echo' }, /--workload udp-echo needs a network/],
    [{ nic: 'none', workload: 'udp-stream' }, /--workload udp-stream needs a network/],
    [{ workload: 'udp-echo', flows: ['from-guest'] }, /answers the flow echo, and no other/],
    [{ workload: 'udp-echo', flows: [] }, /answers the flow echo/],
    [{ workload: 'udp-stream', flows: [] }, /udp-stream and --flow none contradict each other/],
    [{ flows: [], rate: 5 }, /--rate says nothing without a flow/],
    [{ flows: [], payloadBytes: 64 }, /--size says nothing without a flow/],
  ])('%o is refused in words', (options, why) => {
    expect(() => scenarioOf(options)).toThrow(why);
    expect(() => scenarioOf(options)).toThrow(expect.objectContaining({ code: 'lab/usage', exitStatus: 2 }));
  });

  it("has by default a virtual function under echoes; a guest of one's own, and --nic none, have neither", () => {
    expect(scenarioOf({})).toMatchObject({ nic: 'vf', flows: ['echo'], workload: 'ledger' });
    expect(scenarioOf({ workload: 'udp-stream' }).flows).toEqual(['from-guest', 'to-guest']);
    for (const options of [{ nic: 'none' }, { guest: 'x.img' }] as const) {
      expect(scenarioOf(options)).toMatchObject({ nic: 'none', flows: [] });
    }
    expect(scenarioOf({ guest: 'x.img', nic: 'vf' })).toMatchObject({ nic: 'vf', flows: [] });
    expect(scenarioOf({ guest: 'x.img', nic: 'vf', flows: ['echo'] })).toMatchObject({ flows: ['echo'] });
    expect([scenarioOf({}), scenarioOf({ nic: 'vf=8' })].map(({ rate }) => rate)).toEqual([10_000, 1250]);
    expect(scenarioOf({ rate: undefined, flows: [] } as unknown as MigrateOptions).rate).toBe(10_000);
  });

  it('gives the guest what its flows need, and the monitor what the device does', () => {
    const line = (options: MigrateOptions) => commandLine(scenarioOf(options));
    expect(line({ nic: 'none' })).toBe('workload=ledger status_ms=250');
    expect(line({})).toBe('workload=ledger,udp-echo status_ms=250');
    expect(line({ workload: 'udp-echo' })).toBe('workload=udp-echo status_ms=250');
    expect(line({ workload: 'mixed', dirtyRate: 0, workingSetBytes: MIB, flows: ['echo'] })).toBe(
      'workload=ledger,stress,udp-echo status_ms=250 dirty_rate=0 working_set=1048576',
    );
    expect(line({ workload: 'idle', flows: ['from-guest', 'to-guest'], rate: 7, payloadBytes: 99 })).toBe(
      'workload=idle,udp-stream status_ms=250 rate=7 payload=99',
    );
    expect(line({ workload: 'idle', flows: ['to-guest'] })).toBe(
      'workload=idle,udp-stream status_ms=250 rate=0',
    );
    expect(line({ guestBehaviour: 'lying' })).toBe('workload=ledger,udp-echo status_ms=250 behaviour=lying');
    expect(line({ guestBehaviour: 'driverless' })).toBe(
      'workload=ledger status_ms=250 module_blacklist=ixgbevf',
    );
    const patience = { requestTimeoutMs: 60, deviceStartTimeoutMs: 70 };
    expect(monitorParameters(scenarioOf(patience))).toMatchObject({
      'request-timeout': 60,
      'device-start-timeout': 70,
    });
    const parameters = monitorParameters(scenarioOf({ tracking: 'pinned', maxBandwidth: 5 }));
    expect(parameters).toMatchObject({ tracking: 'pinned', stop: 'auto', start: 'auto', 'max-bandwidth': 5 });
    expect(monitorParameters(scenarioOf({ nic: 'none' }))).not.toHaveProperty('tracking');
  });
});
