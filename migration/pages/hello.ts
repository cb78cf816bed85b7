/** The first bytes of a data channel, in each direction: the same 32 bytes, which name channel and migration. */

import { crc32 } from '../../base/crc32.js';
import { invariant } from '../../base/errors.js';
import { pageErrors } from './errors.js';
import { CHANNEL_VERSION, channelHello, HELLO_MAGIC, TOKEN_BYTES } from './layouts.js';

/** The token of an endpoint (32 hex digits) as it travels. */
export function tokenBytes(token: string): Uint8Array {
  invariant(/^[0-9a-f]{32}$/.test(token), 'a token has 32 hex digits');
  return Uint8Array.from({ length: TOKEN_BYTES }, (_, i) =>
    Number.parseInt(token.slice(2 * i, 2 * i + 2), 16),
  );
}

export function encodeHello(channel: number, token: Uint8Array): Uint8Array {
  const hello = channelHello.encode({ magic: HELLO_MAGIC, version: CHANNEL_VERSION, channel, token });
  const view = new DataView(hello.buffer);
  view.setUint32(channelHello.offset.crc, crc32(hello, 0, channelHello.offset.crc), true);
  return hello;
}

/**
 * Judges the hello at the start of `bytes`. `channel` is the one expected here, or -1 for any; `token` undefined
 * accepts any (a recorded stream). Returns the channel. Throws `pages/bad-hello`, `pages/peer-version`.
 */
export function checkHello(bytes: Uint8Array, channel: number, token: Uint8Array | undefined): number {
  invariant(bytes.length >= channelHello.size, 'hello not complete');
  const hello = channelHello.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0);
  const bad = (problem: string): Error => pageErrors.error('bad-hello', { channel, problem });
  if (hello.magic !== HELLO_MAGIC) throw bad('not a data channel of vf-ferry');
  if (hello.version !== CHANNEL_VERSION) {
    throw pageErrors.error('peer-version', { channel, ours: CHANNEL_VERSION, theirs: hello.version });
  }
  if (hello.crc !== crc32(bytes, 0, channelHello.offset.crc)) throw bad('its checksum does not match');
  if (token !== undefined && !sameBytes(hello.token, token)) throw bad('it belongs to another migration');
  if (channel >= 0 && hello.channel !== channel) throw bad(`it names channel ${hello.channel}`);
  return hello.channel;
}

/** Takes the same time wherever the first difference lies. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}
