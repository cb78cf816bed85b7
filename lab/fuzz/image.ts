/**
 * Guest images, from a file or from the RAM that a peer filled. One that is taken is byte for byte what the toolchain would
 * write, and is loaded into RAM without anything lying beside it.
 */
import { createHash } from 'node:crypto';
import {
  type CodeVariant,
  GUEST_DATA_BASE,
  type ImageMeta,
  imageHeader,
  imageSection,
} from '../../base/abi/image.js';
import { encodeImage } from '../../base/abi/image-encode.js';
import { type ParsedImage, parseImage } from '../../base/abi/image-parse.js';
import { RAM_BYTES_MIN } from '../../base/abi/platform.js';
import { reservedRange } from '../../base/abi/reserved-range.js';
import type { SeededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { loadImage } from '../../vmm/machine/loader.js';
import { allocateRam, GuestRam } from '../../vmm/ram/guest-ram.js';
import { type FuzzTarget, type Outcome, refusal } from './engine.js';
import { edgeWord, mutateBytes, mutateTree } from './mutate.js';

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
const WASM = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

const META: ImageMeta = {
  name: 'fuzz',
  registers: [
    { name: 'pc', type: 'i32' },
    { name: 'sp', type: 'i64' },
  ],
  dataEnd: GUEST_DATA_BASE + 0x2000,
  smp: true,
  functionNames: ['start', 'interrupt'],
};

const code = (last: number): Uint8Array => Uint8Array.of(...WASM, last);

/** A valid image, of which its meta may say something else. */
function sample(random: SeededRandom): Uint8Array {
  const data = [
    { gpa: GUEST_DATA_BASE, bytes: new Uint8Array(1 + random.below(64)).fill(1) },
    { gpa: GUEST_DATA_BASE + 0x1000, bytes: new Uint8Array(1 + random.below(64)).fill(2) },
  ].slice(random.below(3));
  const meta = (random.chance(0.5) ? mutateTree(META, random) : META) as ImageMeta;
  const codes: Record<CodeVariant, Uint8Array> = { run: code(1), log: code(2), postcopy: code(3) };
  const image = encodeWith(META, data, codes);
  if (meta === META) return image;
  // What the encoder would not write is put in by hand, as long as the place has room.
  const place = imageSection.read(new DataView(image.buffer), imageHeader.size);
  const json = new TextEncoder().encode(JSON.stringify(meta)?.padEnd(place.lengthBytes) ?? '');
  if (json.length !== place.lengthBytes) return mutateBytes(image, random);
  image.set(json, place.offset);
  return image;
}

const encodeWith = (
  meta: ImageMeta,
  data: { gpa: number; bytes: Uint8Array }[],
  codes: Record<CodeVariant, Uint8Array>,
): Uint8Array => encodeImage({ meta, data, code: codes }, sha256);

/** The header's hash and length as a liar would have them. */
function sealed(image: Uint8Array, random: SeededRandom): Uint8Array {
  if (image.length < imageHeader.size) return image;
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  if (random.chance(0.7)) view.setUint32(imageHeader.offset.totalBytes, image.length, true);
  const end = Math.min(
    image.length,
    Math.max(imageHeader.size, view.getUint32(imageHeader.offset.totalBytes, true)),
  );
  image.set(sha256(image.subarray(imageHeader.size, end)), imageHeader.offset.contentHash);
  return image;
}

function changedFields(image: Uint8Array, random: SeededRandom): Uint8Array {
  const changed = image.slice();
  const view = new DataView(changed.buffer);
  if (changed.length < imageHeader.size + imageSection.size) return changed;
  const sections = view.getUint16(imageHeader.offset.sectionCount, true);
  for (let changes = 1 + random.below(2); changes > 0; changes--) {
    if (random.chance(0.3)) {
      view.setUint32(
        random.pick([
          imageHeader.offset.magic,
          imageHeader.offset.totalBytes,
          imageHeader.offset.ramBytesMin,
        ]),
        edgeWord(random),
        true,
      );
      if (random.chance(0.5)) view.setUint16(imageHeader.offset.sectionCount, edgeWord(random), true);
      continue;
    }
    const at = imageHeader.size + random.below(Math.max(1, sections)) * imageSection.size;
    if (at + imageSection.size > changed.length) continue;
    const field = random.pick(['offset', 'lengthBytes', 'gpa'] as const);
    const old = view.getUint32(at + imageSection.offset[field], true);
    view.setUint32(
      at + imageSection.offset[field],
      random.chance(0.5) ? old + random.pick([-8, -1, 1, 8]) : edgeWord(random),
      true,
    );
    if (random.chance(0.1)) view.setUint16(at + imageSection.offset.kind, random.below(7), true);
  }
  return changed;
}

/** `parse` is the product's, unless a test puts a broken one in its place. */
export function imageTarget(parse: typeof parseImage = parseImage): FuzzTarget {
  const range = reservedRange(RAM_BYTES_MIN, 1);
  const ram = GuestRam.create(allocateRam(RAM_BYTES_MIN), range.base / PAGE_BYTES);
  return {
    name: 'image',
    make(random) {
      const image = sample(random);
      const changed = random.chance(0.5)
        ? changedFields(image, random)
        : random.chance(0.4)
          ? mutateBytes(image, random)
          : image;
      return random.chance(0.9) ? sealed(changed, random) : changed;
    },
    run(input): Outcome {
      let parsed: ParsedImage | undefined;
      const refused = refusal(() => {
        parsed = parse(input, sha256);
      });
      if (parsed === undefined || refused !== undefined) return 'refused';
      const again = encodeImage(parsed, sha256);
      if (Buffer.compare(again, input.subarray(0, parsed.totalBytes)) !== 0) {
        return { problem: 'taken, and the toolchain would write it otherwise' };
      }
      const image = parsed;
      const settings = { commandLine: '', seed: 1, wallClockNs: 0 };
      return refusal(() => loadImage(ram, range, input, image, settings)) === undefined
        ? 'accepted'
        : 'refused';
    },
  };
}
