// JSON as it lies in memory (RFC 8259): nothing is built of it and nothing allocated. `json_skip` says whether a text is well
// formed; whatever else is here walks over a text of which it has said so.
import { str_at, str_length } from '../lib/string';

/** Values may be nested so deep. */
export const JSON_DEPTH_MAX: u32 = 32;
/** Longest name of a member that is looked at; nothing here is called so long. */
const NAME_MAX: u32 = 64;

const QUOTE: u32 = 0x22;
const BACKSLASH: u32 = 0x5c;

const name_buffer = memory.data(64, 8);

/** Members of an object, one after the other. */
// @ts-ignore: decorator
@unmanaged export class JsonMembers {
  at: usize;
  end: usize;
  /** Of the member at hand: its name's first quote, its value. */
  name: usize;
  value: usize;
}

// @ts-ignore: decorator
@inline function is_digit(char: u32): bool { return char - 0x30 < 10; }

// @ts-ignore: decorator
@inline function char_at(at: usize, end: usize): u32 { return at < end ? <u32>load<u8>(at) : 0; }

function hex_digit(char: u32): i32 {
  if (is_digit(char)) return <i32>char - 0x30;
  const lower = char | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? <i32>lower - 0x57 : -1;
}

/** Where the next that is no blank lies. */
export function json_blanks(at: usize, end: usize): usize {
  while (at < end) {
    const char: u32 = load<u8>(at);
    if (char != 0x20 && char != 0x09 && char != 0x0a && char != 0x0d) break;
    at++;
  }
  return at;
}

function skip_string(at: usize, end: usize): usize {
  for (at++; at < end; at++) {
    const char: u32 = load<u8>(at);
    if (char == QUOTE) return at + 1;
    if (char < 0x20) return 0;
    if (char != BACKSLASH) continue;
    const escaped = char_at(++at, end);
    if (escaped == 0x75) { // u
      for (let i = 0; i < 4; i++) if (hex_digit(char_at(++at, end)) < 0) return 0;
    } else if (
      escaped != QUOTE && escaped != BACKSLASH && escaped != 0x2f && escaped != 0x62 && escaped != 0x66 &&
      escaped != 0x6e && escaped != 0x72 && escaped != 0x74
    ) return 0;
  }
  return 0;
}

function skip_digits(at: usize, end: usize): usize {
  if (!is_digit(char_at(at, end))) return 0;
  while (is_digit(char_at(at, end))) at++;
  return at;
}

function skip_number(at: usize, end: usize): usize {
  if (char_at(at, end) == 0x2d) at++;
  // Nothing comes behind a leading zero.
  at = char_at(at, end) == 0x30 ? at + 1 : skip_digits(at, end);
  if (at != 0 && char_at(at, end) == 0x2e) at = skip_digits(at + 1, end);
  if (at != 0 && (char_at(at, end) | 0x20) == 0x65) {
    at++;
    if (char_at(at, end) == 0x2b || char_at(at, end) == 0x2d) at++;
    at = skip_digits(at, end);
  }
  return at;
}

function skip_literal(at: usize, end: usize, literal: string): usize {
  const text = changetype<usize>(literal);
  for (let i: u32 = 0; i < str_length(text); i++) if (char_at(at + i, end) != str_at(text, i)) return 0;
  return at + str_length(text);
}

/** An object or an array, whose first bracket lies at `at`. */
function skip_nested(at: usize, end: usize, depth: u32): usize {
  const is_object = load<u8>(at) == 0x7b;
  const close: u32 = is_object ? 0x7d : 0x5d;
  if (depth == JSON_DEPTH_MAX) return 0;
  at = json_blanks(at + 1, end);
  if (char_at(at, end) == close) return at + 1;
  let char: u32 = 0x2c;
  while (char == 0x2c) {
    at = json_blanks(at, end);
    if (is_object) {
      if (char_at(at, end) != QUOTE) return 0;
      at = skip_string(at, end);
      if (at == 0) return 0;
      at = json_blanks(at, end);
      if (char_at(at, end) != 0x3a) return 0;
      at++;
    }
    at = json_skip(at, end, depth + 1);
    if (at == 0) return 0;
    at = json_blanks(at, end);
    char = char_at(at, end);
    at++;
  }
  return char == close ? at : 0;
}

/** Where the value that begins at `at`, after blanks, ends; 0 if there is none, or one that is nested too deep. */
export function json_skip(at: usize, end: usize, depth: u32 = 0): usize {
  at = json_blanks(at, end);
  const char = char_at(at, end);
  if (char == QUOTE) return skip_string(at, end);
  if (char == 0x7b || char == 0x5b) return skip_nested(at, end, depth);
  if (char == 0x74) return skip_literal(at, end, 'true');
  if (char == 0x66) return skip_literal(at, end, 'false');
  if (char == 0x6e) return skip_literal(at, end, 'null');
  return skip_number(at, end);
}

/** Begins with the members of the object at `at`, a value that json_skip has found well formed. */
export function json_members(members: JsonMembers, at: usize, end: usize): void {
  members.at = json_blanks(at, end) + 1;
  members.end = end;
}

/** Goes to the next member; false behind the last. */
export function json_next(members: JsonMembers): bool {
  const end = members.end;
  let at = json_blanks(members.at, end);
  if (char_at(at, end) == 0x2c) at = json_blanks(at + 1, end);
  if (char_at(at, end) != QUOTE) return false;
  members.name = at;
  at = json_blanks(skip_string(at, end), end) + 1;
  members.value = json_blanks(at, end);
  members.at = json_skip(members.value, end);
  return true;
}

function put_utf8(at: usize, limit: usize, code: u32): usize {
  if (code < 0x80) {
    if (at < limit) store<u8>(at, <u8>code);
    return at + 1;
  }
  if (at + 3 > limit) return limit + 1;
  if (code < 0x800) {
    store<u8>(at, <u8>(0xc0 | (code >> 6)));
    store<u8>(at + 1, <u8>(0x80 | (code & 0x3f)));
    return at + 2;
  }
  // Half of a surrogate pair is shown as such: no name and no value that is known has one.
  store<u8>(at, <u8>(0xe0 | (code >> 12)));
  store<u8>(at + 1, <u8>(0x80 | ((code >> 6) & 0x3f)));
  store<u8>(at + 2, <u8>(0x80 | (code & 0x3f)));
  return at + 3;
}

/** Writes what the string at `at` says to `buffer`; returns its length, or -1 for what is no string or longer than `size`. */
export function json_string(at: usize, end: usize, buffer: usize, size: u32): i32 {
  if (char_at(at, end) != QUOTE) return -1;
  const limit = buffer + size;
  let to = buffer;
  for (at++; load<u8>(at) != <u8>QUOTE; at++) {
    let code: u32 = load<u8>(at);
    if (code != BACKSLASH) {
      if (to < limit) store<u8>(to, <u8>code);
      to++;
    } else {
      code = load<u8>(++at);
      if (code == 0x75) { // u
        code = 0;
        for (let i = 0; i < 4; i++) code = (code << 4) | <u32>hex_digit(load<u8>(++at));
      } else if (code == 0x62) code = 0x08;
      else if (code == 0x66) code = 0x0c;
      else if (code == 0x6e) code = 0x0a;
      else if (code == 0x72) code = 0x0d;
      else if (code == 0x74) code = 0x09;
      to = put_utf8(to, limit, code);
    }
    if (to > limit) return -1;
  }
  return <i32>(to - buffer);
}

/** Whether the member at hand has this name, however that is written. */
export function json_is_named(members: JsonMembers, name: string): bool {
  const text = changetype<usize>(name);
  const length = json_string(members.name, members.end, name_buffer, NAME_MAX);
  if (length != <i32>str_length(text)) return false;
  for (let i: u32 = 0; i < <u32>length; i++) if (<u32>load<u8>(name_buffer + i) != str_at(text, i)) return false;
  return true;
}

/** Whether the value at `at` is a whole number that 64 bits hold. */
export function json_is_integer(at: usize, end: usize): bool {
  const after = skip_number(at, end);
  if (after == 0) return false;
  const digits = <u32>(after - at) - <u32>(load<u8>(at) == 0x2d);
  for (let i = at + 1; i < after; i++) if (!is_digit(load<u8>(i))) return false;
  return digits <= 18;
}

/** The number at `at`, of which json_is_integer is true. */
export function json_integer(at: usize, end: usize): i64 {
  const negative = load<u8>(at) == 0x2d;
  let value: i64 = 0;
  for (let i = at + <usize>negative; i < end && is_digit(load<u8>(i)); i++) value = value * 10 + (load<u8>(i) - 0x30);
  return negative ? -value : value;
}
