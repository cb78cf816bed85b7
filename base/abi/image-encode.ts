/** Writes a bootable image (see `image.ts`): the one encoding that `parseImage` accepts. */
import { invariant } from '../errors.js';
import {
  type CodeVariant,
  IMAGE_BYTES_MAX,
  IMAGE_MAGIC,
  IMAGE_SECTIONS_MAX,
  IMAGE_VERSION,
  type ImageMeta,
  imageHeader,
  imageSection,
  SECTION_CODE_LOG,
  SECTION_CODE_POSTCOPY,
  SECTION_CODE_RUN,
  SECTION_DATA,
  SECTION_META,
} from './image.js';
import { malformed } from './image-errors.js';
import { encodeImageMeta } from './image-meta.js';
import { alignSection, type ImageData, imageRamBytesMin, type Sha256 } from './image-parse.js';
import { RAM_BYTES_MAX } from './platform.js';

export interface ImageContent {
  readonly meta: ImageMeta;
  /** Ascending and disjoint. */
  readonly data: readonly ImageData[];
  readonly code: Readonly<Record<CodeVariant, Uint8Array>>;
}

/** Throws `image/malformed` if the content is too large for an image or for RAM. Same content, same bytes. */
export function encodeImage(content: ImageContent, sha256: Sha256): Uint8Array {
  const sections = [
    { kind: SECTION_META, gpa: 0, bytes: encodeImageMeta(content.meta) },
    ...content.data.map(({ gpa, bytes }) => ({ kind: SECTION_DATA, gpa, bytes })),
    { kind: SECTION_CODE_RUN, gpa: 0, bytes: content.code.run },
    { kind: SECTION_CODE_LOG, gpa: 0, bytes: content.code.log },
    { kind: SECTION_CODE_POSTCOPY, gpa: 0, bytes: content.code.postcopy },
  ];
  if (sections.length > IMAGE_SECTIONS_MAX)
    throw malformed('image', `${sections.length} sections are too many`);
  const offsets: number[] = [];
  let end = imageHeader.size + sections.length * imageSection.size;
  for (const section of sections) {
    invariant(section.bytes.length > 0, 'an image has no empty sections');
    const offset = alignSection(end);
    offsets.push(offset);
    end = offset + section.bytes.length;
  }
  if (end > IMAGE_BYTES_MAX) throw malformed('image', `${end} bytes, the most is ${IMAGE_BYTES_MAX}`);
  const ramBytesMin = imageRamBytesMin(end, content.meta);
  if (ramBytesMin > RAM_BYTES_MAX) throw malformed('image', `needs ${ramBytesMin} bytes of RAM`);

  const image = new Uint8Array(end);
  const view = new DataView(image.buffer);
  sections.forEach(({ kind, gpa, bytes }, i) => {
    const offset = offsets[i]!;
    imageSection.write(view, imageHeader.size + i * imageSection.size, {
      kind,
      offset,
      lengthBytes: bytes.length,
      gpa,
    });
    image.set(bytes, offset);
  });
  imageHeader.write(view, 0, {
    magic: IMAGE_MAGIC,
    version: IMAGE_VERSION,
    sectionCount: sections.length,
    totalBytes: end,
    ramBytesMin,
    contentHash: sha256(image.subarray(imageHeader.size)),
  });
  return image;
}
