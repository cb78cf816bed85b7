/** Frames for tests, with checksums worked out independently of the device: byte by byte, big-endian. */
export type Mac = readonly [number, number, number, number, number, number];

export const BROADCAST: Mac = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
export const PEER: Mac = [0x02, 0, 0, 0, 0, 0x99];
export const vfMac = (n: number): Mac => [0x52, 0x54, 0, 0, 0, n + 1];

/** Types of frames, as options of `ethernet`. */
export const IPV4 = { type: 0x0800 };
export const IPV6 = { type: 0x86dd };

export function ethernet(
  to: readonly number[],
  from: readonly number[],
  payload: Uint8Array,
  options: { type?: number; tag?: number } = {},
): Uint8Array {
  const type = options.type ?? 0x88b5;
  const tag = options.tag === undefined ? [] : [0x81, 0x00, options.tag >>> 8, options.tag & 0xff];
  const head = [...to, ...from, ...tag, type >>> 8, type & 0xff];
  const frame = new Uint8Array(head.length + payload.length);
  frame.set(head);
  frame.set(payload, head.length);
  return frame;
}

export const bytesOf = (count: number, seed = 0): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => (i * 7 + seed) & 0xff);

export function internetChecksum(data: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += (data[i]! << 8) + (data[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const u16 = (value: number): number[] => [(value >>> 8) & 0xff, value & 0xff];
const concat = (...parts: (Uint8Array | readonly number[])[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => [...part]));

export const SOURCE_IP = [10, 0, 0, 1];
export const TARGET_IP = [10, 0, 0, 2];

/** The pseudo-header's one's complement sum, not complemented: what a driver leaves for the device to complete. */
export function pseudoSum(protocol: number, length: number, source = SOURCE_IP, target = TARGET_IP): number {
  const wide = source.length === 16;
  const data = wide
    ? concat(source, target, [0, 0], u16(length), [0, 0, 0, protocol])
    : concat(source, target, [0, protocol], u16(length));
  return ~internetChecksum(data) & 0xffff;
}

export interface Ipv4Options {
  readonly id?: number;
  readonly fragment?: number;
  readonly checksum?: number;
}

export function ipv4(protocol: number, payload: Uint8Array, options: Ipv4Options = {}): Uint8Array {
  const header = concat(
    [0x45, 0],
    u16(20 + payload.length),
    u16(options.id ?? 1),
    u16(options.fragment ?? 0),
    [64, protocol, 0, 0],
    SOURCE_IP,
    TARGET_IP,
  );
  header.set(u16(options.checksum ?? internetChecksum(header)), 10);
  return concat(header, payload);
}

export const SOURCE_IP6 = Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : i === 0 ? 0xfd : 0));
export const TARGET_IP6 = Array.from({ length: 16 }, (_, i) => (i === 15 ? 2 : i === 0 ? 0xfd : 0));

export function ipv6(next: number, payload: Uint8Array): Uint8Array {
  return concat([0x60, 0, 0, 0], u16(payload.length), [next, 64], SOURCE_IP6, TARGET_IP6, payload);
}

/** UDP with its checksum right, or as given. */
export function udp(payload: Uint8Array, options: { checksum?: number; wide?: boolean } = {}): Uint8Array {
  const length = 8 + payload.length;
  const segment = concat(u16(1000), u16(2000), u16(length), [0, 0], payload);
  segment.set(u16(options.checksum ?? l4Checksum(17, segment, options.wide === true)), 6);
  return segment;
}

export function tcp(
  payload: Uint8Array,
  options: { checksum?: number; sequence?: number; flags?: number; wide?: boolean } = {},
): Uint8Array {
  const sequence = options.sequence ?? 1;
  const segment = concat(
    u16(1000),
    u16(2000),
    [sequence >>> 24, (sequence >>> 16) & 0xff, (sequence >>> 8) & 0xff, sequence & 0xff],
    [0, 0, 0, 5],
    [0x50, options.flags ?? 0x10],
    u16(1024),
    [0, 0, 0, 0],
    payload,
  );
  segment.set(u16(options.checksum ?? l4Checksum(6, segment, options.wide === true)), 16);
  return segment;
}

export function l4Checksum(protocol: number, segment: Uint8Array, wide: boolean): number {
  const pseudo = wide
    ? concat(SOURCE_IP6, TARGET_IP6, [0, 0], u16(segment.length), [0, 0, 0, protocol])
    : concat(SOURCE_IP, TARGET_IP, [0, protocol], u16(segment.length));
  const value = internetChecksum(concat(pseudo, segment));
  return protocol === 17 && value === 0 ? 0xffff : value;
}
