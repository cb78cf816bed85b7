/**
 * What travels on a data channel: a hello in each direction, then frames from source to destination.
 *
 *     hello    32 bytes: who speaks, which channel, the migration's secret
 *     frame    header (32 bytes) │ body (by kind, bounded) │ payload (page frames only: the pages' bytes)
 *
 *     kind            body                                payload
 *     pages           runs: (firstPage, pageCount) ...    the bytes of these pages, in that order
 *     zero            runs: (firstPage, pageCount) ...    none; every byte of these pages is zero
 *     end-of-round    what the channel sent in the round  none
 *     close           none                                none; the channel ends in good order
 *
 * A header can be judged alone: it has its own checksum, every length in it is bounded by its kind, and it announces
 * exactly what follows, so that a receiver can aim the next read straight into guest RAM. A body has its checksum in
 * the header. Pages have none here: the integrity root over the page hashes covers them from RAM to RAM.
 * A retired kind keeps its number.
 */
import { invariant } from '../../base/errors.js';
import { ascii, bytes, layout, u8, u16, u32, u64 } from '../../base/layout.js';
import { PAGE_BYTES } from '../../base/units.js';

export const CHANNEL_VERSION = 1;
export const HELLO_MAGIC = 'FRRYDATA';
/** `FRMP`, little-endian. */
export const FRAME_MAGIC = 0x504d_5246;

/** Data channels of one migration. */
export const CHANNELS_MAX = 16;
/** Pages that one frame can carry: 512 KiB of payload. Larger ones overflow the caches, smaller ones cost calls. */
export const FRAME_PAGES_MAX = 128;
/** Runs that one frame can list: enough for `FRAME_PAGES_MAX` scattered pages. */
export const FRAME_RUNS_MAX = 128;
/** Rounds of one migration. */
export const ROUNDS_MAX = 65_536;
export const TOKEN_BYTES = 16;

export const channelHello = layout('channel hello', {
  magic: ascii(8),
  version: u16(),
  channel: u16(),
  token: bytes(TOKEN_BYTES),
  crc: u32(),
});

export const pageFrameHeader = layout('page frame header', {
  magic: u32(),
  version: u16(),
  kind: u8(),
  reserved: u8(),
  /** Number of this frame on its channel, from 0: a frame lost or repeated is noticed. */
  sequence: u32(),
  /** From 1; the round that a close frame would have begun. */
  round: u32(),
  bodyBytes: u32(),
  payloadBytes: u32(),
  bodyCrc: u32(),
  /** Of everything before it. */
  headerCrc: u32(),
});

export const pageRun = layout('page run', { firstPage: u32(), pageCount: u32() });

/** What one channel sent in one round; `bytes` are wire bytes, the end-of-round frame not included. */
export const roundCounts = layout('round counts', { pages: u32(), zeroPages: u32(), bytes: u64() });

export const FRAME_BODY_BYTES_MAX = FRAME_RUNS_MAX * pageRun.size;
export const FRAME_PAYLOAD_BYTES_MAX = FRAME_PAGES_MAX * PAGE_BYTES;

export interface FrameKindRule {
  readonly name: string;
  readonly bodyBytesMin: number;
  readonly bodyBytesMax: number;
  /** The body's length is a multiple of this. */
  readonly bodyStep: number;
  readonly payloadBytesMin: number;
  readonly payloadBytesMax: number;
}

export const FRAME_PAGES = 1;
export const FRAME_ZERO = 2;
export const FRAME_END_OF_ROUND = 3;
export const FRAME_CLOSE = 4;

const runs = { bodyBytesMin: pageRun.size, bodyBytesMax: FRAME_BODY_BYTES_MAX, bodyStep: pageRun.size };
const noPayload = { payloadBytesMin: 0, payloadBytesMax: 0 };

/** What each kind of frame may hold; the index is its number on the wire. */
export const frameRules: readonly (FrameKindRule | undefined)[] = [
  undefined,
  { name: 'pages', ...runs, payloadBytesMin: PAGE_BYTES, payloadBytesMax: FRAME_PAYLOAD_BYTES_MAX },
  { name: 'zero', ...runs, ...noPayload },
  {
    name: 'end-of-round',
    bodyBytesMin: roundCounts.size,
    bodyBytesMax: roundCounts.size,
    bodyStep: 1,
    ...noPayload,
  },
  { name: 'close', bodyBytesMin: 0, bodyBytesMax: 0, bodyStep: 1, ...noPayload },
];

invariant(frameRules.length === FRAME_CLOSE + 1, 'a kind of frame without a rule');
invariant(roundCounts.size <= FRAME_BODY_BYTES_MAX, 'round counts exceed the largest body');
invariant(channelHello.size === 32 && pageFrameHeader.size === 32, 'a documented size is wrong');
