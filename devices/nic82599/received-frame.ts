/**
 * What the receive path knows of one frame before it is put into rings: its parse, checksum verdicts, packet type and
 * hash. Worked out once, used for every pool that gets a copy. 82599 datasheet, 7.1.2.8, 7.1.6, 7.1.11
 */
import type { RegisterFile } from '../../base/registers.js';
import { crc32c, sumBytes, sumIsValid, sumPseudoHeader } from '../ethernet/checksum.js';
import {
  type FrameBuffer,
  ParsedFrame,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../ethernet/frame.js';
import {
  RSS_IPV4,
  RSS_IPV4_TCP,
  RSS_IPV4_UDP,
  RSS_IPV6,
  RSS_IPV6_TCP,
  RSS_IPV6_UDP,
  RSS_NONE,
  RX_IP_CHECKED,
  RX_IP_ERROR,
  RX_L4_CHECKED,
  RX_L4_ERROR,
  RX_UDP_CHECKED,
  TYPE_IPV4,
  TYPE_IPV4_OPTIONS,
  TYPE_IPV6,
  TYPE_IPV6_EXTENDED,
  TYPE_SCTP,
  TYPE_TCP,
  TYPE_UDP,
} from './descriptors.js';
import { MRQC_POOLS_64_RSS, pfRegisters as reg } from './pf-registers.js';
import { RSS_KEY_BYTES, ToeplitzHash } from './rss.js';

/** RSS as the physical function's driver configured it, for all pools. */
export class RssConfig {
  private readonly words: Uint32Array;
  private readonly toeplitz = new ToeplitzHash();
  private stale = true;

  constructor(registers: RegisterFile<unknown>) {
    this.words = registers.words;
  }

  /** The key was written. */
  invalidate(): void {
    this.stale = true;
  }

  get enabled(): boolean {
    return reg.MRQC.fields.MODE.get(this.words[reg.MRQC.word]!) === MRQC_POOLS_64_RSS;
  }

  /** Hash type of `parsed`, RSS_NONE if it is not hashed. */
  kind(parsed: ParsedFrame): number {
    if (!this.enabled || parsed.ipVersion === 0) return RSS_NONE;
    const control = this.words[reg.MRQC.word]!;
    const { TCP_IPV4, IPV4, IPV6, TCP_IPV6, UDP_IPV4, UDP_IPV6 } = reg.MRQC.fields;
    const four = parsed.ipVersion === 4;
    if (parsed.l4Protocol === PROTOCOL_TCP && (four ? TCP_IPV4 : TCP_IPV6).get(control) === 1) {
      return four ? RSS_IPV4_TCP : RSS_IPV6_TCP;
    }
    if (parsed.l4Protocol === PROTOCOL_UDP && (four ? UDP_IPV4 : UDP_IPV6).get(control) === 1) {
      return four ? RSS_IPV4_UDP : RSS_IPV6_UDP;
    }
    if ((four ? IPV4 : IPV6).get(control) === 1) return four ? RSS_IPV4 : RSS_IPV6;
    return RSS_NONE;
  }

  hash(frame: FrameBuffer, parsed: ParsedFrame, kind: number): number {
    if (this.stale) this.rebuild();
    return this.toeplitz.hash(frame, parsed, kind !== RSS_IPV4 && kind !== RSS_IPV6);
  }

  /** The redirection table's queue for a hash; four entries of eight bits a register, of which a pool uses the lowest. */
  queue(hash: number): number {
    const index = hash & 0x7f;
    return (this.words[reg.RETA.word + (index >>> 2)]! >>> ((index & 3) * 8)) & 1;
  }

  private rebuild(): void {
    this.stale = false;
    const key = new Uint8Array(RSS_KEY_BYTES);
    const view = new DataView(key.buffer);
    for (let i = 0; i < reg.RSSRK.count; i++) view.setUint32(i * 4, this.words[reg.RSSRK.word + i]!, true);
    this.toeplitz.setKey(key);
  }
}

export class ReceivedFrame {
  readonly frame: FrameBuffer;
  readonly parsed = new ParsedFrame();
  /** Came from another pool of this NIC. */
  loopback = false;
  /** Packet type bits of the first write-back dword. */
  packetType = 0;
  /** Checksum verdicts, as bits of the third write-back dword. */
  checks = 0;
  rssKind = RSS_NONE;
  rssHash = 0;
  /** Entry of the redirection table that the hash selects. */
  rssQueue = 0;

  constructor(frame: FrameBuffer) {
    this.frame = frame;
  }

  /** Works out everything about the frame now in the buffer. */
  examine(rss: RssConfig, loopback: boolean): void {
    const { parsed, frame } = this;
    this.loopback = loopback;
    parsed.parse(frame);
    this.packetType = packetTypeOf(parsed);
    this.checks = parsed.ipVersion === 0 ? 0 : this.verify();
    this.rssKind = rss.kind(parsed);
    this.rssHash = this.rssKind === RSS_NONE ? 0 : rss.hash(frame, parsed, this.rssKind);
    this.rssQueue = this.rssKind === RSS_NONE ? 0 : rss.queue(this.rssHash);
  }

  private verify(): number {
    const { parsed, frame } = this;
    let checks = 0;
    if (parsed.ipVersion === 4) {
      const valid = sumIsValid(sumBytes(frame, parsed.ipOffset, parsed.ipHeaderBytes));
      checks |= RX_IP_CHECKED | (valid ? 0 : RX_IP_ERROR);
    }
    const { l4Protocol, l4Offset } = parsed;
    if (l4Protocol === 0) return checks;
    let length = parsed.ipEnd - l4Offset;
    if (l4Protocol === PROTOCOL_SCTP) {
      const valid = frame.u32LittleEndian(l4Offset + 8) === crc32c(frame, l4Offset, length);
      return checks | RX_L4_CHECKED | (valid ? 0 : RX_L4_ERROR);
    }
    if (l4Protocol === PROTOCOL_UDP) {
      // UDP may come without a checksum, over IPv4 always and over IPv6 in tunnels (RFC 8200 8.1, RFC 6935): nothing to judge.
      // Whether it may is for the stack, as for each datagram without a verdict. The part's erratum, by which such frames can
      // be marked as wrong, is not modelled: ixgbevf has no way round it.
      if (frame.u16(l4Offset + 6) === 0) return checks;
      checks |= RX_UDP_CHECKED;
      const udpLength = frame.u16(l4Offset + 4);
      if (udpLength < 8 || udpLength > length) return checks | RX_L4_CHECKED | RX_L4_ERROR;
      length = udpLength;
    }
    const sum = sumPseudoHeader(frame, parsed, length) + sumBytes(frame, l4Offset, length);
    return checks | RX_L4_CHECKED | (sumIsValid(sum) ? 0 : RX_L4_ERROR);
  }
}

function packetTypeOf(parsed: ParsedFrame): number {
  let type = 0;
  if (parsed.ipVersion === 4) type = TYPE_IPV4 | (parsed.ipExtended ? TYPE_IPV4_OPTIONS : 0);
  else if (parsed.ipVersion === 6) type = TYPE_IPV6 | (parsed.ipExtended ? TYPE_IPV6_EXTENDED : 0);
  if (parsed.l4Protocol === PROTOCOL_TCP) return type | TYPE_TCP;
  if (parsed.l4Protocol === PROTOCOL_UDP) return type | TYPE_UDP;
  if (parsed.l4Protocol === PROTOCOL_SCTP) return type | TYPE_SCTP;
  return type;
}
