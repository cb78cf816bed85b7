/** Assigned devices' data streams on the control link: cut into messages, counted, and bounded at the other end. */
import { settleAll } from '../base/settle.js';
import { MIB } from '../base/units.js';
import type { OnDevice } from './approaches.js';
import type { Conversation } from './conversation.js';
import { malformed } from './frame.js';
import { DEVICE_DATA_BYTES_MAX, type MessageOf } from './messages.js';
import type { DeviceStart } from './start/start.js';

/** What a source may send of all devices, all that travels ahead included. */
const STREAM_BYTES_MAX = 256 * MIB;
/** What may wait for the devices before the link does. */
const WAITING_BYTES_MAX = 8 * MIB;

export class DeviceStreamSender {
  readonly #talk: Conversation;
  readonly #bytes = new Map<string, number>();

  constructor(talk: Conversation) {
    this.#talk = talk;
  }

  /** Bytes sent so far of each device of which any was sent. */
  get sent(): { readonly name: string; readonly bytes: number }[] {
    return [...this.#bytes].map(([name, bytes]) => ({ name, bytes }));
  }

  /** Sends the next of the stream of `device`; with `last`, what ends it, though it be empty. */
  async send(device: string, data: Uint8Array, last = false): Promise<void> {
    if (data.length === 0 && !last) return;
    let at = 0;
    do {
      const piece = data.subarray(at, at + DEVICE_DATA_BYTES_MAX);
      at += piece.length;
      const ends = last && at === data.length;
      await this.#talk.send({ kind: 'device-data', device, data: piece, last: ends });
      this.#bytes.set(device, (this.#bytes.get(device) ?? 0) + piece.length);
    } while (at < data.length);
  }
}

interface Stream {
  readonly start: DeviceStart;
  bytes: number;
  ended: boolean;
  done: Promise<void>;
}

/**
 * Feeds each device piece by piece, and loads it when its last has come, while others look after the rest: what is said
 * on the link meanwhile need not wait for that.
 */
export class DeviceStreamReceiver {
  readonly #streams: ReadonlyMap<string, Stream>;
  #waitingBytes = 0;

  constructor(starts: readonly OnDevice<DeviceStart>[]) {
    const stream = (start: DeviceStart): Stream => ({
      start,
      bytes: 0,
      ended: false,
      done: Promise.resolve(),
    });
    this.#streams = new Map(starts.map(({ name, does }) => [name, stream(does)]));
  }

  /** Of all devices together. */
  get bytes(): number {
    return [...this.#streams.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** More has come than should be kept for later. */
  get crowded(): boolean {
    return this.#waitingBytes > WAITING_BYTES_MAX;
  }

  /** Settles when all that came so far was taken in and, after its last piece, each device is loaded. */
  get done(): Promise<void> {
    return settleAll([...this.#streams.values()].map(({ done }) => done)).then(() => undefined);
  }

  /**
   * Takes the next piece. Throws `migration/malformed-message`; a refusal of the device is that of the promise returned,
   * which resolves when the device has taken the piece.
   */
  take({ device, data, last }: MessageOf<'device-data'>): Promise<void> {
    const stream = this.#streams.get(device);
    if (stream === undefined) {
      const known = [...this.#streams.keys()].join(', ') || 'none';
      throw malformed('device-data', 'device', `${device}; those that come with their state: ${known}`);
    }
    if (stream.ended) throw malformed('device-data', 'data', `more of ${device} after the last`);
    if (this.bytes + data.length > STREAM_BYTES_MAX) {
      throw malformed('device-data', 'data', `more than ${STREAM_BYTES_MAX} bytes in all`);
    }
    stream.bytes += data.length;
    this.#waitingBytes += data.length;
    stream.ended = last;
    stream.done = stream.done.then(async () => {
      if (data.length > 0) await stream.start.take?.(data);
      this.#waitingBytes -= data.length;
      if (last) await stream.start.load?.();
    });
    return stream.done;
  }

  /** Throws `migration/malformed-message` unless each stream has ended with all that was announced. */
  judge({ devices }: MessageOf<'complete'>): void {
    const announced = new Map(devices.map(({ name, bytes }) => [name, bytes]));
    for (const name of announced.keys()) {
      if (!this.#streams.has(name))
        throw malformed('complete', 'devices', `${name}, of which no state comes`);
    }
    for (const [name, { bytes, ended }] of this.#streams) {
      if (announced.get(name) === bytes && ended) continue;
      const found = `${name}: ${announced.get(name) ?? 'no'} bytes, but ${bytes} have come, ${ended ? 'and' : 'not'} the last`;
      throw malformed('complete', 'devices', found);
    }
  }
}
