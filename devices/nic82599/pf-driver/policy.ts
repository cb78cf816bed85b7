/** What the host's administrator decides for a VF, and what a VF may have under it. */
import { formatMac } from '../../ethernet/addresses.js';
import { QUEUES_PER_POOL } from '../registers.js';
import { type MacAddress, sameMac } from './filters.js';
import { XCAST_BROADCAST, XCAST_MULTICAST } from './messages.js';

export interface VfPolicy {
  /** Fixed address; without one the guest is told to choose its own. */
  readonly mac?: MacAddress;
  /** May change a fixed address and receive what is not addressed to it. */
  readonly trusted: boolean;
  /** All its traffic belongs to this VLAN, which it doesn't see. */
  readonly portVlan?: number;
  /** Sends only from addresses and in VLANs that are its own. */
  readonly spoofCheck: boolean;
  /** May read the redirection table and key of RSS. */
  readonly rssQuery: boolean;
  readonly linkEnabled: boolean;
  /** Queue pairs that it is told of. */
  readonly queues: number;
}

export const DEFAULT_POLICY: VfPolicy = {
  trusted: false,
  spoofCheck: true,
  rssQuery: false,
  linkEnabled: true,
  queues: QUEUES_PER_POOL,
};

export const mayUseMac = ({ mac: fixed, trusted }: VfPolicy, mac: MacAddress): boolean =>
  fixed === undefined || trusted || sameMac(fixed, mac);

/** Whether it may receive for addresses beside its own. */
export const mayUseMacvlans = ({ mac: fixed, trusted }: VfPolicy): boolean => fixed === undefined || trusted;

export const mayJoinVlans = ({ portVlan }: VfPolicy): boolean => portVlan === undefined;

/** Whether it may receive in xcast mode `mode`. */
export const mayReceive = ({ trusted }: VfPolicy, mode: number): boolean =>
  trusted || mode <= XCAST_MULTICAST || mode === XCAST_BROADCAST;

/** What a VF was granted of what a policy may deny. */
export interface Granted {
  readonly mac: MacAddress | undefined;
  readonly macvlans: readonly MacAddress[];
  readonly vlans: ReadonlySet<number>;
  readonly xcast: number;
}

/** What a VF has from another host that `policy` would not have granted it, in words; undefined if nothing. */
export function beyondPolicy(info: Granted, policy: VfPolicy): string | undefined {
  const written = (mac: MacAddress): string => formatMac(Uint8Array.from(mac));
  if (info.mac !== undefined && !mayUseMac(policy, info.mac)) {
    return `its address is ${written(info.mac)} there, and the policy here fixes ${written(policy.mac!)}`;
  }
  const [first] = info.macvlans;
  if (first !== undefined && !mayUseMacvlans(policy)) {
    return `it also receives for ${written(first)} there, and here it is not trusted to`;
  }
  if (info.vlans.size > 0 && !mayJoinVlans(policy)) {
    return `it is in VLAN ${[...info.vlans].join(' and ')} there, and the policy here fixes VLAN ${policy.portVlan}`;
  }
  if (!mayReceive(policy, info.xcast)) {
    return 'it receives all multicasts there, and here it is not trusted to';
  }
  return undefined;
}
