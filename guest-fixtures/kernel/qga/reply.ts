// A reply as it is put together, in memory of a fixed size: one that does not fit is none.
import { scnprintf } from '../lib/vsprintf';

export const REPLY_MAX: u32 = 16384;

// @ts-ignore: decorator
@unmanaged export class Reply {
  /** Of REPLY_MAX bytes. */
  text: usize;
  length: u32;
}

/** Appends what scnprintf makes of it. */
export function reply_put(
  reply: Reply, format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0,
): void {
  reply.length += scnprintf(reply.text + reply.length, REPLY_MAX - reply.length, format, a, b, c, d, e, f);
}

/** Appends raw bytes. */
export function reply_bytes(reply: Reply, bytes: usize, length: u32): void {
  const count = min<u32>(length, REPLY_MAX - reply.length);
  memory.copy(reply.text + reply.length, bytes, count);
  reply.length += count;
}

/** Appends raw bytes as they may stand in a string: what is no printable ASCII is shown as a question mark. */
export function reply_escaped(reply: Reply, bytes: usize, length: u32): void {
  for (let i: u32 = 0; i < length; i++) {
    const char: u32 = load<u8>(bytes + i);
    if (char == 0x22 || char == 0x5c) reply_put(reply, '\\');
    reply_put(reply, '%c', char - 0x20 < 0x5f ? char : 0x3f);
  }
}

/** Whether all that was appended is there. */
// @ts-ignore: decorator
@inline export function reply_is_whole(reply: Reply): bool { return reply.length < REPLY_MAX; }
