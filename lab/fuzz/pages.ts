/**
 * A data channel: hello, page frames, ends of rounds, as a destination's page worker takes them. Guest RAM has a guard behind
 * the pages that may travel, and a model of the format says which pages a stream announced: nothing else may change.
 */
import { crc32 } from '../../base/crc32.js';
import { isFerryError } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { HashTable } from '../../migration/hash-table.js';
import { ChannelReceiver, CLOSED } from '../../migration/pages/channel-receiver.js';
import { encodeHello } from '../../migration/pages/hello.js';
import {
  CHANNEL_VERSION,
  channelHello,
  FRAME_CLOSE,
  FRAME_END_OF_ROUND,
  FRAME_MAGIC,
  FRAME_PAGES,
  FRAME_ZERO,
  pageFrameHeader,
  pageRun,
  roundCounts,
} from '../../migration/pages/layouts.js';
import { referenceKernels } from '../../migration/pages/page-kernels.js';
import { type PageSink, RamSink } from '../../migration/pages/page-sink.js';
import { cut, type FuzzTarget, type Outcome } from './engine.js';
import { edgeWord, joined, mutateBytes } from './mutate.js';

const MIGRATED_PAGES = 24;
const GUARD_PAGES = 8;
const RAM_BYTES = (MIGRATED_PAGES + GUARD_PAGES) * PAGE_BYTES;
const TOKEN = new Uint8Array(16).fill(0x5a);
const UNTOUCHED = new Uint8Array(PAGE_BYTES).fill(0x11);

interface Sent {
  sequence: number;
  round: number;
  pages: number;
  zeroPages: number;
  bytes: number;
}

/** Runs in order, most of them where runs may be. */
function runs(random: SeededRandom): [first: number, count: number][] {
  const list: [number, number][] = [];
  let page = random.below(4);
  while (page < MIGRATED_PAGES && list.length < 6) {
    const count = 1 + random.below(random.chance(0.1) ? 12 : 2);
    if (page + count > MIGRATED_PAGES) break;
    list.push([page, count]);
    page += count + random.below(4);
  }
  if (list.length === 0) list.push([0, 1]);
  if (random.chance(0.06)) random.pick(list)[random.below(2)] = edgeWord(random);
  if (random.chance(0.03)) random.pick(list)[0] = MIGRATED_PAGES - random.below(2);
  if (random.chance(0.03)) list.push(random.pick(list));
  return list;
}

function body(kind: number, random: SeededRandom, sent: Sent): { bytes: Uint8Array; pages: number } {
  if (kind === FRAME_CLOSE) return { bytes: new Uint8Array(0), pages: 0 };
  if (kind === FRAME_END_OF_ROUND) {
    const { pages, zeroPages, bytes } = sent;
    return { bytes: roundCounts.encode({ pages: pages >>> 0, zeroPages: zeroPages >>> 0, bytes }), pages: 0 };
  }
  const list = runs(random);
  const bytes = new Uint8Array(list.length * pageRun.size);
  list.forEach(([firstPage, pageCount], i) => {
    pageRun.write(new DataView(bytes.buffer), i * pageRun.size, { firstPage, pageCount });
  });
  return { bytes, pages: list.reduce((sum, [, count]) => sum + count, 0) };
}

function frame(kind: number, random: SeededRandom, sent: Sent): Uint8Array {
  const { bytes, pages } = body(kind, random, sent);
  const carried = kind === FRAME_PAGES ? Math.min(pages, 64) * PAGE_BYTES : 0;
  const content = random.chance(0.05) ? mutateBytes(bytes, random) : bytes;
  const fields = {
    magic: FRAME_MAGIC,
    version: CHANNEL_VERSION,
    kind,
    sequence: sent.sequence,
    round: sent.round,
    bodyBytes: content.length,
    payloadBytes: carried,
    bodyCrc: crc32(content),
  };
  if (random.chance(0.05)) {
    const field = random.pick([
      'sequence',
      'round',
      'bodyBytes',
      'payloadBytes',
      'bodyCrc',
      'magic',
    ] as const);
    fields[field] = edgeWord(random);
  }
  if (random.chance(0.02)) fields.kind = random.below(8);
  if (random.chance(0.01)) fields.version = random.below(4);
  const out = new Uint8Array(pageFrameHeader.size + content.length + carried);
  const view = new DataView(out.buffer);
  pageFrameHeader.write(view, 0, fields);
  view.setUint32(pageFrameHeader.offset.headerCrc, crc32(out, 0, pageFrameHeader.offset.headerCrc), true);
  out.set(content, pageFrameHeader.size);
  out.fill(1 + random.below(255), pageFrameHeader.size + content.length);
  sent.sequence++;
  if (kind === FRAME_PAGES) sent.pages += pages;
  if (kind === FRAME_ZERO) sent.zeroPages += pages;
  sent.bytes += out.length;
  if (kind === FRAME_END_OF_ROUND)
    Object.assign(sent, { round: sent.round + 1, pages: 0, zeroPages: 0, bytes: 0 });
  return out;
}

/** Pages that the frames of `input` announce, up to the first place where no frame can be. */
function announced(input: Uint8Array): Set<number> {
  const pages = new Set<number>();
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  let at: number = channelHello.size;
  while (at + pageFrameHeader.size <= input.length) {
    const { magic, kind, bodyBytes, payloadBytes } = pageFrameHeader.read(view, at);
    const bodyAt = at + pageFrameHeader.size;
    if (magic !== FRAME_MAGIC || bodyAt + bodyBytes > input.length) break;
    if (kind === FRAME_PAGES || kind === FRAME_ZERO) {
      for (let i = 0; i + pageRun.size <= bodyBytes; i += pageRun.size) {
        const { firstPage, pageCount } = pageRun.read(view, bodyAt + i);
        for (let n = 0; n < Math.min(pageCount, MIGRATED_PAGES); n++) pages.add(firstPage + n);
      }
    }
    at = bodyAt + bodyBytes + payloadBytes;
  }
  return pages;
}

/** Where the channel came to, and what it was refused for. */
function receive(pieces: readonly Uint8Array[], sink: PageSink): string {
  const setup = { channel: 0, token: () => TOKEN, migratedPages: MIGRATED_PAGES, sink };
  const receiver = new ChannelReceiver(setup);
  let closed = false;
  try {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; ) {
        const target = receiver.target();
        const count = Math.min(target.length, piece.length - at);
        target.set(piece.subarray(at, at + count));
        at += count;
        closed ||= receiver.filled(count) === CLOSED;
      }
    }
    receiver.ended();
  } catch (error) {
    if (!isFerryError(error) || !error.code.startsWith('pages/')) throw error;
    return `${error.message}, ${receiver.bytesReceived} bytes in`;
  }
  return closed ? 'closed' : 'open';
}

/** `around` lets a test break the way to guest RAM on purpose. */
export function pagesTarget(
  around: (sink: PageSink, ram: Uint8Array) => PageSink = (sink) => sink,
): FuzzTarget {
  const ram = new Uint8Array(RAM_BYTES);
  const other = new Uint8Array(RAM_BYTES);
  const sinkOf = (memory: Uint8Array): PageSink => {
    memory.fill(UNTOUCHED[0]!);
    return around(new RamSink(memory, referenceKernels(memory), 0, new HashTable(0)), memory);
  };
  return {
    name: 'pages',
    make(random) {
      const sent: Sent = { sequence: 0, round: 1, pages: 0, zeroPages: 0, bytes: 0 };
      const frames = [
        encodeHello(random.chance(0.02) ? 1 : 0, random.chance(0.02) ? new Uint8Array(16) : TOKEN),
      ];
      for (let count = random.below(5); count > 0; count--) {
        frames.push(
          frame(random.pick([FRAME_PAGES, FRAME_PAGES, FRAME_ZERO, FRAME_END_OF_ROUND]), random, sent),
        );
      }
      if (random.chance(0.7)) frames.push(frame(FRAME_CLOSE, random, sent));
      const bytes = joined(frames);
      return random.chance(0.08) ? mutateBytes(bytes, random) : bytes;
    },
    run(input): Outcome {
      const whole = receive([input], sinkOf(ram));
      const pieces = receive(cut(input), sinkOf(other));
      if (whole !== pieces)
        return { problem: `ended with "${whole}" in one piece and with "${pieces}" in several` };
      const allowed = announced(input);
      for (const memory of [ram, other]) {
        for (let page = 0; page * PAGE_BYTES < RAM_BYTES; page++) {
          if (page < MIGRATED_PAGES && allowed.has(page)) continue;
          const bytes = memory.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
          if (Buffer.compare(bytes, UNTOUCHED) !== 0) {
            return {
              problem: `wrote to page ${page}, of which ${MIGRATED_PAGES} may travel and which none announced`,
            };
          }
        }
      }
      return whole === 'closed' ? 'accepted' : 'refused';
    },
  };
}
