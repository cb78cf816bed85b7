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
