/** An assigned device's data stream on the control link: cut into messages, counted, and bounded at the other end. */
import { MIB } from '../base/units.js';
import type { Conversation } from './conversation.js';
import { malformed } from './frame.js';
import { DEVICE_DATA_BYTES_MAX, type MessageOf } from './messages.js';
import type { DeviceStart } from './start/start.js';

/** What a source may send of one device, all that travels ahead included. */
const STREAM_BYTES_MAX = 256 * MIB;
/** What may wait for the device before the link does. */
const WAITING_BYTES_MAX = 8 * MIB;

export class DeviceStreamSender {
  readonly #talk: Conversation;
  readonly #device: string;
  #bytes = 0;

  constructor(talk: Conversation, device: string) {
    this.#talk = talk;
    this.#device = device;
  }

  /** Bytes sent so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Sends the next of the stream; with `last`, what ends it, though it be empty. */
  async send(data: Uint8Array, last = false): Promise<void> {
    if (data.length === 0 && !last) return;
    let at = 0;
    do {
      const piece = data.subarray(at, at + DEVICE_DATA_BYTES_MAX);
      at += piece.length;
      const ends = last && at === data.length;
      await this.#talk.send({ kind: 'device-data', device: this.#device, data: piece, last: ends });
      this.#bytes += piece.length;
    } while (at < data.length);
  }
}

/**
 * Feeds the device piece by piece, and loads it when the last has come, while others look after the rest: what is said
 * on the link meanwhile need not wait for that.
 */
export class DeviceStreamReceiver {
  readonly #start: DeviceStart;
  readonly #device: string;
  #bytes = 0;
  #waitingBytes = 0;
  #ended = false;
  #done: Promise<void> = Promise.resolve();

  constructor(start: DeviceStart, device: string) {
    this.#start = start;
    this.#device = device;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** More has come than should be kept for later. */
  get crowded(): boolean {
    return this.#waitingBytes > WAITING_BYTES_MAX;
  }

  /** Settles when all that came so far was taken in and, after the last piece, the device is loaded. */
  get done(): Promise<void> {
    return this.#done;
  }

  /** Takes the next piece. Throws `migration/malformed-message`; a refusal of the device is `done`'s. */
  take({ device, data, last }: MessageOf<'device-data'>): void {
    if (device !== this.#device) throw malformed('device-data', 'device', `${device}, not ${this.#device}`);
    if (this.#ended) throw malformed('device-data', 'data', 'more after the last');
    if (this.#bytes + data.length > STREAM_BYTES_MAX) {
      throw malformed('device-data', 'data', `more than ${STREAM_BYTES_MAX} bytes in all`);
    }
    this.#bytes += data.length;
    this.#waitingBytes += data.length;
    this.#ended = last;
    this.#done = this.#done.then(async () => {
      if (data.length > 0) await this.#start.take(data);
      this.#waitingBytes -= data.length;
      if (last) await this.#start.load();
    });
  }

  /** Throws `migration/malformed-message` unless the stream has ended with all that was announced. */
  judge({ deviceBytes }: MessageOf<'complete'>): void {
    if (deviceBytes === this.#bytes && this.#ended) return;
    const found = `${deviceBytes}, but ${this.#bytes} have come, ${this.#ended ? 'and' : 'not'} the last`;
    throw malformed('complete', 'deviceBytes', found);
  }
}
