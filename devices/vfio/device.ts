/**
 * The feature interface of a VFIO device: VFIO_DEVICE_FEATURE, as the ioctl has it, with data as vfio-user carries it
 * (ranges and bitmaps follow their headers, where the ioctl has pointers). A server only moves bytes.
 */
import { AtomicBitmap } from '../../base/bitmap.js';
import type { FerryError } from '../../base/errors.js';
import { layout, u32, u64 } from '../../base/layout.js';
import { deviceErrors, type Errno } from '../errors.js';
import { type DmaLog, LOG_RANGES_MAX } from './dma-log.js';
import type { VfioMigration } from './migration.js';
import { viewOf } from './stream.js';

export const FEATURE_MIGRATION = 1;
export const FEATURE_MIG_DEVICE_STATE = 2;
export const FEATURE_DMA_LOGGING_START = 6;
export const FEATURE_DMA_LOGGING_STOP = 7;
export const FEATURE_DMA_LOGGING_REPORT = 8;
export const FEATURE_MIG_DATA_SIZE = 9;

/** Bits of the flags word, beside the feature's index in its lower half. */
export const FEATURE_GET = 0x1_0000;
export const FEATURE_SET = 0x2_0000;
export const FEATURE_PROBE = 0x4_0000;
const INDEX_MASK = 0xffff;

export const migrationFlags = /* @__PURE__ */ layout('vfio_migration', { flags: u64() });
export const deviceState = /* @__PURE__ */ layout('vfio_mig_device_state', { state: u32(), dataFd: u32() });
export const dataSize = /* @__PURE__ */ layout('vfio_mig_data_size', { stopCopyLength: u64() });
export const loggingStart = /* @__PURE__ */ layout('vfio_dma_logging_start', {
  pageSize: u64(),
  ranges: u32(),
  reserved: u32(),
});
export const loggingRange = /* @__PURE__ */ layout('vfio_dma_logging_range', { iova: u64(), length: u64() });
export const loggingReport = /* @__PURE__ */ layout('vfio_dma_logging_report', {
  iova: u64(),
  length: u64(),
  pageSize: u64(),
});

/** Sessions are the device's own; there is no descriptor to hand out. */
const NO_FD = 0xffff_ffff;
/** What one report may answer: 32 GiB in pages of 4 KiB. */
export const REPORT_BYTES_MAX = 1 << 20;

interface Feature {
  readonly name: string;
  /** The part of the device that it belongs to. */
  readonly of: 'migration' | 'log';
  readonly methods: number;
  /** Bytes of data that a request brings at least. */
  readonly bytes: number;
  /** Bytes of its answer's data; a report's depend on what is asked for. */
  readonly answers: number;
}

const feature = (
  name: string,
  of: Feature['of'],
  methods: number,
  { bytes = 0, answers = 0 }: { readonly bytes?: number; readonly answers?: number },
): Feature => ({ name, of, methods, bytes, answers });

const FEATURES: ReadonlyMap<number, Feature> = new Map([
  [FEATURE_MIGRATION, feature('MIGRATION', 'migration', FEATURE_GET, { answers: migrationFlags.size })],
  [
    FEATURE_MIG_DEVICE_STATE,
    feature('MIG_DEVICE_STATE', 'migration', FEATURE_GET | FEATURE_SET, { answers: deviceState.size }),
  ],
  [
    FEATURE_DMA_LOGGING_START,
    feature('DMA_LOGGING_START', 'log', FEATURE_SET, {
      bytes: loggingStart.size,
      answers: loggingStart.size,
    }),
  ],
  [FEATURE_DMA_LOGGING_STOP, feature('DMA_LOGGING_STOP', 'log', FEATURE_SET, {})],
  [
    FEATURE_DMA_LOGGING_REPORT,
    feature('DMA_LOGGING_REPORT', 'log', FEATURE_GET, { bytes: loggingReport.size }),
  ],
  [FEATURE_MIG_DATA_SIZE, feature('MIG_DATA_SIZE', 'migration', FEATURE_GET, { answers: dataSize.size })],
]);

const NOTHING = new Uint8Array(0);

export interface VfioDeviceOptions {
  readonly name: string;
  /** Without one, the device can't migrate. */
  readonly migration?: VfioMigration;
  /** Without one, it can't say what it wrote. */
  readonly log?: DmaLog;
}

export class VfioDevice {
  readonly name: string;
  readonly migration: VfioMigration | undefined;
  readonly log: DmaLog | undefined;

  constructor({ name, migration, log }: VfioDeviceOptions) {
    this.name = name;
    this.migration = migration;
    this.log = log;
  }

  /**
   * One request: `flags` are the feature's index and FEATURE_GET, SET or PROBE; `data` is what follows them, and `room`
   * the bytes that the data of the answer may have. Returns that data, empty for a probe. Throws `vfioRefused`: ENOTTY for a
   * feature that the device does not have, EINVAL for a method that the feature does not have, for contradictory flags, short
   * data or too little room, with nothing changed; and what the feature itself refuses.
   */
  feature(flags: number, data: Uint8Array, room = Number.POSITIVE_INFINITY): Uint8Array {
    const index = flags & INDEX_MASK;
    const methods = flags & (FEATURE_GET | FEATURE_SET);
    const found = FEATURES.get(index);
    if (found === undefined || this[found.of] === undefined) {
      throw this.refused(`feature ${index}`, 'ENOTTY', 'the device does not have it');
    }
    const { name, bytes, answers } = found;
    const known = FEATURE_PROBE | INDEX_MASK | found.methods;
    if ((flags & ~known) !== 0) throw this.refused(name, 'EINVAL', `flags 0x${(flags >>> 0).toString(16)}`);
    if ((flags & FEATURE_PROBE) !== 0) return NOTHING;
    if (methods !== FEATURE_GET && methods !== FEATURE_SET) {
      throw this.refused(name, 'EINVAL', 'it is asked neither to get nor to set');
    }
    const needed = index === FEATURE_MIG_DEVICE_STATE && methods === FEATURE_SET ? deviceState.size : bytes;
    if (data.length < needed) throw this.refused(name, 'EINVAL', `${data.length} bytes of ${needed}`);
    const answered = index === FEATURE_DMA_LOGGING_REPORT ? this.reportBytes(data) : answers;
    if (room < answered) throw this.refused(name, 'EINVAL', `room for ${room} bytes of ${answered}`);
    return found.of === 'migration'
      ? this.migrationFeature(this.migration!, index, methods, data)
      : this.logFeature(this.log!, index, data);
  }

  private migrationFeature(
    migration: VfioMigration,
    index: number,
    methods: number,
    data: Uint8Array,
  ): Uint8Array {
    if (index === FEATURE_MIGRATION) return migrationFlags.encode({ flags: migration.flags });
    if (index === FEATURE_MIG_DATA_SIZE) return dataSize.encode({ stopCopyLength: migration.stopCopyBytes });
    if (methods === FEATURE_SET) migration.setState(deviceState.read(viewOf(data), 0).state);
    return deviceState.encode({ state: migration.state, dataFd: NO_FD });
  }

  private logFeature(log: DmaLog, index: number, data: Uint8Array): Uint8Array {
    if (index === FEATURE_DMA_LOGGING_STOP) {
      log.stop();
      return NOTHING;
    }
    return index === FEATURE_DMA_LOGGING_START ? this.startLog(log, data) : this.reportLog(log, data);
  }

  /** The answer has the page size that the log chose. */
  private startLog(log: DmaLog, data: Uint8Array): Uint8Array {
    const view = viewOf(data);
    const { pageSize, ranges: count } = loggingStart.read(view, 0);
    if (count > LOG_RANGES_MAX) {
      throw this.refused('DMA_LOGGING_START', 'E2BIG', `${count} ranges, at most ${LOG_RANGES_MAX}`);
    }
    if (data.length < loggingStart.size + count * loggingRange.size) {
      throw this.refused('DMA_LOGGING_START', 'EINVAL', `${count} ranges in ${data.length} bytes`);
    }
    const ranges = Array.from({ length: count }, (_, i) =>
      loggingRange.read(view, loggingStart.size + i * loggingRange.size),
    );
    return loggingStart.encode({ pageSize: log.start(ranges, pageSize), ranges: count });
  }

  /** Bytes of the answer to a report: the request, and behind it the bitmap in words of 64 bits. */
  private reportBytes(data: Uint8Array): number {
    const { length, pageSize } = loggingReport.read(viewOf(data), 0);
    const words = Math.ceil(length / pageSize / 64);
    if (words >= 0 && words * 8 <= REPORT_BYTES_MAX) return loggingReport.size + words * 8;
    throw this.refused('DMA_LOGGING_REPORT', 'EINVAL', `a bitmap of ${words} words`);
  }

  private reportLog(log: DmaLog, data: Uint8Array): Uint8Array {
    const request = loggingReport.read(viewOf(data), 0);
    const answer = new Uint8Array(this.reportBytes(data));
    const bitmap = new AtomicBitmap((answer.length - loggingReport.size) * 8);
    log.report(request.iova, request.length, request.pageSize, bitmap);
    const view = viewOf(answer);
    // As it came: a number that is not exact here is none that could be written again.
    answer.set(data.subarray(0, loggingReport.size));
    bitmap.words.forEach((word, i) => {
      view.setInt32(loggingReport.size + i * 4, word, true);
    });
    return answer;
  }

  private refused(request: string, errno: Errno, problem: string): FerryError {
    return deviceErrors.error('vfioRefused', { device: this.name, request, problem, errno });
  }
}
