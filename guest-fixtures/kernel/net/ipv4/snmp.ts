// Counters of the protocols, by the names of `nstat`. Several CPUs count.

// @ts-ignore: decorator
@unmanaged export class SnmpMib {
  IpInReceives: u32;
  IpInHdrErrors: u32;
  IpInAddrErrors: u32;
  IpInDiscards: u32;
  IpInUnknownProtos: u32;
  /** Sources that no host has: in_martian_src of rt_cache. */
  IpInMartianSrc: u32;
  IpOutNoRoutes: u32;
  IpOutDiscards: u32;
  IpReasmTimeout: u32;
  IpReasmReqds: u32;
  IpReasmOKs: u32;
  IpReasmFails: u32;
  IpFragOKs: u32;
  IpFragFails: u32;
  IpFragCreates: u32;
  IcmpInEchos: u32;
  IcmpOutEchoReps: u32;
  IcmpInErrors: u32;
  IcmpInCsumErrors: u32;
  IcmpOutErrors: u32;
  IcmpOutTimeExcds: u32;
  UdpInDatagrams: u32;
  UdpOutDatagrams: u32;
  UdpNoPorts: u32;
  UdpInErrors: u32;
  UdpInCsumErrors: u32;
}

const mib = changetype<SnmpMib>(memory.data(128, 64));

// @ts-ignore: decorator
@inline export function snmp(): SnmpMib { return mib; }

/** Counts one event; `counter` is offsetof<SnmpMib>('...'). */
// @ts-ignore: decorator
@inline export function SNMP_INC(counter: usize): void { atomic.add<u32>(changetype<usize>(mib) + counter, 1); }
