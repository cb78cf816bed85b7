// Formatting, as lib/vsprintf.c: %d %u %x %X %c %s %% with the flags `0` and `-` and a width. Arguments are 64-bit words;
// %s takes the address of a string literal (`str("...")`), %S raw bytes up to a NUL, %pM the address of a MAC address,
// %pI4 that of an IPv4 address.
import { str_at, str_length } from './string';


/** Appends one byte at `at` unless the buffer is full; returns the new position. */
// @ts-ignore: decorator
@inline function put(at: usize, end: usize, byte: u32): usize {
  if (at >= end) return at;
  store<u8>(at, <u8>byte);
  return at + 1;
}

function put_repeated(at: usize, end: usize, byte: u32, count: i32): usize {
  for (let i = count; i > 0; i--) at = put(at, end, byte);
  return at;
}

function digits_of(value: u64, base: u64): i32 {
  let count = 1;
  for (let rest = value / base; rest != 0; rest /= base) count++;
  return count;
}

function put_number(
  at: usize, end: usize, value: u64, base: u32, upper: bool, negative: bool, width: i32, zero: bool, left: bool,
): usize {
  const digits = digits_of(value, base);
  const padding = width - digits - <i32>negative;
  if (!left && !zero) at = put_repeated(at, end, 0x20, padding);
  if (negative) at = put(at, end, 0x2d);
  if (!left && zero) at = put_repeated(at, end, 0x30, padding);
  let divisor: u64 = 1;
  for (let i = 1; i < digits; i++) divisor *= base;
  for (; divisor != 0; divisor /= base) {
    const digit = <u32>((value / divisor) % base);
    at = put(at, end, digit < 10 ? 0x30 + digit : (upper ? 0x41 : 0x61) + digit - 10);
  }
  if (left) at = put_repeated(at, end, 0x20, padding);
  return at;
}

function bytes_length(bytes: usize, limit: u32): u32 {
  let length: u32 = 0;
  while (length < limit && load<u8>(bytes + length) != 0) length++;
  return length;
}

/** `count` bytes at `bytes` as a MAC (two hexadecimal digits each) or IPv4 address (decimal). */
function put_address(at: usize, end: usize, bytes: usize, count: u32, base: u32, separator: u32): usize {
  for (let i: u32 = 0; i < count; i++) {
    if (i != 0) at = put(at, end, separator);
    at = put_number(at, end, load<u8>(bytes + i), base, false, false, base == 16 ? 2 : 0, true, false);
  }
  return at;
}

/** Writes `format` with its arguments to at most `size` bytes at `buffer`, without a NUL; returns the bytes written. */
export function scnprintf(
  buffer: usize, size: u32, format: string,
  a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0,
): u32 {
  const text = changetype<usize>(format);
  const length = str_length(text);
  const end = buffer + size;
  let at = buffer;
  let argument: u32 = 0;
  for (let i: u32 = 0; i < length; i++) {
    let char = str_at(text, i);
    if (char != 0x25) {
      at = put(at, end, char);
      continue;
    }
    let zero = false;
    let left = false;
    let width = 0;
    char = str_at(text, ++i);
    for (; char == 0x30 || char == 0x2d; char = str_at(text, ++i)) {
      if (char == 0x30) zero = true;
      else left = true;
    }
    for (; char >= 0x30 && char <= 0x39; char = str_at(text, ++i)) width = width * 10 + <i32>(char - 0x30);
    if (char == 0x25) {
      at = put(at, end, char);
      continue;
    }
    let value = a;
    if (argument == 1) value = b;
    else if (argument == 2) value = c;
    else if (argument == 3) value = d;
    else if (argument == 4) value = e;
    else if (argument == 5) value = f;
    argument++;
    if (char == 0x64) { // d
      const negative = <i64>value < 0;
      at = put_number(at, end, negative ? 0 - value : value, 10, false, negative, width, zero, left);
    } else if (char == 0x75) { // u
      at = put_number(at, end, value, 10, false, false, width, zero, left);
    } else if (char == 0x78 || char == 0x58) { // x, X
      at = put_number(at, end, value, 16, char == 0x58, false, width, zero, left);
    } else if (char == 0x63) { // c
      at = put(at, end, <u32>value);
    } else if (char == 0x73) { // s
      const count = str_length(<usize>value);
      if (!left) at = put_repeated(at, end, 0x20, width - <i32>count);
      for (let j: u32 = 0; j < count; j++) at = put(at, end, str_at(<usize>value, j));
      if (left) at = put_repeated(at, end, 0x20, width - <i32>count);
    } else if (char == 0x53) { // S
      const count = bytes_length(<usize>value, <u32>(end - at));
      for (let j: u32 = 0; j < count; j++) at = put(at, end, load<u8>(<usize>value + j));
    } else if (char == 0x70) { // p
      char = str_at(text, ++i);
      if (char == 0x4d) { // M
        at = put_address(at, end, <usize>value, 6, 16, 0x3a);
      } else { // I4
        i++;
        at = put_address(at, end, <usize>value, 4, 10, 0x2e);
      }
    }
  }
  return <u32>(at - buffer);
}
