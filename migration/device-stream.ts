/** An assigned device's data stream on the control link: cut into messages, counted, and bounded at the other end. */
import { MIB } from '../base/units.js';
import type { Conversation } from './conversation.js';
import { malformed } from './frame.js';
import { DEVICE_DATA_BYTES_MAX, type MessageOf } from './messages.js';
import type { DeviceStart } from './start/start.js';

/** What a source may send of one device, all that travels ahead included. */
const STREAM_BYTES_MAX = 256 * MIB;

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

  async send(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += DEVICE_DATA_BYTES_MAX) {
      const piece = data.subarray(at, at + DEVICE_DATA_BYTES_MAX);
      await this.#talk.send({ kind: 'device-data', device: this.#device, data: piece });
      this.#bytes += piece.length;
    }
  }
}

export class DeviceStreamReceiver {
  readonly #start: DeviceStart;
  readonly #device: string;
  #bytes = 0;

  constructor(start: DeviceStart, device: string) {
    this.#start = start;
    this.#device = device;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Hands the piece on. Throws `migration/malformed-message`, or the device's refusal. */
  async take({ device, data }: MessageOf<'device-data'>): Promise<void> {
    if (device !== this.#device) throw malformed('device-data', 'device', `${device}, not ${this.#device}`);
    if (this.#bytes + data.length > STREAM_BYTES_MAX) {
      throw malformed('device-data', 'data', `more than ${STREAM_BYTES_MAX} bytes in all`);
    }
    this.#bytes += data.length;
    await this.#start.take(data);
  }
}

/** Throws `migration/malformed-message` unless all that was announced has come. */
export function judgeDeviceBytes({ deviceBytes }: MessageOf<'complete'>, received: number): void {
  if (deviceBytes === received) return;
  throw malformed('complete', 'deviceBytes', `${deviceBytes}, but ${received} have come`);
}
