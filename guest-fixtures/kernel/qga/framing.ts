// Requests out of a stream of bytes: JSON objects, in whatever pieces they come. A byte FF, which no JSON has, ends whatever
// came before it; what is no JSON is passed over to the end of its line.

/** Longest request. */
export const REQUEST_MAX: u32 = 4096;

// What there is after another byte.
export const FRAME_NONE: u32 = 0;
/** A value from bracket to bracket; what is between is still to be judged. */
export const FRAME_WHOLE: u32 = 1;
/** The end of one that was longer than REQUEST_MAX. */
export const FRAME_TOO_LONG: u32 = 2;
/** Something that is no JSON. */
export const FRAME_STRAY: u32 = 3;

const STATE_BETWEEN: u32 = 0;
const STATE_VALUE: u32 = 1;
const STATE_STRAY: u32 = 2;

const RESET_BYTE: u32 = 0xff;
const NEWLINE: u32 = 0x0a;

// @ts-ignore: decorator
@unmanaged export class Framing {
  /** REQUEST_MAX bytes. */
  text: usize;
  /** Of the value so far; more than REQUEST_MAX if it is too long. */
  length: u32;
  state: u32;
  /** Brackets that are open. */
  depth: u32;
  in_string: u32;
  /** The last byte was a backslash in a string. */
  escaped: u32;
}

function begin_value(framing: Framing): void {
  framing.state = STATE_VALUE;
  framing.length = 0;
  framing.depth = 0;
  framing.in_string = 0;
  framing.escaped = 0;
}

/** Outside strings brackets count; returns whether the last one has closed. */
function count_bracket(framing: Framing, byte: u32): bool {
  if (framing.in_string != 0) {
    if (framing.escaped != 0) framing.escaped = 0;
    else if (byte == 0x5c) framing.escaped = 1;
    else if (byte == 0x22) framing.in_string = 0;
    return false;
  }
  if (byte == 0x22) framing.in_string = 1;
  else if (byte == 0x7b || byte == 0x5b) framing.depth++;
  else if (byte == 0x7d || byte == 0x5d) return --framing.depth == 0;
  return false;
}

function stray(framing: Framing, byte: u32): u32 {
  if (byte != NEWLINE) return FRAME_NONE;
  framing.state = STATE_BETWEEN;
  return FRAME_STRAY;
}

/** Takes the next byte of the stream; returns FRAME_*. */
export function framing_take(framing: Framing, byte: u32): u32 {
  if (byte == RESET_BYTE) {
    framing.state = STATE_BETWEEN;
    return FRAME_NONE;
  }
  if (framing.state == STATE_STRAY) return stray(framing, byte);
  if (framing.state == STATE_BETWEEN) {
    if (byte == 0x20 || byte == 0x09 || byte == NEWLINE || byte == 0x0d) return FRAME_NONE;
    if (byte == 0x7b || byte == 0x5b) begin_value(framing);
    else {
      framing.state = STATE_STRAY;
      return FRAME_NONE;
    }
  }
  // No string goes over the end of a line: this one was never finished.
  if (byte < 0x20 && framing.in_string != 0) {
    framing.state = STATE_STRAY;
    return stray(framing, byte);
  }
  if (framing.length < REQUEST_MAX) store<u8>(framing.text + framing.length, <u8>byte);
  framing.length = min<u32>(framing.length + 1, REQUEST_MAX + 1);
  if (!count_bracket(framing, byte)) return FRAME_NONE;
  framing.state = STATE_BETWEEN;
  return framing.length > REQUEST_MAX ? FRAME_TOO_LONG : FRAME_WHOLE;
}
