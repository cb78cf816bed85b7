/**
 * Reads a bootable image (see `image.ts`). The bytes may come from a file, or from guest RAM that a guest or a peer
 * wrote, so nothing is believed: an image is either exactly what `encodeImage` writes, or a `FerryError`.
 *
 * Only one encoding of an image is accepted: sections in table order, each at the next multiple of 8, filling the image
 * to its last byte. So no header field can be changed without notice, although the content hash does not cover it.
 */

import {
  type CodeVariant,
  GUEST_DATA_BASE,
  IMAGE_BYTES_MAX,
  IMAGE_MAGIC,
  IMAGE_SECTION_ALIGN,
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
import { imageErrors, malformed } from './image-errors.js';
import { parseImageMeta } from './image-meta.js';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP, VCPUS_MAX } from './platform.js';
import { reservedRange } from './reserved-range.js';

/** SHA-256 of `bytes`, 32 bytes; passed in, because `base` has no I/O and no crypto of its own. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array;

export const CODE_SECTIONS: Readonly<Record<CodeVariant, number>> = {
  run: SECTION_CODE_RUN,
  log: SECTION_CODE_LOG,
  postcopy: SECTION_CODE_POSTCOPY,
};

const SECTION_NAMES: ReadonlyMap<number, string> = new Map([
  [SECTION_META, 'META'],
  [SECTION_DATA, 'DATA'],
  [SECTION_CODE_RUN, 'CODE run'],
  [SECTION_CODE_LOG, 'CODE log'],
  [SECTION_CODE_POSTCOPY, 'CODE postcopy'],
]);

export interface ImageSectionInfo {
  readonly kind: number;
  /** For people: `META`, `DATA`, `CODE run`, ... */
  readonly name: string;
  /** From the start of the image. */
  readonly offset: number;
  readonly lengthBytes: number;
  /** DATA: guest physical address; else 0. */
  readonly gpa: number;
}

/** Initial RAM content: `bytes` belong at guest physical address `gpa`. */
export interface ImageData {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** A checked image. Byte arrays are views into the bytes that were parsed. */
export interface ParsedImage {
  readonly totalBytes: number;
  /** Smallest RAM that holds image, data and reserved range, in bytes. */
  readonly ramBytesMin: number;
  /** SHA-256 of all bytes after the header. */
  readonly contentHash: Uint8Array;
  readonly meta: ImageMeta;
  /** Ascending, disjoint, all in [GUEST_DATA_BASE, meta.dataEnd). */
  readonly data: readonly ImageData[];
  /** wasm binaries; they look like wasm (magic, version), compiling them is the caller's. */
  readonly code: Readonly<Record<CodeVariant, Uint8Array>>;
  readonly sections: readonly ImageSectionInfo[];
}

/** Where the section after `offset` bytes of image starts. */
export const alignSection = (offset: number): number =>
  Math.ceil(offset / IMAGE_SECTION_ALIGN) * IMAGE_SECTION_ALIGN;

const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

/**
 * The smallest RAM in bytes that a guest can boot in: its data, its image above that, and the reserved range of as many
 * vCPUs as it can use. May exceed RAM_BYTES_MAX; such a guest can't be booted.
 */
export function imageRamBytesMin(totalBytes: number, meta: Pick<ImageMeta, 'dataEnd' | 'smp'>): number {
  const used = Math.ceil(meta.dataEnd / 4096) * 4096 + Math.ceil(totalBytes / 4096) * 4096;
  let ramBytes = RAM_BYTES_MIN;
  // The reserved range grows with RAM (one byte a page and map), so this converges within a few steps.
  for (;;) {
    const needed = used + reservedRange(ramBytes, meta.smp ? VCPUS_MAX : 1).bytes;
    if (needed <= ramBytes) return ramBytes;
    ramBytes = Math.ceil(needed / RAM_BYTES_STEP) * RAM_BYTES_STEP;
  }
}

/**
 * Checks and takes apart an image that starts at `image[0]`; more bytes may follow it. `image` must not change
 * meanwhile: copy it first when it lies in guest RAM. Throws `image/malformed`, `image/version` or `image/hash`.
 */
export function parseImage(image: Uint8Array, sha256: Sha256): ParsedImage {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const header = readHeader(view);
  const sections = readSections(view, header.sectionCount, header.totalBytes);

  const content = image.subarray(imageHeader.size, header.totalBytes);
  const hash = sha256(content);
  if (hex(hash) !== hex(header.contentHash)) {
    throw imageErrors.error('hash', { stated: hex(header.contentHash), found: hex(hash) });
  }

  const bytesOf = (section: ImageSectionInfo): Uint8Array =>
    image.subarray(section.offset, section.offset + section.lengthBytes);
  const only = (kind: number): Uint8Array => {
    const found = sections.filter((section) => section.kind === kind);
    const name = SECTION_NAMES.get(kind)!;
    if (found.length !== 1)
      throw malformed('section table', `${found.length} ${name} sections instead of one`);
    return bytesOf(found[0]!);
  };

  const meta = parseImageMeta(only(SECTION_META));
  const ramBytesMin = imageRamBytesMin(header.totalBytes, meta);
  if (ramBytesMin > RAM_BYTES_MAX) throw malformed('header', `needs ${ramBytesMin} bytes of RAM`);
  if (header.ramBytesMin !== ramBytesMin) {
    throw malformed('header', `says it needs ${header.ramBytesMin} bytes of RAM, but needs ${ramBytesMin}`);
  }
  return {
    totalBytes: header.totalBytes,
    ramBytesMin,
    contentHash: header.contentHash,
    meta,
    data: readData(sections, bytesOf, meta.dataEnd),
    code: {
      run: checkCode('run', only(CODE_SECTIONS.run)),
      log: checkCode('log', only(CODE_SECTIONS.log)),
      postcopy: checkCode('postcopy', only(CODE_SECTIONS.postcopy)),
    },
    sections,
  };
}

function readHeader(view: DataView): ReturnType<typeof imageHeader.read> {
  if (view.byteLength < imageHeader.size) {
    throw malformed('header', `${view.byteLength} bytes are too few for the ${imageHeader.size} of a header`);
  }
  const header = imageHeader.read(view, 0);
  if (header.magic !== IMAGE_MAGIC) throw malformed('header', 'wrong magic number');
  if (header.version !== IMAGE_VERSION) {
    throw imageErrors.error('version', { found: header.version, supported: IMAGE_VERSION });
  }
  if (header.totalBytes > IMAGE_BYTES_MAX) {
    throw malformed('header', `says ${header.totalBytes} bytes, the most is ${IMAGE_BYTES_MAX}`);
  }
  if (header.totalBytes > view.byteLength) {
    throw malformed('header', `says ${header.totalBytes} bytes, but only ${view.byteLength} are there`);
  }
  if (header.sectionCount > IMAGE_SECTIONS_MAX) {
    throw malformed('header', `says ${header.sectionCount} sections, the most is ${IMAGE_SECTIONS_MAX}`);
  }
  requireZero(
    view,
    imageHeader.offset.contentHash + imageHeader.width.contentHash,
    imageHeader.size,
    'header',
  );
  return header;
}

function readSections(view: DataView, count: number, totalBytes: number): ImageSectionInfo[] {
  const sections: ImageSectionInfo[] = [];
  let end = imageHeader.size + count * imageSection.size;
  if (end > totalBytes) throw malformed('section table', `${count} sections do not fit ${totalBytes} bytes`);
  for (let i = 0; i < count; i++) {
    const at = imageHeader.size + i * imageSection.size;
    const { kind, reserved, offset, lengthBytes, gpa } = imageSection.read(view, at);
    const where = `section ${i}`;
    const name = SECTION_NAMES.get(kind);
    if (name === undefined) throw malformed(where, `unknown kind ${kind}`);
    if (reserved !== 0) throw malformed(where, 'reserved bits are set');
    requireZero(view, at + imageSection.offset.gpa + imageSection.width.gpa, at + imageSection.size, where);
    const start = alignSection(end);
    if (offset !== start) throw malformed(where, `starts at ${offset} instead of ${start}`);
    if (lengthBytes === 0) throw malformed(where, 'is empty');
    if (offset + lengthBytes > totalBytes) {
      throw malformed(where, `ends at ${offset + lengthBytes}, beyond the image's ${totalBytes} bytes`);
    }
    if (kind !== SECTION_DATA && gpa !== 0) throw malformed(where, `${name} has an address`);
    requireZero(view, end, start, where);
    sections.push({ kind, name, offset, lengthBytes, gpa });
    end = offset + lengthBytes;
  }
  if (end !== totalBytes)
    throw malformed('section table', `sections end at ${end}, the image at ${totalBytes}`);
  return sections;
}

function readData(
  sections: readonly ImageSectionInfo[],
  bytesOf: (section: ImageSectionInfo) => Uint8Array,
  dataEnd: number,
): ImageData[] {
  const data: ImageData[] = [];
  let end = GUEST_DATA_BASE;
  for (const section of sections) {
    if (section.kind !== SECTION_DATA) continue;
    if (section.gpa < end || section.gpa + section.lengthBytes > dataEnd) {
      const range = `[${section.gpa}, ${section.gpa + section.lengthBytes})`;
      throw malformed(
        'DATA',
        `${range} is not within what is free of the guest's data, [${end}, ${dataEnd})`,
      );
    }
    data.push({ gpa: section.gpa, bytes: bytesOf(section) });
    end = section.gpa + section.lengthBytes;
  }
  return data;
}

function checkCode(variant: CodeVariant, code: Uint8Array): Uint8Array {
  const preamble = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  if (!preamble.every((byte, i) => code[i] === byte))
    throw malformed(`CODE ${variant}`, 'is not WebAssembly');
  return code;
}

function requireZero(view: DataView, from: number, to: number, where: string): void {
  for (let at = from; at < to; at++) {
    if (view.getUint8(at) !== 0) throw malformed(where, `byte ${at} must be zero`);
  }
}
