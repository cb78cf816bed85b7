/** The control stream: frames cut out of bytes, and the messages in them, as a destination and a source take them from a peer. */
import { Packr } from 'msgpackr';
import { crc32 } from '../../base/crc32.js';
import { isFerryError } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import { describeMessage } from '../../migration/describe-message.js';
import {
  CONTROL_MAGIC,
  CONTROL_VERSION,
  decodeFrame,
  type FrameKind,
  FrameSplitter,
  frameBytesMax,
  frameHeader,
  frameKinds,
} from '../../migration/frame.js';
import { decodeMessage, encodeMessage } from '../../migration/messages.js';
import { cut, type FuzzTarget, type Outcome } from './engine.js';
import { edgeWord, joined, mutateBytes, mutateTree } from './mutate.js';
import { allSamples } from './sample-messages.js';

const packr = new Packr({ useRecords: false, moreTypes: false });
const kinds = Object.keys(frameKinds) as FrameKind[];
const headerFields = [
  'magic',
  'version',
  'kind',
  'reserved',
  'lengthBytes',
  'payloadCrc',
  'headerCrc',
] as const;

function frame(random: SeededRandom): Uint8Array {
  const { kind, ...body } = random.pick(allSamples);
  const value = random.chance(0.45) ? mutateTree(body, random) : body;
  const packed = packr.pack(value);
  const payload = random.chance(0.2) ? mutateBytes(packed, random) : packed;
  const { number } = frameKinds[random.chance(0.1) ? random.pick(kinds) : kind];
  const bytes = new Uint8Array(frameHeader.size + payload.length);
  const view = new DataView(bytes.buffer);
  const fields = {
    magic: CONTROL_MAGIC,
    version: CONTROL_VERSION,
    kind: number,
    lengthBytes: payload.length,
    payloadCrc: crc32(payload),
  };
  frameHeader.write(view, 0, fields);
  bytes.set(payload, frameHeader.size);
  if (random.chance(0.1)) {
    const field = random.pick(headerFields);
    const word = edgeWord(random);
    if (frameHeader.width[field] === 1) view.setUint8(frameHeader.offset[field], word);
    else if (frameHeader.width[field] === 2) view.setUint16(frameHeader.offset[field], word, true);
    else view.setUint32(frameHeader.offset[field], word, true);
  }
  // Most wrong headers have the right checksum: a peer that lies knows how.
  if (random.chance(0.95)) {
    view.setUint32(frameHeader.offset.headerCrc, crc32(bytes, 0, frameHeader.offset.headerCrc), true);
  }
  return bytes;
}

/** What the stream says, message by message, up to the error that ends it. */
function read(pieces: readonly Uint8Array[], decode: typeof decodeMessage): string[] {
  const said: string[] = [];
  const splitter = new FrameSplitter();
  try {
    for (const piece of pieces) {
      splitter.push(piece, (bytes) => {
        if (bytes.length > frameBytesMax) throw new Error(`a frame of ${bytes.length} bytes`);
        said.push(`${decodeFrame(bytes).kind} ${judgeMessage(bytes, decode)}`);
      });
    }
    if (!splitter.betweenFrames) said.push('! cut off');
  } catch (error) {
    if (!isFerryError(error) || !error.code.startsWith('migration/')) throw error;
    said.push(`! ${error.message}`);
  }
  return said;
}

/** A message that is taken can be explained, and says the same when it is sent on. */
function judgeMessage(bytes: Uint8Array, decode: typeof decodeMessage): number {
  const message = decode(bytes);
  describeMessage(message);
  const again = encodeMessage(message);
  const third = encodeMessage(decode(again));
  if (crc32(again) !== crc32(third))
    throw new Error(`a ${message.kind} that is another one when it is sent on`);
  return crc32(again);
}

/** `decode` is the product's, unless a test puts a broken one in its place. */
export function streamTarget(decode: typeof decodeMessage = decodeMessage): FuzzTarget {
  return {
    name: 'stream',
    make(random) {
      const frames = Array.from({ length: 1 + random.below(4) }, () => frame(random));
      if (random.chance(0.05)) frames.push(random.pick(frames));
      const bytes = joined(frames);
      return random.chance(0.1) ? mutateBytes(bytes, random) : bytes;
    },
    run(input): Outcome {
      const whole = read([input], decode);
      const pieces = read(cut(input), decode);
      if (whole.join('\n') !== pieces.join('\n')) {
        return { problem: `said "${whole.at(-1)}" in one piece and "${pieces.at(-1)}" in several` };
      }
      return whole.at(-1)?.startsWith('!') ? 'refused' : 'accepted';
    },
  };
}
