/** VFIO_DEVICE_FEATURE in bytes: what a server is asked, and what the device answers. */

import { describe, expect, it } from 'vitest';
import { requesterOf } from '../../base/dma.js';
import { FerryError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { iova } from '../../base/units.js';
import {
  dataSize,
  deviceState,
  FEATURE_DMA_LOGGING_REPORT,
  FEATURE_DMA_LOGGING_START,
  FEATURE_DMA_LOGGING_STOP,
  FEATURE_GET,
  FEATURE_MIG_DATA_SIZE,
  FEATURE_MIG_DEVICE_STATE,
  FEATURE_MIGRATION,
  FEATURE_PROBE,
  FEATURE_SET,
  loggingReport,
  loggingStart,
  REPORT_BYTES_MAX,
  VfioDevice,
} from '../../devices/vfio/device.js';
import { DmaLog, type IovaRange } from '../../devices/vfio/dma-log.js';
import { VfioMigration } from '../../devices/vfio/migration.js';
import { RUNNING, STOP, STOP_COPY } from '../../devices/vfio/states.js';
import { viewOf } from '../../devices/vfio/stream.js';
import { TestMemory } from './machine.js';
import { ArtificialDevice } from './vfio-world.js';

const VF = requesterOf(0x0181);

function setUp(parts: 'both' | 'migration' | 'log' = 'both') {
  const log = new DmaLog({ name: 'vf0', source: { routingId: VF }, next: new TestMemory(0x10_0000) });
  const migration = new VfioMigration(new ArtificialDevice());
  const device = new VfioDevice({
    name: 'vf0',
    ...(parts === 'log' ? {} : { migration }),
    ...(parts === 'migration' ? {} : { log }),
  });
  const errno = (flags: number, data: Uint8Array = new Uint8Array(0)): string => {
    try {
      device.feature(flags, data);
    } catch (error) {
      return String((error as FerryError).facts.errno ?? (error as FerryError).code);
    }
    return 'none';
  };
  return { device, migration, log, errno };
}

const state = (value: number) => deviceState.encode({ state: value, dataFd: 0xffff_ffff });
const start = (ranges: readonly IovaRange[], pageSize = 4096, count = ranges.length): Uint8Array => {
  const data = new Uint8Array(16 + ranges.length * 16);
  data.set(loggingStart.encode({ pageSize, ranges: count }));
  ranges.forEach((range, i) => {
    viewOf(data).setUint32(16 + i * 16, range.iova, true);
    viewOf(data).setUint32(24 + i * 16, range.length, true);
  });
  return data;
};

const METHODS = new Map([
  [FEATURE_MIGRATION, FEATURE_GET],
  [FEATURE_MIG_DEVICE_STATE, FEATURE_GET | FEATURE_SET],
  [FEATURE_DMA_LOGGING_START, FEATURE_SET],
  [FEATURE_DMA_LOGGING_STOP, FEATURE_SET],
  [FEATURE_DMA_LOGGING_REPORT, FEATURE_GET],
  [FEATURE_MIG_DATA_SIZE, FEATURE_GET],
]);

describe('a probe', () => {
  it('is granted for the methods that a feature has, refused for others, and changes nothing', () => {
    const { migration, log, errno } = setUp();
    for (let index = 0; index < 20; index++) {
      const has = METHODS.get(index);
      for (const methods of [0, FEATURE_GET, FEATURE_SET, FEATURE_GET | FEATURE_SET]) {
        const expected = has === undefined ? 'ENOTTY' : (methods & ~has) !== 0 ? 'EINVAL' : 'none';
        expect(errno(FEATURE_PROBE | methods | index), `feature ${index}, ${methods}`).toBe(expected);
      }
    }
    expect(migration.state).toBe(RUNNING);
    expect(log.started).toBe(false);
  });

  it('finds only the features of the parts that the device has', () => {
    expect(setUp('migration').errno(FEATURE_PROBE | FEATURE_DMA_LOGGING_STOP)).toBe('ENOTTY');
    expect(setUp('migration').errno(FEATURE_PROBE | FEATURE_MIGRATION)).toBe('none');
    expect(setUp('log').errno(FEATURE_PROBE | FEATURE_MIGRATION)).toBe('ENOTTY');
    expect(setUp('log').errno(FEATURE_PROBE | FEATURE_DMA_LOGGING_STOP)).toBe('none');
  });
});

describe('a request', () => {
  it('that contradicts itself or is too short is refused', () => {
    const { errno } = setUp();
    expect(errno(FEATURE_MIGRATION)).toBe('EINVAL');
    expect(errno(FEATURE_GET | FEATURE_SET | FEATURE_MIG_DEVICE_STATE)).toBe('EINVAL');
    expect(errno(FEATURE_GET | 0x8_0000 | FEATURE_MIGRATION)).toBe('EINVAL');
    expect(errno(FEATURE_GET | 0x8000_0000 | FEATURE_MIGRATION)).toBe('EINVAL');
    expect(errno(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, new Uint8Array(7))).toBe('EINVAL');
    expect(errno(FEATURE_SET | FEATURE_DMA_LOGGING_START, new Uint8Array(15))).toBe('EINVAL');
    expect(errno(FEATURE_GET | FEATURE_DMA_LOGGING_REPORT, new Uint8Array(23))).toBe('EINVAL');
  });

  it('says flags, state and size, and sets the state', () => {
    const { device, migration, errno } = setUp();
    expect([...device.feature(FEATURE_GET | FEATURE_MIGRATION, new Uint8Array(0))]).toEqual([
      7, 0, 0, 0, 0, 0, 0, 0,
    ]);
    const get = () =>
      viewOf(device.feature(FEATURE_GET | FEATURE_MIG_DEVICE_STATE, new Uint8Array(0))).getUint32(0, true);
    expect(get()).toBe(RUNNING);
    expect(device.feature(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, state(STOP_COPY))).toEqual(
      state(STOP_COPY),
    );
    expect(get()).toBe(STOP_COPY);
    const size = dataSize.read(
      viewOf(device.feature(FEATURE_GET | FEATURE_MIG_DATA_SIZE, new Uint8Array(0))),
      0,
    );
    expect(size.stopCopyLength).toBe(migration.stopCopyBytes);
    expect(errno(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, state(6))).toBe('EINVAL');
    expect(errno(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, state(99))).toBe('EINVAL');
    device.feature(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, state(STOP));
    expect(get()).toBe(STOP);
  });

  it('starts, reports and stops the log', () => {
    const { device, log, errno } = setUp();
    const answer = device.feature(
      FEATURE_SET | FEATURE_DMA_LOGGING_START,
      start([{ iova: 0x1000, length: 0x8_0000 }], 2 ** 16),
    );
    expect(loggingStart.read(viewOf(answer), 0).pageSize).toBe(4096);
    expect(errno(FEATURE_SET | FEATURE_DMA_LOGGING_START, start([{ iova: 0, length: 1 }]))).toBe('EBUSY');
    log.write(VF, iova(0x4_2000), new Uint8Array(4), 0, 4);
    const request = loggingReport.encode({ iova: 0x1000, length: 0x8_0000, pageSize: 4096 });
    const report = device.feature(FEATURE_GET | FEATURE_DMA_LOGGING_REPORT, request);
    expect(report.subarray(0, 24)).toEqual(request);
    expect([...report.subarray(24)]).toEqual([...new Array(8).fill(0), 2, ...new Array(7).fill(0)]);
    const huge = loggingReport.encode({ iova: 0x1000, length: REPORT_BYTES_MAX * 8 + 1, pageSize: 1 });
    expect(errno(FEATURE_GET | FEATURE_DMA_LOGGING_REPORT, huge)).toBe('EINVAL');
    const zero = loggingReport.encode({ iova: 0x1000, length: 0x1000, pageSize: 0 });
    expect(errno(FEATURE_GET | FEATURE_DMA_LOGGING_REPORT, zero)).toBe('EINVAL');
    device.feature(FEATURE_SET | FEATURE_DMA_LOGGING_STOP, new Uint8Array(0));
    expect(errno(FEATURE_GET | FEATURE_DMA_LOGGING_REPORT, request)).toBe('EINVAL');
  });

  it('answers or refuses any number in any request, and a refused report loses nothing', () => {
    const random = seededRandom(17);
    const corners = [
      0n,
      1n,
      4095n,
      4096n,
      0x1000_0000n,
      2n ** 32n,
      2n ** 53n - 1n,
      2n ** 53n,
      2n ** 63n,
      2n ** 64n - 1n,
    ];
    const number = (): bigint => {
      const corner = corners[random.below(corners.length)]!;
      return random.below(3) === 0 ? BigInt(random.u32()) * BigInt(random.u32()) : corner;
    };
    const words = (...values: readonly bigint[]): Uint8Array => {
      const data = new Uint8Array(values.length * 8);
      values.forEach((value, i) => {
        viewOf(data).setBigUint64(i * 8, value, true);
      });
      return data;
    };
    const { device, log } = setUp();
    const good = loggingReport.encode({ iova: 0, length: 0x8_0000, pageSize: 4096 });
    const whole = start([{ iova: 0, length: 0x8_0000 }]);
    const ask = (flags: number, data: Uint8Array): Uint8Array | undefined => {
      try {
        return device.feature(flags, data);
      } catch (error) {
        expect(error, `flags ${flags}, data ${data.join()}`).toBeInstanceOf(FerryError);
        return undefined;
      }
    };
    device.feature(FEATURE_SET | FEATURE_DMA_LOGGING_START, whole);
    let [answered, refused] = [0, 0];
    for (let i = 0; i < 2000; i++) {
      log.write(VF, iova(0x4_2000), new Uint8Array(4), 0, 4);
      const report = ask(FEATURE_GET | FEATURE_DMA_LOGGING_REPORT, words(number(), number(), number()));
      report === undefined ? refused++ : answered++;
      const left = device.feature(FEATURE_GET | FEATURE_DMA_LOGGING_REPORT, good).subarray(24);
      if (report === undefined) expect(left[8], 'the page is still there').toBe(4);
      if (i % 50 === 0) {
        device.feature(FEATURE_SET | FEATURE_DMA_LOGGING_STOP, new Uint8Array(0));
        ask(FEATURE_SET | FEATURE_DMA_LOGGING_START, words(number(), number(), number(), number()));
        ask(FEATURE_SET | FEATURE_DMA_LOGGING_STOP, new Uint8Array(0));
        device.feature(FEATURE_SET | FEATURE_DMA_LOGGING_START, whole);
      }
      ask(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, words(number()));
    }
    expect(Math.min(answered, refused)).toBeGreaterThan(10);
    const page = words(0n, 0x8_0000n, 2n ** 53n);
    log.write(VF, iova(0x4_2000), new Uint8Array(4), 0, 4);
    const far = device.feature(FEATURE_GET | FEATURE_DMA_LOGGING_REPORT, page);
    expect(far.subarray(0, 24), 'the request comes back as it was').toEqual(page);
    expect(far[24]).toBe(1);
  });

  it('with more ranges than it brings, or than there may be, is refused', () => {
    const { errno } = setUp();
    const one = [{ iova: 0, length: 4096 }];
    expect(errno(FEATURE_SET | FEATURE_DMA_LOGGING_START, start(one, 4096, 2))).toBe('EINVAL');
    expect(errno(FEATURE_SET | FEATURE_DMA_LOGGING_START, start(one, 4096, 257))).toBe('E2BIG');
    expect(errno(FEATURE_SET | FEATURE_DMA_LOGGING_START, start(one, 4096, 0xffff_ffff))).toBe('E2BIG');
    expect(errno(FEATURE_SET | FEATURE_DMA_LOGGING_START, start([], 4096))).toBe('EINVAL');
  });
});
