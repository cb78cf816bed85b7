/** Frames that tests put on the guest's wire, and what they find there and on its console. */
import { buildIcmp, finishIcmp } from '../../devices/ethernet/datagram.js';
import { FrameBuffer } from '../../devices/ethernet/frame.js';
import { L4_AT } from '../../devices/ethernet/protocols.js';
import { GUEST_IP, GUEST_MAC, type NicMachine, PEER_IP, PEER_MAC } from './nic-machine.js';

/** An echo request of the peer. `ip` is where it goes, `mac` who gets it, `from` who seems to have sent it. */
export function ping(
  sequence: number,
  data: Uint8Array,
  ip = GUEST_IP,
  mac = GUEST_MAC,
  from = PEER_IP,
): Uint8Array {
  const frame = new FrameBuffer();
  const messageBytes = 8 + data.length;
  const to = { mac: Uint8Array.from(mac), ip };
  buildIcmp(frame, { mac: PEER_MAC, ip: from }, to, messageBytes);
  frame.bytes.set([8, 0, 0, 0, 0x12, 0x34, sequence >> 8, sequence & 0xff], L4_AT);
  frame.bytes.set(data, L4_AT + 8);
  finishIcmp(frame, messageBytes);
  return frame.bytes.slice(0, frame.length);
}

/** Echo replies that the guest sent. */
export const pongs = (net: NicMachine): Uint8Array[] =>
  net.fromGuest.filter(
    (frame) => frame[12] === 8 && frame[13] === 0 && frame[23] === 1 && frame[L4_AT] === 0,
  );

/** Numbers of the last line that matches, in order. */
export const numbers = (net: NicMachine, pattern: RegExp): number[] =>
  (net.machine.printed(pattern).at(-1) ?? '').match(/\d+/g)?.map(Number) ?? [];

/** What a test says of an IPv4 packet; the rest is as the peer would send it to the guest. */
export interface IpPacket {
  readonly payload: Uint8Array;
  readonly protocol?: number;
  readonly id?: number;
  /** In bytes, and whether more follows. */
  readonly offset?: number;
  readonly more?: boolean;
  readonly from?: number;
  readonly to?: number;
  /** Where the link sends it. */
  readonly mac?: Uint8Array | readonly number[];
}

const IP_HEADER = 20;

/** The internet checksum over `bytes` (RFC 1071), written down again so that it judges the guest's. */
export function internetChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum >>> 16) + (sum & 0xffff);
  return ~sum & 0xffff;
}

export function ipFrame(packet: IpPacket): Uint8Array {
  const { payload, protocol = 1, id = 1, offset = 0, more = false } = packet;
  const frame = new Uint8Array(Math.max(60, 14 + IP_HEADER + payload.length));
  const view = new DataView(frame.buffer);
  frame.set(packet.mac ?? GUEST_MAC, 0);
  frame.set(PEER_MAC, 6);
  view.setUint16(12, 0x0800);
  view.setUint16(14, 0x4500);
  view.setUint16(16, IP_HEADER + payload.length);
  view.setUint16(18, id);
  view.setUint16(20, (more ? 0x2000 : 0) | (offset >> 3));
  view.setUint16(22, (64 << 8) | protocol);
  view.setUint32(26, packet.from ?? PEER_IP);
  view.setUint32(30, packet.to ?? GUEST_IP);
  view.setUint16(24, internetChecksum(frame.subarray(14, 34)));
  frame.set(payload, 34);
  return frame;
}

/** An echo request with `bytes` bytes of data that its number tells, as the payload of an IP packet. */
export function echoMessage(sequence: number, bytes: number): Uint8Array {
  const message = new Uint8Array(8 + bytes);
  message.set([8, 0, 0, 0, 0x12, 0x34, sequence >> 8, sequence & 0xff]);
  for (let at = 8; at < message.length; at++) message[at] = at * 7 + sequence;
  new DataView(message.buffer).setUint16(2, internetChecksum(message));
  return message;
}

/** Splits a payload into fragments at the given offsets, multiples of 8. */
export function fragments(
  payload: Uint8Array,
  cuts: readonly number[],
  id: number,
  protocol = 1,
): Uint8Array[] {
  const starts = [0, ...cuts];
  return starts.map((offset, i) => {
    const end = starts[i + 1] ?? payload.length;
    return ipFrame({
      payload: payload.subarray(offset, end),
      protocol,
      id,
      offset,
      more: end !== payload.length,
    });
  });
}

/** Payloads of the IPv4 packets with `protocol` that the guest sent, put together from their fragments by id. */
export function received(net: NicMachine, protocol: number): Uint8Array[] {
  const whole: Uint8Array[] = [];
  const parts = new Map<number, { offset: number; more: boolean; bytes: Uint8Array }[]>();
  for (const frame of net.fromGuest) {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    if (view.getUint16(12) !== 0x0800 || frame[23] !== protocol) continue;
    const bytes = frame.subarray(34, 14 + view.getUint16(16));
    const field = view.getUint16(20);
    const more = (field & 0x2000) !== 0;
    const offset = (field & 0x1fff) << 3;
    if (!more && offset === 0) {
      whole.push(bytes);
      continue;
    }
    const id = view.getUint16(18);
    const known = parts.get(id) ?? [];
    parts.set(id, known);
    known.push({ offset, more, bytes });
    if (more) continue;
    const datagram = new Uint8Array(offset + bytes.length);
    for (const part of known) datagram.set(part.bytes, part.offset);
    whole.push(datagram);
  }
  return whole;
}
