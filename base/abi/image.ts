/**
 * The bootable image: what `ferry guest build` writes and the VMM loads whole into guest RAM, like a kernel. The
 * destination of a migration finds it in the migrated bytes and needs no file.
 *
 *     header (64 bytes) | section table (sectionCount x 24) | sections, each at its offset from the image's start
 *
 * The content hash covers every byte after the header. Readers check magic, version, bounds of every section and the
 * hash before they use any of it.
 */
import { bytes, layout, u16, u32 } from '../layout.js';

export const IMAGE_MAGIC = 0x4d495246; // "FRIM"
export const IMAGE_VERSION = 1;
export const IMAGE_BYTES_MAX = 64 * 1024 * 1024;
export const IMAGE_SECTIONS_MAX = 1024;
export const IMAGE_META_BYTES_MAX = 4 * 1024 * 1024;
/** Sections start at multiples of this, the first one right behind the section table. */
export const IMAGE_SECTION_ALIGN = 8;
/** The guest's own data starts here; what lies below belongs to the platform (boot information, command line). */
export const GUEST_DATA_BASE = 0x10000;

export const imageHeader = layout(
  'image_header',
  {
    magic: u32(),
    version: u16(),
    sectionCount: u16(),
    /** Bytes of the whole image, header included. */
    totalBytes: u32(),
    /** Smallest RAM that holds image, data and reserved range, in bytes. */
    ramBytesMin: u32(),
    /** SHA-256 of all bytes of the image after the header. */
    contentHash: bytes(32),
  },
  { size: 64 },
);

export const imageSection = layout(
  'image_section',
  {
    kind: u16(),
    reserved: u16(),
    /** From the start of the image. */
    offset: u32(),
    lengthBytes: u32(),
    /** DATA: guest physical address to load at. */
    gpa: u32(),
  },
  { size: 24 },
);

/** Section kinds; retired numbers are never used again. */
export const SECTION_META = 1; // JSON: ImageMeta
export const SECTION_DATA = 2; // initial RAM content, loaded at `gpa`
export const SECTION_CODE_RUN = 3; // wasm, no memory hooks
export const SECTION_CODE_LOG = 4; // wasm, stores mark the dirty map
export const SECTION_CODE_POSTCOPY = 5; // wasm, as log, and loads and stores check the present map

export type CodeVariant = 'run' | 'log' | 'postcopy';

/** One register of the vCPU: a mutable global that every code variant exports under this name. */
export interface RegisterInfo {
  readonly name: string;
  readonly type: 'i32' | 'i64' | 'f32' | 'f64';
}

export interface ImageMeta {
  /** The guest's own name, from the source file. */
  readonly name: string;
  readonly registers: readonly RegisterInfo[];
  /** End of the initial data in bytes. */
  readonly dataEnd: number;
  /** Whether `secondary_start` is exported, so that more than one vCPU makes sense. */
  readonly smp: boolean;
  /** wasm function names by index, the same in every variant, for crash reports; may be empty. */
  readonly functionNames: readonly string[];
}
