// Protocols above IPv4.
import { NetDevice } from '../core/dev';
import { SkBuff } from '../skbuff';

export const IPPROTO_ICMP: u32 = 1;
export const IPPROTO_UDP: u32 = 17;

// @ts-ignore: decorator
@unmanaged export class NetProtocol {
  /** Gets each packet, starting at its transport header, and frees it; null if nobody takes the protocol. */
  handler: ((skb: SkBuff, dev: NetDevice) => void) | null;
}

/** 256 NetProtocol. */
const inet_protos = memory.data(256 * 4, 16);

// @ts-ignore: decorator
@inline export function inet_protocol(protocol: u32): NetProtocol {
  return changetype<NetProtocol>(inet_protos + (protocol << 2));
}

/** Boot CPU: packets of `protocol` go to `handler`. */
export function inet_add_protocol(handler: (skb: SkBuff, dev: NetDevice) => void, protocol: u32): void {
  inet_protocol(protocol).handler = handler;
}
