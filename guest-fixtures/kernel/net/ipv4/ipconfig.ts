// Addresses from the command line: `ip=`, with a mask of 24 bits.
import { param_ipv4 } from '../../kernel/params';
import { pr_err, pr_info } from '../../kernel/printk';
import { NetDevice, dev_open, netdev_at, netdev_count } from '../core/dev';

/** 10.0.0.2 and 10.0.0.1, as they lie in memory. */
const DEFAULT_IP: u32 = 0x0200_000a;
const DEFAULT_PEER: u32 = 0x0100_000a;
/** 255.255.255.0 */
const NETMASK: u32 = 0x00ff_ffff;

const peer = memory.data(4, 4);

/** The address of the station that workloads talk to, as it lies in memory. */
export function peer_address(): u32 {
  return load<u32>(peer);
}

/** Gives the first device an address and starts it. */
export function ip_auto_config(): void {
  store<u32>(peer, param_ipv4('peer', DEFAULT_PEER));
  if (netdev_count() == 0) return;
  const dev = netdev_at(0);
  dev.ip = param_ipv4('ip', DEFAULT_IP);
  dev.netmask = NETMASK;
  if (!dev_open(dev)) {
    pr_err('IP-Config: Failed to open %S', dev.name);
    return;
  }
  pr_info('IP-Config: Complete:');
  pr_info(
    '     device=%S, hwaddr=%pM, ipaddr=%pI4, peer=%pI4', dev.name, dev.dev_addr,
    changetype<usize>(dev) + offsetof<NetDevice>('ip'), peer,
  );
}
