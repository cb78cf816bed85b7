// IPv4 as a whole.
import { arp_init } from './arp';
import { devinet_init } from './devinet';
import { icmp_init } from './icmp';
import { ipfrag_init } from './ip_fragment';
import { ip_init } from './ip_input';
import { udp_init } from './udp';

/** Boot CPU, once, before there are network devices. What is added last is looked at first: most packets are IP's. */
export function inet_init(): void {
  arp_init();
  devinet_init();
  icmp_init();
  udp_init();
  ipfrag_init();
  ip_init();
}
