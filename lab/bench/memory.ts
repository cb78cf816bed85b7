/** Memory that stands for guest RAM. */
import { randomBytes } from 'node:crypto';
import { MIB, PAGE_BYTES } from '../../base/units.js';

export function makeMemory(bytes: number): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: bytes / 65536, maximum: 65536, shared: true });
}

/** Random bytes without a zero, no two pages alike. */
export function fillRandom(memory: WebAssembly.Memory): void {
  const ram = Buffer.from(memory.buffer);
  const block = randomBytes(MIB).map((byte) => byte || 1);
  for (let at = 0; at < ram.length; at += block.length) ram.set(block.subarray(0, ram.length - at), at);
  for (let page = 0; page < ram.length / PAGE_BYTES; page++) {
    ram.writeUInt32LE(((page << 1) | 0x80000001) >>> 0, page * PAGE_BYTES + 4 * (page % 1000));
  }
}
