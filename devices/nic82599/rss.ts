/** Receive-side scaling: the Toeplitz hash over addresses and ports, by table. 82599 datasheet, 7.1.2.8 */
import type { FrameBuffer, ParsedFrame } from '../ethernet/frame.js';

export const RSS_KEY_BYTES = 40;
/** Two IPv6 addresses and two ports are the longest input. */
const INPUT_BYTES_MAX = 36;

export class ToeplitzHash {
  /** For each input byte and value: the exclusive-or of the key windows that its bits select. */
  private readonly table = new Int32Array(INPUT_BYTES_MAX * 256);

  /**
   * Sets the key, 40 bytes. The first frame after a device was loaded waits for it: a value's entry is that of the value
   * without its highest bit, and one window.
   */
  setKey(key: Uint8Array): void {
    const { table } = this;
    for (let at = 0; at < INPUT_BYTES_MAX; at++) {
      const first = at * 256;
      table[first] = 0;
      for (let step = 1; step < 256; step *= 2) {
        const window = keyWindow(key, at, Math.clz32(step) - 24);
        for (let below = 0; below < step; below++)
          table[first + step + below] = table[first + below]! ^ window;
      }
    }
  }

  /** Hash of addresses, and of ports if `withPorts`, of a frame that was parsed as IP. */
  hash(frame: FrameBuffer, parsed: ParsedFrame, withPorts: boolean): number {
    const [start, bytes] = parsed.ipVersion === 4 ? IPV4_ADDRESSES : IPV6_ADDRESSES;
    let result = this.mix(frame.bytes, parsed.ipOffset + start, bytes, 0);
    if (withPorts) result ^= this.mix(frame.bytes, parsed.l4Offset, PORT_BYTES, bytes);
    return result >>> 0;
  }

  private mix(bytes: Uint8Array, from: number, count: number, position: number): number {
    let result = 0;
    for (let i = 0; i < count; i++) result ^= this.table[(position + i) * 256 + bytes[from + i]!]!;
    return result;
  }
}

const IPV4_ADDRESSES = [12, 8] as const;
const IPV6_ADDRESSES = [8, 32] as const;
const PORT_BYTES = 4;

/** The 32 key bits from bit `bit` (0 to 7, 0 the highest) of byte `at` on. */
function keyWindow(key: Uint8Array, at: number, bit: number): number {
  const word = (key[at]! << 24) | (key[at + 1]! << 16) | (key[at + 2]! << 8) | key[at + 3]!;
  return (word << bit) | (key[at + 4]! >>> (8 - bit));
}
