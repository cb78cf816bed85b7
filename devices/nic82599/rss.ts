/** Receive-side scaling: the Toeplitz hash over addresses and ports, by table. 82599 datasheet, 7.1.2.8 */
import type { FrameBuffer, ParsedFrame } from '../ethernet/frame.js';

export const RSS_KEY_BYTES = 40;
/** Two IPv6 addresses and two ports are the longest input. */
const INPUT_BYTES_MAX = 36;

export class ToeplitzHash {
  /** For each input byte and value: the exclusive-or of the key windows that its bits select. */
  private readonly table = new Int32Array(INPUT_BYTES_MAX * 256);

  /** Sets the key, 40 bytes. */
  setKey(key: Uint8Array): void {
    for (let at = 0; at < INPUT_BYTES_MAX; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const window = keyWindow(key, at * 8 + bit);
        const step = 0x80 >>> bit;
        for (let value = 0; value < 256; value++) {
          const index = at * 256 + value;
          if (bit === 0) this.table[index] = 0;
          if ((value & step) !== 0) this.table[index]! ^= window;
        }
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

/** The 32 key bits from bit `position` on. */
function keyWindow(key: Uint8Array, position: number): number {
  let window = 0;
  for (let bit = 0; bit < 32; bit++) {
    const at = position + bit;
    const value = (key[at >>> 3]! >>> (7 - (at & 7))) & 1;
    window = (window << 1) | value;
  }
  return window;
}
