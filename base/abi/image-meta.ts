/**
 * The META section of an image: an `ImageMeta` as JSON, ASCII only (other characters as \u escapes), so that reading it
 * takes nothing but the language.
 */

import { GUEST_DATA_BASE, IMAGE_META_BYTES_MAX, type ImageMeta, type RegisterInfo } from './image.js';
import { malformed } from './image-errors.js';
import { RAM_BYTES_MAX } from './platform.js';

const NAME_CHARS_MAX = 1024;
const REGISTERS_MAX = 4096;
const FUNCTIONS_MAX = 65536;
const REGISTER_TYPES: readonly unknown[] = ['i32', 'i64', 'f32', 'f64'];

export function encodeImageMeta(meta: ImageMeta): Uint8Array {
  const json = JSON.stringify(meta).replace(
    /[^ -~]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return Uint8Array.from(json, (char) => char.charCodeAt(0));
}

/** Checks every field, and that this is their one encoding; throws `image/malformed`. */
export function parseImageMeta(bytes: Uint8Array): ImageMeta {
  const bad = (problem: string): Error => malformed('META', problem);
  if (bytes.length > IMAGE_META_BYTES_MAX) throw bad(`${bytes.length} bytes are too many`);
  const json = parseJson(bytes);
  if (typeof json !== 'object' || json === null) throw bad('is not a JSON object');
  const { name, registers, dataEnd, smp, functionNames } = json as Record<string, unknown>;

  if (!isName(name)) throw bad('name is missing or too long');
  if (typeof smp !== 'boolean') throw bad('smp is not true or false');
  if (
    typeof dataEnd !== 'number' ||
    !Number.isInteger(dataEnd) ||
    dataEnd < GUEST_DATA_BASE ||
    dataEnd > RAM_BYTES_MAX
  ) {
    throw bad('dataEnd is not an address in RAM');
  }
  if (!Array.isArray(registers) || registers.length > REGISTERS_MAX || !registers.every(isRegister)) {
    throw bad('registers are not a list of names and types');
  }
  if (new Set(registers.map((register) => register.name)).size !== registers.length) {
    throw bad('two registers have the same name');
  }
  if (!Array.isArray(functionNames) || functionNames.length > FUNCTIONS_MAX || !functionNames.every(isName)) {
    throw bad('functionNames is not a list of names');
  }
  const plain = registers.map(({ name, type }: RegisterInfo) => ({ name, type }));
  const meta = { name, registers: plain, dataEnd, smp, functionNames };
  if (!sameBytes(encodeImageMeta(meta), bytes)) throw bad('is not written as `encodeImageMeta` writes it');
  return meta;
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

function parseJson(bytes: Uint8Array): unknown {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 8192) {
    const part = bytes.subarray(at, at + 8192);
    if (part.some((byte) => byte > 0x7e)) throw malformed('META', 'is not ASCII');
    parts.push(String.fromCharCode(...part));
  }
  try {
    return JSON.parse(parts.join(''));
  } catch (cause) {
    throw malformed('META', `is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

const isName = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= NAME_CHARS_MAX;

function isRegister(value: unknown): value is RegisterInfo {
  if (typeof value !== 'object' || value === null) return false;
  const { name, type } = value as Record<string, unknown>;
  return isName(name) && REGISTER_TYPES.includes(type);
}
