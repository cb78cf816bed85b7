import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { crc32 } from '../../base/crc32.js';
import { FerryError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { HashTable } from '../../migration/hash-table.js';
import { ChannelReceiver, CLOSED, END_OF_ROUND } from '../../migration/pages/channel-receiver.js';
import { ChannelSender } from '../../migration/pages/channel-sender.js';
import { StreamDescriber } from '../../migration/pages/describe.js';
import { FrameBuffer } from '../../migration/pages/frame-buffer.js';
import { encodeHello } from '../../migration/pages/hello.js';
import {
  FRAME_CLOSE,
  FRAME_END_OF_ROUND,
  FRAME_PAGES,
  FRAME_PAGES_MAX,
  FRAME_RUNS_MAX,
  FRAME_ZERO,
  frameRules,
  pageFrameHeader,
  pageRun,
} from '../../migration/pages/layouts.js';
import { referenceKernels } from '../../migration/pages/page-kernels.js';
import { type PageSink, RamSink } from '../../migration/pages/page-sink.js';
import { RunTable } from '../../migration/pages/run-table.js';
import { WorkBoard } from '../../migration/pages/work-board.js';
import { ramDifferences } from './ram-differences.js';

const PAGES = 24;
const SEED = 77;
const TOKEN = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const HELLO_BYTES = 32;
const HEADER_BYTES = pageFrameHeader.size;

class Destination {
  readonly ram: Uint8Array;
  readonly hashes: HashTable;
  readonly receiver: ChannelReceiver;
  readonly events: number[] = [];

  /** `came`: hears of each page, in the order in which they come. */
  constructor(pages = PAGES, came: (page: number) => void = () => {}) {
    this.ram = new Uint8Array(pages * PAGE_BYTES).fill(0xaa);
    this.hashes = new HashTable(pages);
    const ram = new RamSink(this.ram, referenceKernels(this.ram), SEED, this.hashes);
    const told = (what: 'arrived' | 'zeroed') => (firstPage: number, pageCount: number) => {
      ram[what](firstPage, pageCount);
      for (let page = firstPage; page < firstPage + pageCount; page++) came(page);
    };
    const sink: PageSink = { view: ram.view.bind(ram), arrived: told('arrived'), zeroed: told('zeroed') };
    this.receiver = new ChannelReceiver({ channel: 3, token: () => TOKEN, migratedPages: pages, sink });
  }

  /** Feeds `bytes` in pieces of at most `pieceBytes`. */
  feed(bytes: Uint8Array, pieceBytes = Number.POSITIVE_INFINITY): void {
    for (let at = 0; at < bytes.length; ) {
      const target = this.receiver.target();
      const piece = bytes.subarray(at, at + Math.min(target.length, pieceBytes));
      target.set(piece);
      at += piece.length;
      const event = this.receiver.filled(piece.length);
      if (event !== 0) this.events.push(event);
    }
  }

  get untouched(): boolean {
    return this.ram.every((byte) => byte === 0xaa);
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function bytesOf(frame: FrameBuffer): Uint8Array {
  return concat(frame.pieces.slice(0, frame.pieceCount));
}

/** RAM with zero pages, long runs and scattered pages, and the stream that carries it in one round. */
function sample(copyAll = false): { ram: Uint8Array; hashes: Uint32Array; stream: Uint8Array } {
  const random = seededRandom(5);
  const ram = new Uint8Array(PAGES * PAGE_BYTES);
  const pages = new AtomicBitmap(PAGES);
  for (const page of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 17, 20, 21]) {
    if (page !== 13 && page !== 20) random.fill(ram.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES));
    pages.set(page);
  }
  const hashes = new HashTable(PAGES);
  const sender = new ChannelSender({
    ram,
    kernels: referenceKernels(ram),
    board: new WorkBoard(1),
    migratedPages: PAGES,
    hashSeed: SEED,
    hashes,
    copyAll,
  });
  const frame = new FrameBuffer();
  const parts = [encodeHello(3, TOKEN)];
  sender.beginRound(1, pages);
  while (sender.next(frame)) parts.push(bytesOf(frame));
  sender.endRound(frame);
  parts.push(bytesOf(frame));
  sender.encodeClose(frame);
  parts.push(bytesOf(frame));
  return { ram, hashes: hashes.words, stream: concat(parts) };
}

/** A frame as a hostile or broken peer might make it: any header, any body, valid checksums unless told otherwise. */
function forge(
  header: {
    kind: number;
    sequence?: number;
    round?: number;
    bodyBytes?: number;
    payloadBytes?: number;
    reserved?: number;
    version?: number;
  },
  body: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  bytes.set(body, HEADER_BYTES);
  pageFrameHeader.write(view, 0, {
    magic: 0x504d_5246,
    version: 1,
    sequence: 0,
    round: 1,
    bodyBytes: body.length,
    bodyCrc: crc32(body),
    ...header,
  });
  view.setUint32(pageFrameHeader.offset.headerCrc, crc32(bytes, 0, pageFrameHeader.offset.headerCrc), true);
  return bytes;
}

function runsBody(...runs: readonly (readonly [number, number])[]): Uint8Array {
  const body = new Uint8Array(runs.length * pageRun.size);
  const view = new DataView(body.buffer);
  runs.forEach(([firstPage, pageCount], i) => {
    pageRun.write(view, i * pageRun.size, { firstPage, pageCount });
  });
  return body;
}

function problemOf(action: () => void): string {
  try {
    action();
  } catch (error) {
    if (error instanceof FerryError && error.code.startsWith('pages/')) return error.message;
    throw error;
  }
  return 'none';
}

describe('a channel', () => {
  it('carries the same pages and hashes wherever the stream is cut in two', () => {
    const { ram, hashes, stream } = sample();
    for (let cut = 0; cut <= stream.length; cut += cut < 400 || cut > stream.length - 150 ? 1 : 1021) {
      const destination = new Destination();
      destination.feed(stream.subarray(0, cut));
      destination.feed(stream.subarray(cut));
      destination.receiver.ended();
      for (let page = 0; page < PAGES; page++) {
        if (hashes[2 * page] === 0 && hashes[2 * page + 1] === 0) continue;
        expect(destination.ram[page * PAGE_BYTES + 100]).toBe(ram[page * PAGE_BYTES + 100]);
      }
      expect(destination.hashes.words).toEqual(hashes);
      expect(destination.events.slice(-2)).toEqual([END_OF_ROUND, CLOSED]);
    }
  });

  it('carries every byte when fed one at a time', () => {
    const { ram, hashes, stream } = sample();
    const destination = new Destination();
    destination.feed(stream, 1);
    for (let page = 0; page < PAGES; page++) {
      const there = destination.ram.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      const sent = hashes[2 * page] !== 0 || hashes[2 * page + 1] !== 0;
      const here = ram.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      expect(Buffer.compare(there, sent ? here : new Uint8Array(PAGE_BYTES).fill(0xaa))).toBe(0);
    }
  });

  it('sends the same bytes whether pages are copied or sent from RAM', () => {
    expect(sample(true).stream).toEqual(sample(false).stream);
  });

  it('that ends anywhere but after its close frame is an error that says where', () => {
    const { stream } = sample();
    for (let end = 0; end < stream.length; end += end < 400 || end > stream.length - 150 ? 1 : 1021) {
      const destination = new Destination();
      destination.feed(stream.subarray(0, end));
      expect(problemOf(() => destination.receiver.ended())).toContain(`at byte ${end}`);
    }
  });

  it('whose head is changed in any single byte is refused', () => {
    const { stream } = sample();
    const header = new DataView(stream.buffer, HELLO_BYTES);
    const heads = HELLO_BYTES + HEADER_BYTES + header.getUint32(pageFrameHeader.offset.bodyBytes, true);
    for (let at = 0; at < heads; at++) {
      for (const flip of [1, 0x80]) {
        const changed = stream.slice();
        changed[at]! ^= flip;
        const destination = new Destination();
        expect(
          problemOf(() => destination.feed(changed)),
          `byte ${at}`,
        ).not.toBe('none');
        expect(destination.untouched, `byte ${at}`).toBe(true);
      }
    }
  });
});

describe('a frame that lies, with all checksums right, is refused before memory is touched:', () => {
  const page = PAGE_BYTES;
  const bodyMax = runsBody(...Array.from({ length: FRAME_RUNS_MAX + 1 }, (_, i) => [2 * i, 1] as const));
  const lies: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['unknown kind', forge({ kind: 9 }), /kind 9 is unknown/],
    ['kind 0', forge({ kind: 0 }), /kind 0 is unknown/],
    ['another version', forge({ kind: FRAME_CLOSE, version: 2 }), /version 2/],
    ['reserved field', forge({ kind: FRAME_CLOSE, reserved: 1 }), /reserved/],
    ['repeated or lost frame', forge({ kind: FRAME_CLOSE, sequence: 1 }), /has number 1/],
    ['a round ahead', forge({ kind: FRAME_ZERO, round: 2 }, runsBody([0, 1])), /belongs to round 2/],
    ['a round behind', forge({ kind: FRAME_ZERO, round: 0 }, runsBody([0, 1])), /belongs to round 0/],
    ['page beyond RAM', forge({ kind: FRAME_ZERO }, runsBody([PAGES, 1])), /reaches page 24/],
    ['run across the end', forge({ kind: FRAME_ZERO }, runsBody([PAGES - 1, 2])), /reaches page 24/],
    ['run that wraps', forge({ kind: FRAME_ZERO }, runsBody([1, 0xffff_ffff])), /may travel/],
    ['empty run', forge({ kind: FRAME_ZERO }, runsBody([1, 0])), /is empty/],
    ['overlapping runs', forge({ kind: FRAME_ZERO }, runsBody([1, 3], [3, 1])), /begins at page 3/],
    ['descending runs', forge({ kind: FRAME_ZERO }, runsBody([5, 1], [1, 1])), /begins at page 1/],
    [
      'zero frame with payload',
      forge({ kind: FRAME_ZERO, payloadBytes: page }, runsBody([1, 1])),
      /a payload of/,
    ],
    ['pages without payload', forge({ kind: FRAME_PAGES }, runsBody([1, 1])), /a payload of 0/],
    [
      'fewer bytes than pages',
      forge({ kind: FRAME_PAGES, payloadBytes: page }, runsBody([1, 2])),
      /lists 2 pages/,
    ],
    [
      'more bytes than pages',
      forge({ kind: FRAME_PAGES, payloadBytes: 3 * page }, runsBody([1, 2])),
      /lists 2 pages/,
    ],
    [
      'part of a page',
      forge({ kind: FRAME_PAGES, payloadBytes: page + 1 }, runsBody([1, 1])),
      /lists 1 pages/,
    ],
    [
      'too large a payload',
      forge({ kind: FRAME_PAGES, payloadBytes: (FRAME_PAGES_MAX + 1) * page }, runsBody([0, 1])),
      /a payload of/,
    ],
    ['too many runs', forge({ kind: FRAME_ZERO }, bodyMax), /a body of/],
    ['no runs', forge({ kind: FRAME_ZERO }), /a body of 0/],
    ['half a run', forge({ kind: FRAME_ZERO }, runsBody([1, 1]).subarray(0, 7)), /a body of 7/],
    ['a huge body', forge({ kind: FRAME_ZERO, bodyBytes: 0xffff_fff8 }), /a body of/],
    ['close with a body', forge({ kind: FRAME_CLOSE }, runsBody([1, 1])), /a body of/],
    ['counts of another size', forge({ kind: FRAME_END_OF_ROUND }, new Uint8Array(8)), /a body of/],
  ];
  it.each(lies)('%s', (_name, bytes, expected) => {
    const destination = new Destination();
    destination.feed(encodeHello(3, TOKEN));
    expect(problemOf(() => destination.feed(bytes))).toMatch(expected);
    expect(destination.untouched).toBe(true);
  });

  it('a count of pages that did not arrive', () => {
    const destination = new Destination();
    destination.feed(encodeHello(3, TOKEN));
    const counts = new Uint8Array(16);
    counts[0] = 1;
    expect(problemOf(() => destination.feed(forge({ kind: FRAME_END_OF_ROUND }, counts)))).toMatch(
      /1 pages, and 0/,
    );
  });

  it('anything after the close frame', () => {
    const destination = new Destination();
    destination.feed(encodeHello(3, TOKEN));
    destination.feed(forge({ kind: FRAME_CLOSE }));
    expect(problemOf(() => destination.feed(Uint8Array.of(0)))).toMatch(/after the close frame/);
  });

  it('every kind of frame has a rule, and no body or payload beyond the bounds', () => {
    for (const rule of frameRules.slice(1)) {
      expect(rule!.bodyBytesMax).toBeLessThanOrEqual(FRAME_RUNS_MAX * pageRun.size);
      expect(rule!.payloadBytesMax).toBeLessThanOrEqual(FRAME_PAGES_MAX * PAGE_BYTES);
    }
  });
});

describe('a sender', () => {
  function sendAll(
    pages: AtomicBitmap,
    channels: number,
    ram: Uint8Array,
    prepare: (board: WorkBoard) => void = () => {},
  ): Uint8Array[] {
    const board = new WorkBoard(channels);
    prepare(board);
    const frame = new FrameBuffer();
    const senders = Array.from(
      { length: channels },
      () =>
        new ChannelSender({
          ram,
          kernels: referenceKernels(ram),
          board,
          migratedPages: pages.length,
          hashSeed: SEED,
          hashes: new HashTable(0),
          copyAll: false,
        }),
    );
    for (const sender of senders) sender.beginRound(1, pages);
    const streams: Uint8Array[][] = senders.map(() => [encodeHello(3, TOKEN)]);
    let busy = senders.map((_, i) => i);
    while (busy.length > 0) {
      busy = busy.filter((i) => {
        if (!senders[i]!.next(frame)) return false;
        streams[i]!.push(bytesOf(frame));
        return true;
      });
    }
    senders.forEach((sender, i) => {
      sender.endRound(frame);
      streams[i]!.push(bytesOf(frame));
    });
    return streams.map(concat);
  }

  it('shares the pages of a round with the others: each marked page travels once, on one channel', () => {
    const random = seededRandom(21);
    const count = 3000;
    const ram = new Uint8Array(count * PAGE_BYTES);
    const pages = new AtomicBitmap(count);
    for (let page = 0; page < count; page++) {
      if (random.chance(0.7)) pages.set(page);
      if (random.chance(0.6)) ram[page * PAGE_BYTES + random.below(PAGE_BYTES)] = 1;
    }
    const marked = new AtomicBitmap(count);
    for (let page = pages.next(0); page >= 0; page = pages.next(page + 1)) marked.set(page);
    const carried = new Array<number>(count).fill(0);
    for (const stream of sendAll(pages, 3, ram)) {
      const destination = new Destination(count);
      destination.feed(stream);
      const end = stream.length;
      expect(destination.receiver.bytesReceived).toBe(end);
      for (let page = 0; page < count; page++) {
        const { words } = destination.hashes;
        if (words[2 * page] !== 0 || words[2 * page + 1] !== 0) carried[page]!++;
      }
    }
    for (let page = 0; page < count; page++) expect(carried[page]).toBe(marked.has(page) ? 1 : 0);
    expect(pages.count()).toBe(0);
  });

  it('sends what is to go first before all else, in frames whose pages ascend, and each page once', () => {
    const random = seededRandom(22);
    const count = 4000;
    const ram = new Uint8Array(count * PAGE_BYTES);
    for (let page = 0; page < count; page++) if (random.chance(0.6)) ram[page * PAGE_BYTES] = 1;
    for (const [word, words] of [
      [0, 1],
      [57, 9],
      [124, 1],
      [30, 95],
    ] as const) {
      const pages = new AtomicBitmap(count);
      pages.fill();
      const carried = new Array<number>(count).fill(0);
      const streams = sendAll(pages, 3, ram, (board) => board.setFirst(word, words));
      let first = 0;
      for (const stream of streams) {
        const order: number[] = [];
        const destination = new Destination(count, (page) => order.push(page));
        destination.feed(stream);
        for (const page of order) carried[page]!++;
        const isFirst = order.map((page) => page >= word * 32 && page < (word + words) * 32);
        // None of the others comes before one of them.
        expect(isFirst.lastIndexOf(true)).toBe(isFirst.filter(Boolean).length - 1);
        first += isFirst.filter(Boolean).length;
      }
      expect(first).toBe(Math.min(words * 32, count - word * 32));
      expect(carried.every((times) => times === 1)).toBe(true);
    }
  });

  it('puts any pattern of empty pages into frames that receivers accept', () => {
    const count = 2048;
    const ram = new Uint8Array(count * PAGE_BYTES);
    for (let page = 0; page < count; page += 2) ram[page * PAGE_BYTES] = 1; // the most runs of each sort there can be
    const pages = new AtomicBitmap(count);
    pages.fill();
    const destination = new Destination(count);
    destination.feed(sendAll(pages, 1, ram)[0]!);
    expect(ramDifferences(destination.ram, ram)).toBe('');
  });
});

describe('a run table', () => {
  it('joins neighbours and keeps gaps', () => {
    const runs = new RunTable();
    for (const page of [3, 4, 5, 9, 11, 12]) runs.add(page);
    expect([...runs.firstPage.subarray(0, runs.length)]).toEqual([3, 9, 11]);
    expect([...runs.pageCount.subarray(0, runs.length)]).toEqual([3, 1, 2]);
    expect(runs.pages).toBe(6);
  });
});

describe('the explanation of a recorded channel', () => {
  it('has a line for the hello and for each frame, whatever pieces it is given', () => {
    const { stream } = sample();
    const whole = new StreamDescriber({ migratedPages: PAGES });
    const lines = [...whole.push(stream), ...whole.end()];
    expect(lines.map((line) => line.trim().split(/\s+/).slice(2).join(' '))).toEqual([
      'hello data channel 3',
      '#0 round 1: 14 pages in 5 runs: 0-9, 11, 15, 17, ... 1 more runs',
      '#1 round 1: 2 zero pages in 2 runs: 13, 20',
      expect.stringMatching(/^#2 end of round 1: 14 pages, 2 zero pages, \d+ bytes$/),
      '#3 close',
    ]);
    const pieces = new StreamDescriber({ migratedPages: PAGES });
    const again: string[] = [];
    for (let at = 0; at < stream.length; at += 777) again.push(...pieces.push(stream.subarray(at, at + 777)));
    expect([...again, ...pieces.end()]).toEqual(lines);
  });

  it('says where a stream is damaged or cut, and stops there', () => {
    const { stream } = sample();
    const damaged = stream.slice();
    damaged[HELLO_BYTES + 9]! ^= 4;
    const describer = new StreamDescriber();
    const lines = [...describer.push(damaged), ...describer.push(damaged), ...describer.end()];
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatch(/^damaged: .*frame 0 at byte 32/);
    const short = new StreamDescriber();
    expect([...short.push(stream.subarray(0, 5000)), ...short.end()].at(-1)).toMatch(
      /ended without a close frame/,
    );
  });

  it('shows no more frames than asked for, and counts the rest', () => {
    const { stream } = sample();
    const describer = new StreamDescriber({ framesMax: 0 });
    expect(describer.push(stream).join('\n')).toMatch(/2 frames not shown/);
  });

  it('recognises a data channel by its first bytes', () => {
    expect(StreamDescriber.recognises(sample().stream)).toBe(true);
    expect(StreamDescriber.recognises(new Uint8Array(32))).toBe(false);
  });

  it('opens no channel for the token of another migration', () => {
    const destination = new Destination();
    const stranger = TOKEN.slice();
    stranger[15]! ^= 1;
    expect(() => destination.feed(encodeHello(3, stranger))).toThrow(/belongs to another migration/);
    destination.receiver.target();
    expect(new Destination().feed(encodeHello(3, TOKEN))).toBeUndefined();
  });

  it('leaves the mark of a page that the guest writes while it is looked at', () => {
    const ram = new Uint8Array(PAGES * PAGE_BYTES).fill(1);
    const pages = new AtomicBitmap(PAGES);
    pages.fill();
    const kernels = referenceKernels(ram);
    const sender = new ChannelSender({
      ram,
      kernels: {
        ...kernels,
        zeroMask(first, candidates) {
          pages.set(7);
          return kernels.zeroMask(first, candidates);
        },
      },
      board: new WorkBoard(1),
      migratedPages: PAGES,
      hashSeed: SEED,
      hashes: new HashTable(0),
      copyAll: false,
    });
    sender.beginRound(1, pages);
    sender.next(new FrameBuffer());
    expect([pages.count(), pages.next(0)]).toEqual([1, 7]);
  });
});
