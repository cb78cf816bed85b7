/**
 * The hypervisor channel of the port that an assigned function sits in: requests to the guest's driver of it, and what that
 * says of itself. A word on the channel is up to four characters, in a register as little-endian ASCII.
 */
import { invariant } from '../../base/errors.js';
import type { RootPort } from '../../devices/root-port/device.js';

const WORD = /^[\x21-\x7e]{1,4}$/;

/** `text` as a register holds it: one to four printable characters. */
export function channelWord(text: string): number {
  invariant(WORD.test(text), `'${text}' is a word of the channel`);
  return [...text].reduceRight((word, character) => word * 256 + character.charCodeAt(0), 0);
}

/** What a register says: a guest may have written anything. */
export function channelText(word: number): string {
  const bytes = [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff);
  const end = bytes.indexOf(0);
  return bytes
    .slice(0, end < 0 ? undefined : end)
    .map((byte) => (byte >= 0x21 && byte <= 0x7e ? String.fromCharCode(byte) : '?'))
    .join('');
}

export class FunctionChannel {
  readonly #port: RootPort;

  constructor(port: RootPort) {
    this.#port = port;
  }

  /** They stand in registers of the port, and so come along with a guest that moves. */
  features(): readonly string[] {
    return this.#port.channel.features.map(channelText);
  }

  /** Returns the request's number: the guest is shown it when it has answered those before. */
  request(word: string, args: readonly number[] = []): number {
    return this.#port.channel.request(channelWord(word), args);
  }
}
