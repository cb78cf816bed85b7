// Flows of numbered datagrams whose every byte is known: the payload of one carries its flow, its number and the time it
// left, and a pattern that only this datagram has. The format is the traffic peer's (devices/ethernet/flow-payload).
import { get_be32, put_be32 } from '../../lib/byteorder';
import { ktime_get } from '../../kernel/time';
import { alloc_pages } from '../../mm/page_alloc';

/** "FLOW" */
const FLOW_MAGIC: u32 = 0x464c_4f57;
const AT_MAGIC: u32 = 0;
const AT_FLOW: u32 = 4;
const AT_SEQUENCE: u32 = 8;
const AT_CHECKSUM: u32 = 12;
const AT_SENT: u32 = 16;
/** The header, and the shortest payload. */
export const FLOW_HEADER: u32 = 24;

/** Steps of the pattern's Weyl sequence. */
const WEYL: u32 = 0x9e37_79b9;

// @ts-ignore: decorator
@inline function seed_of(flow: u32, sequence: u32): u32 {
  return ((flow ^ 0x9e37_79b9) * 0x85eb_ca6b) ^ ((sequence + 1) * 0xc2b2_ae35);
}

// @ts-ignore: decorator
@inline function word_of(state: u32): u32 {
  return (state ^ (state >> 15)) * 0x2c1b_3c6d;
}

/** Two words of the pattern as they lie in memory. */
// @ts-ignore: decorator
@inline function pair_of(state: u32): u64 {
  return <u64>word_of(state) | (<u64>word_of(state + WEYL) << 32);
}

// @ts-ignore: decorator
@inline function mix(sum: u32, word: u32): u32 {
  const m = (sum ^ word) * 0x0100_0193;
  return m ^ (m >> 15);
}

/** Over the header and the payload's length, which together say all of the pattern. */
function header_sum(at: usize, length: u32): u32 {
  let sum = mix(0x811c_9dc5, get_be32(at + AT_MAGIC));
  sum = mix(sum, get_be32(at + AT_FLOW));
  sum = mix(sum, get_be32(at + AT_SEQUENCE));
  sum = mix(sum, get_be32(at + AT_SENT));
  sum = mix(sum, get_be32(at + AT_SENT + 4));
  return mix(sum, length);
}

/** Writes a payload of `length` bytes at `at`. */
export function flow_write(at: usize, length: u32, flow: u32, sequence: u32, now: u64): void {
  put_be32(FLOW_MAGIC, at + AT_MAGIC);
  put_be32(flow, at + AT_FLOW);
  put_be32(sequence, at + AT_SEQUENCE);
  put_be32(<u32>(now >> 32), at + AT_SENT);
  put_be32(<u32>now, at + AT_SENT + 4);
  put_be32(header_sum(at, length), at + AT_CHECKSUM);
  let state = seed_of(flow, sequence);
  const end = at + length;
  let i = at + FLOW_HEADER;
  // Several words a turn: each turn of a loop is a safepoint.
  for (; i + 32 <= end; i += 32) {
    store<u64>(i, pair_of(state));
    store<u64>(i + 8, pair_of(state + 2 * WEYL));
    store<u64>(i + 16, pair_of(state + 4 * WEYL));
    store<u64>(i + 24, pair_of(state + 6 * WEYL));
    state += 8 * WEYL;
  }
  for (; i < end; i++) {
    store<u8>(i, <u8>word_of(state));
    state += WEYL;
  }
}

/** Whether not one byte of the payload is wrong. */
function flow_is_intact(at: usize, length: u32): bool {
  if (length < FLOW_HEADER || get_be32(at + AT_MAGIC) != FLOW_MAGIC) return false;
  if (get_be32(at + AT_CHECKSUM) != header_sum(at, length)) return false;
  let state = seed_of(get_be32(at + AT_FLOW), get_be32(at + AT_SEQUENCE));
  let wrong: u64 = 0;
  const end = at + length;
  let i = at + FLOW_HEADER;
  for (; i + 32 <= end; i += 32) {
    wrong |= load<u64>(i) ^ pair_of(state);
    wrong |= load<u64>(i + 8) ^ pair_of(state + 2 * WEYL);
    wrong |= load<u64>(i + 16) ^ pair_of(state + 4 * WEYL);
    wrong |= load<u64>(i + 24) ^ pair_of(state + 6 * WEYL);
    state += 8 * WEYL;
  }
  for (; i < end; i++) {
    wrong |= <u32>load<u8>(i) ^ (word_of(state) & 0xff);
    state += WEYL;
  }
  return wrong == 0;
}

/** Numbers behind the newest for which it is known whether they came; as bits, one page. */
const WINDOW: u32 = 32768;

/** The receiving end of one flow. */
// @ts-ignore: decorator
@unmanaged export class FlowReceiver {
  /** WINDOW bits. */
  seen: usize;
  /** The number after the highest seen. */
  next: u32;
  received: u32;
  duplicated: u32;
  reordered: u32;
  corrupt: u32;
  last: u64;
  longest_gap: u64;
}

/** False without memory. */
export function flow_receiver_init(receiver: FlowReceiver): bool {
  receiver.seen = alloc_pages(0);
  if (receiver.seen != 0) memory.fill(receiver.seen, 0, WINDOW >> 3);
  return receiver.seen != 0;
}

// @ts-ignore: decorator
@inline function seen_byte(receiver: FlowReceiver, sequence: u32): usize {
  return receiver.seen + ((sequence & (WINDOW - 1)) >> 3);
}

function is_seen(receiver: FlowReceiver, sequence: u32): bool {
  return (load<u8>(seen_byte(receiver, sequence)) & (1 << (sequence & 7))) != 0;
}

function set_seen(receiver: FlowReceiver, sequence: u32, seen: bool): void {
  const at = seen_byte(receiver, sequence);
  const bit: u32 = 1 << (sequence & 7);
  const byte: u32 = load<u8>(at);
  store<u8>(at, <u8>(seen ? byte | bit : byte & ~bit));
}

/** Judges a datagram. */
export function flow_receive(receiver: FlowReceiver, at: usize, length: u32): void {
  if (!flow_is_intact(at, length)) {
    receiver.corrupt++;
    return;
  }
  const sequence = get_be32(at + AT_SEQUENCE);
  if (sequence >= receiver.next) {
    if (sequence - receiver.next >= WINDOW) memory.fill(receiver.seen, 0, WINDOW >> 3);
    else {
      for (let i = receiver.next; i <= sequence; i++) set_seen(receiver, i, false);
    }
    receiver.next = sequence + 1;
  } else if (receiver.next - sequence > WINDOW || is_seen(receiver, sequence)) {
    receiver.duplicated++;
    return;
  } else {
    receiver.reordered++;
  }
  set_seen(receiver, sequence, true);
  receiver.received++;
  const now = ktime_get();
  if (receiver.last != 0) receiver.longest_gap = max<u64>(receiver.longest_gap, now - receiver.last);
  receiver.last = now;
}

/** Numbers below the newest that did not come intact. */
export function flow_lost(receiver: FlowReceiver): u32 {
  return receiver.next - receiver.received;
}
