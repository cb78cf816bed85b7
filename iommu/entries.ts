/**
 * Everything the unit reads from host memory, declared: root, context and PASID tables, paging entries, interrupt
 * remapping entries, posted-interrupt descriptors. Sections are those of the VT-d specification (chapter 9).
 */
import { type BitField, bits } from '../base/bits.js';

/** 9.1 root entry (legacy), and each half of a scalable-mode root entry (9.2). 256 of 16 bytes, by bus. */
export const rootEntry = bits({ P: [0, 1], CTP: [12, 52] });
export const ROOT_ENTRY_BYTES = 16;

/** 9.3 context entry, legacy mode; 16 bytes, by devfn. */
export const contextEntry = bits({
  P: [0, 1],
  FPD: [1, 1],
  TT: [2, 2],
  SSPTPTR: [12, 52],
  AW: [64, 3],
  IGNORED: [67, 4],
  DID: [72, 16],
});
export const CONTEXT_ENTRY_BYTES = 16;
export const TT_UNTRANSLATED = 0;
export const TT_WITH_DEVICE_TLB = 1;
export const TT_PASS_THROUGH = 2;

/** 9.4 context entry, scalable mode; 32 bytes, by devfn[6:0], in a lower or upper table. */
export const scalableContext = bits({
  P: [0, 1],
  FPD: [1, 1],
  DTE: [2, 1],
  PASIDE: [3, 1],
  PRE: [4, 1],
  PDTS: [9, 3],
  PASIDDIRPTR: [12, 52],
  RID_PASID: [64, 20],
});
export const SCALABLE_CONTEXT_BYTES = 32;

/** 9.5 PASID directory entry; 8 bytes, by PASID[19:6]. */
export const pasidDirectoryEntry = bits({ P: [0, 1], FPD: [1, 1], SMPTBLPTR: [12, 52] });
export const PASID_DIRECTORY_ENTRY_BYTES = 8;
/** PASIDs that one directory entry's table covers. */
export const PASIDS_PER_TABLE = 64;

/** 9.6 PASID table entry; 64 bytes, by PASID[5:0]. */
export const pasidEntry = bits({
  P: [0, 1],
  FPD: [1, 1],
  AW: [2, 3],
  PGTT: [6, 3],
  SSADE: [9, 1],
  SSPTPTR: [12, 52],
  DID: [64, 16],
  PWSNP: [87, 1],
  PGSNP: [88, 1],
  /** Memory types, of no effect on a model without caches. */
  MEMORY_TYPE: [89, 7],
  PAT: [96, 32],
  SRE: [128, 1],
  ERE: [129, 1],
  FSPM: [130, 2],
  WPE: [132, 1],
  NXE: [133, 1],
  SMEPE: [134, 1],
  EAFE: [135, 1],
  FSPTPTR: [140, 52],
});
export const PASID_ENTRY_BYTES = 64;
export const PGTT_FIRST_STAGE = 1;
export const PGTT_SECOND_STAGE = 2;
export const PGTT_NESTED = 3;
export const PGTT_PASS_THROUGH = 4;

/** 9.8 second-stage paging entry, all levels; what a level leaves out is checked in `walk.ts`. */
export const secondStageEntry = bits({
  R: [0, 1],
  W: [1, 1],
  X: [2, 1],
  EMT: [3, 3],
  IPAT: [6, 1],
  PS: [7, 1],
  A: [8, 1],
  D: [9, 1],
  AVAILABLE: [10, 1],
  SNP: [11, 1],
  ADDRESS: [12, 40],
  IGNORED: [52, 10],
  TM: [62, 1],
});

/** 9.7 first-stage paging entry, all levels: as the CPU's own tables. */
export const firstStageEntry = bits({
  P: [0, 1],
  RW: [1, 1],
  US: [2, 1],
  PWT: [3, 1],
  PCD: [4, 1],
  A: [5, 1],
  D: [6, 1],
  PS: [7, 1],
  G: [8, 1],
  EA: [10, 1],
  ADDRESS: [12, 40],
  XD: [63, 1],
});
/** Entries of a paging table, and the bits of an address that each level resolves. */
export const TABLE_ENTRIES = 512;
export const LEVEL_BITS = 9;

/** 9.9 interrupt remapping entry, remapped format; 16 bytes. */
export const remappedEntry = bits({
  P: [0, 1],
  FPD: [1, 1],
  DM: [2, 1],
  RH: [3, 1],
  TM: [4, 1],
  DLM: [5, 3],
  AVAILABLE: [8, 4],
  IM: [15, 1],
  VECTOR: [16, 8],
  DST: [32, 32],
  SID: [64, 16],
  SQ: [80, 2],
  SVT: [82, 2],
});

/** 9.10 interrupt remapping entry, posted format. */
export const postedEntry = bits({
  P: [0, 1],
  FPD: [1, 1],
  AVAILABLE: [8, 4],
  URG: [14, 1],
  IM: [15, 1],
  VECTOR: [16, 8],
  PDA_LOW: [38, 26],
  SID: [64, 16],
  SQ: [80, 2],
  SVT: [82, 2],
  PDA_HIGH: [96, 32],
});
export const IRTE_BYTES = 16;
export const SVT_NONE = 0;
export const SVT_SOURCE_ID = 1;
export const SVT_BUS_RANGE = 2;

/** 9.11 posted-interrupt descriptor; 64 bytes, aligned. */
export const postedDescriptor = bits({
  PIR: [0, 32],
  ON: [256, 1],
  SN: [257, 1],
  NV: [272, 8],
  NDST: [288, 32],
});
export const POSTED_DESCRIPTOR_BYTES = 64;

/**
 * The bits of each word that no field covers: reserved. `addressWidth` adds the bits of address fields (those that
 * end at bit 63 or 51 of their quadword) above the host address width.
 */
export function reservedWords(
  fields: Readonly<Record<string, BitField>>,
  wordCount: number,
  addressWidth: number,
): Uint32Array {
  const reserved = new Uint32Array(wordCount).fill(0xffffffff);
  for (const { word, mask, highMask } of Object.values(fields)) {
    reserved[word]! &= ~mask;
    if (highMask !== 0) reserved[word + 1]! &= ~highMask;
  }
  const beyond = addressWidth >= 64 ? 0 : 2 ** 32 - 2 ** Math.max(addressWidth - 32, 0);
  for (const { word, shift, highMask } of Object.values(fields)) {
    if (shift === 12 && highMask !== 0) reserved[word + 1]! |= beyond & highMask;
  }
  return reserved;
}

/** True if any reserved bit of the structure in `words` is set. */
export function breaksReserved(words: Uint32Array, reserved: Uint32Array): boolean {
  for (let i = 0; i < reserved.length; i++) if ((words[i]! & reserved[i]!) !== 0) return true;
  return false;
}
