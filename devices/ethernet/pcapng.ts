/**
 * Packet captures that Wireshark opens: pcapng with one interface per port and nanosecond time stamps. The writer
 * fills a buffer and hands it on when it is full; nothing is allocated per packet.
 * draft-ietf-opsawg-pcapng, 4.1 to 4.3; little-endian, as its byte-order magic says.
 */
import { ascii, layout, u8, u16, u32 } from '../../base/layout.js';
import type { Instant } from '../../base/units.js';

const BLOCK_SECTION = 0x0a0d0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINK_TYPE_ETHERNET = 1;
const OPTION_NAME = 2;
const OPTION_RESOLUTION = 9;
/** Time stamps count 10^-9 s. */
const RESOLUTION_NS = 9;
const NAME_BYTES_MAX = 64;

/** What every block begins with; its length stands again in its last four bytes. */
export const blockHeader = layout('pcapng block', { type: u32(), lengthBytes: u32() });

export const sectionHeader = layout('pcapng section', {
  byteOrder: u32(),
  major: u16(),
  minor: u16(),
  /** -1: not known. */
  sectionBytesLow: u32(),
  sectionBytesHigh: u32(),
});

export const interfaceDescription = layout('pcapng interface', {
  linkType: u16(),
  reserved: u16(),
  snapBytes: u32(),
});

export const enhancedPacket = layout('pcapng packet', {
  interface: u32(),
  timeHigh: u32(),
  timeLow: u32(),
  capturedBytes: u32(),
  originalBytes: u32(),
});

/** `if_tsresol`, with its option header, padding and the end of options behind it. */
const resolutionOption = layout('pcapng if_tsresol', {
  code: u16(),
  lengthBytes: u16(),
  value: u8(),
  padding: u8(),
  padding2: u16(),
  end: u32(),
});

const TRAILER_BYTES = 4;
const BUFFER_BYTES = 256 * 1024;
const padded = (length: number): number => (length + 3) & ~3;

/** The wall clock's time at a clock's zero: seconds since 1970, and nanoseconds. */
export interface Epoch {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export class PcapngWriter {
  readonly #write: (bytes: Uint8Array) => void;
  readonly #epoch: Epoch;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  #used = 0;
  #interfaces = 0;

  /** `write` takes bytes that are valid during the call only. */
  constructor(write: (bytes: Uint8Array) => void, epoch: Epoch) {
    this.#write = write;
    this.#epoch = epoch;
    const at = this.#begin(BLOCK_SECTION, sectionHeader.size);
    sectionHeader.write(this.#view, at, {
      byteOrder: BYTE_ORDER_MAGIC,
      major: 1,
      sectionBytesLow: 0xffff_ffff,
      sectionBytesHigh: 0xffff_ffff,
    });
  }

  /** Declares an Ethernet interface; returns the number that its packets carry. `name` is ASCII, clipped at 64. */
  addInterface(name: string, snapBytes: number): number {
    const text = name.slice(0, NAME_BYTES_MAX);
    const nameOption = layout('pcapng if_name', {
      code: u16(),
      lengthBytes: u16(),
      value: ascii(padded(text.length)),
    });
    const at = this.#begin(
      BLOCK_INTERFACE,
      interfaceDescription.size + nameOption.size + resolutionOption.size,
    );
    interfaceDescription.write(this.#view, at, { linkType: LINK_TYPE_ETHERNET, snapBytes });
    const nameAt = at + interfaceDescription.size;
    nameOption.write(this.#view, nameAt, { code: OPTION_NAME, lengthBytes: text.length, value: text });
    resolutionOption.write(this.#view, nameAt + nameOption.size, {
      code: OPTION_RESOLUTION,
      lengthBytes: 1,
      value: RESOLUTION_NS,
    });
    return this.#interfaces++;
  }

  /** Adds a packet that was seen at `time`. */
  packet(interfaceNumber: number, time: Instant, bytes: Uint8Array, from: number, length: number): void {
    const at = this.#begin(BLOCK_PACKET, enhancedPacket.size + padded(length));
    const view = this.#view;
    const { seconds, nanoseconds } = this.#epoch;
    // Nanoseconds since 1970 need 61 bits. With seconds = upper * 2^16 + lower every product below stays exact.
    const upper = Math.floor(seconds / 0x1_0000) * 1e9;
    const low = (upper % 0x1_0000) * 0x1_0000 + (seconds % 0x1_0000) * 1e9 + nanoseconds + time;
    const high = Math.floor(upper / 0x1_0000) + Math.floor(low / 2 ** 32);
    view.setUint32(at + enhancedPacket.offset.interface, interfaceNumber, true);
    view.setUint32(at + enhancedPacket.offset.timeHigh, high, true);
    view.setUint32(at + enhancedPacket.offset.timeLow, low % 2 ** 32, true);
    view.setUint32(at + enhancedPacket.offset.capturedBytes, length, true);
    view.setUint32(at + enhancedPacket.offset.originalBytes, length, true);
    const data = at + enhancedPacket.size;
    this.#buffer.set(bytes.subarray(from, from + length), data);
    this.#buffer.fill(0, data + length, data + padded(length));
  }

  /** Hands on what is in the buffer. */
  flush(): void {
    if (this.#used > 0) this.#write(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }

  /** Makes room for a block with `bodyBytes` between header and trailer, writes both; returns where the body begins. */
  #begin(type: number, bodyBytes: number): number {
    const lengthBytes = blockHeader.size + bodyBytes + TRAILER_BYTES;
    if (this.#used + lengthBytes > BUFFER_BYTES) this.flush();
    const at = this.#used;
    this.#view.setUint32(at + blockHeader.offset.type, type, true);
    this.#view.setUint32(at + blockHeader.offset.lengthBytes, lengthBytes, true);
    this.#view.setUint32(at + lengthBytes - TRAILER_BYTES, lengthBytes, true);
    this.#used += lengthBytes;
    return at + blockHeader.size;
  }
}
