/**
 * Migration and DMA logging of a served device: DEVICE_FEATURE, MIG_DATA_READ and MIG_DATA_WRITE, byte for byte as libvfio-user
 * has them, in front of the device's VFIO interface. States, the stream and the log are the device's own; here are only their
 * envelopes.
 */
import { isFerryError } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';
import type { Errno } from '../../devices/errors.js';
import {
  deviceState,
  FEATURE_DMA_LOGGING_START,
  FEATURE_GET,
  FEATURE_PROBE,
  FEATURE_SET,
  loggingRange,
  loggingStart,
  type VfioDevice,
} from '../../devices/vfio/device.js';
import { LOG_PAGES_MAX } from '../../devices/vfio/dma-log.js';
import type { DataSession } from '../../devices/vfio/session.js';
import type { Message } from './connection.js';
import {
  deviceFeature,
  E2BIG,
  EBUSY,
  EINVAL,
  EIO,
  ENODEV,
  ENOTTY,
  migrationData,
  Refusal,
  TRANSFER_BYTES_MAX,
} from './protocol.js';

const NUMBERS: Readonly<Record<Errno, number>> = { E2BIG, EBUSY, EINVAL, EIO, ENODEV, ENOTTY };
const INDEX_MASK = 0xffff;
/** Of an answer to SET: a state with its descriptor, or a log's page size. What follows stays as the client sent it. */
const ANSWERED_BYTES = deviceState.size;
/** What a log without ranges is of: as much as fits it in its smallest pages, or more if there is memory beyond. */
const EVERYTHING_BYTES = LOG_PAGES_MAX * PAGE_BYTES;

export class ServedMigration {
  readonly #device: VfioDevice;
  readonly #mapped: { readonly end: number };
  readonly #refused: (why: string) => void;
  /** The client's first refusal was said: it may try as often as it likes. */
  #told = false;

  /** `mapped.end`: first address behind all that the client has mapped. `refused` hears why a state is not taken. */
  constructor(device: VfioDevice, mapped: { readonly end: number }, refused: (why: string) => void) {
    this.#device = device;
    this.#mapped = mapped;
    this.#refused = refused;
  }

  /** DEVICE_FEATURE. Throws Refusal. */
  feature({ payload, view }: Message): Uint8Array {
    if (payload.length < deviceFeature.size) throw new Refusal(EINVAL, 'no feature');
    const { argsz, flags } = deviceFeature.read(view, 0);
    // Only an answer to GET has data of its own; every other is the request, with what the device chose written over it.
    const echoes = (flags & FEATURE_PROBE) !== 0 || (flags & FEATURE_GET) === 0;
    if (echoes && argsz < payload.length) throw new Refusal(EINVAL, `argsz ${argsz}`);
    const data = this.#completed(flags, payload.slice(deviceFeature.size));
    const room = echoes ? Number.POSITIVE_INFINITY : argsz - deviceFeature.size;
    const answer = this.#judged(() => this.#device.feature(flags, data, room));
    if (echoes) {
      const reply = payload.slice();
      reply.set(answer.subarray(0, ANSWERED_BYTES), deviceFeature.size);
      return reply;
    }
    const reply = new Uint8Array(deviceFeature.size + answer.length);
    reply.set(deviceFeature.encode({ argsz: reply.length, flags }));
    reply.set(answer, deviceFeature.size);
    return reply;
  }

  /**
   * MIG_DATA_READ: the reply has as many bytes as were asked for, and says how many of them are data: fewer at the end, or where
   * nothing more is there before the device stops. Throws Refusal.
   */
  read(message: Message): Uint8Array {
    const { size, session } = this.#transfer(message);
    const reply = new Uint8Array(migrationData.size + size);
    const read = this.#judged(() => session.read(reply.subarray(migrationData.size)));
    const bytes = typeof read === 'number' ? read : 0;
    reply.set(migrationData.encode({ argsz: migrationData.size + bytes, size: bytes }));
    return reply;
  }

  /** MIG_DATA_WRITE. Throws Refusal. */
  write(message: Message): Uint8Array {
    const { size, session } = this.#transfer(message);
    const end = migrationData.size + size;
    if (message.payload.length < end) throw new Refusal(EINVAL, 'data is missing');
    this.#judged(() => session.write(message.payload.slice(migrationData.size, end)));
    return message.payload.subarray(0, 0);
  }

  /** The client is gone, and nobody will ask for what it logged; the device's state stays. */
  clientGone(): void {
    this.#device.log?.stop();
    this.#told = false;
  }

  #transfer({ payload, view }: Message): { readonly size: number; readonly session: DataSession } {
    if (payload.length < migrationData.size) throw new Refusal(EINVAL, 'no data');
    const { argsz, size } = migrationData.read(view, 0);
    if (size > TRANSFER_BYTES_MAX || argsz < migrationData.size + size) {
      throw new Refusal(EINVAL, `${size} bytes, argsz ${argsz}`);
    }
    const session = this.#device.migration?.session;
    if (session === undefined) throw new Refusal(EINVAL, 'the device is in no state with data');
    return { size, session };
  }

  /** A log without ranges is of everything, as libvfio-user's client asks for it; the device wants it named. */
  #completed(flags: number, data: Uint8Array): Uint8Array {
    const starts = (flags & FEATURE_SET) !== 0 && (flags & INDEX_MASK) === FEATURE_DMA_LOGGING_START;
    if (!starts || data.length < loggingStart.size) return data;
    const { pageSize, ranges } = loggingStart.read(new DataView(data.buffer), 0);
    if (ranges > 0) return data;
    const named = new Uint8Array(loggingStart.size + loggingRange.size);
    const length = Math.max(EVERYTHING_BYTES, this.#mapped.end);
    named.set(loggingStart.encode({ pageSize, ranges: 1 }));
    named.set(loggingRange.encode({ length }), loggingStart.size);
    return named;
  }

  /** What the device throws, as a number for the client and words for who looks after the device. */
  #judged<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!isFerryError(error)) throw error;
      const { errno } = error.facts;
      // A request that there is not, or that comes too early, says all of it by its number. A state that does not fit does not.
      if (errno === undefined && !this.#told) {
        this.#told = true;
        this.#refused(error.message);
      }
      throw new Refusal(NUMBERS[errno as Errno] ?? EINVAL, error.message);
    }
  }
}
