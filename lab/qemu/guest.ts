/** What the Linux guest is told to do on its own, as shell for its console. */
import { labErrors } from '../errors.js';
import type { Linux } from './linux.js';

export const GUEST_IP = '10.0.0.2';
/** UDP echo: blocks as large as a flow's datagrams, so that two of them never leave as one. */
export const ECHO_BYTES = 64;
const ECHO_PORT = 7;
/** The function, in the slot of the first port. */
export const FUNCTION = '/sys/bus/pci/devices/0000:01:00.0';
/** Ends with 0 if the interface behind the function is at work. */
export const FUNCTION_UP = `[ "$(cat ${FUNCTION}/net/*/operstate)" = up ]`;
/** The interface that a function and its standby are together. */
const MASTER =
  "$(for d in /sys/class/net/*; do d=$(basename $d); ethtool -i $d 2>/dev/null | grep -q '^driver: net_failover' && echo $d; done)";
/** A file in its memory, to be found there unharmed. */
const KEPT_KIB = 4096;
const BOOT_SECONDS = 600;

/**
 * Drivers are loaded, the interface has its address, and the guest answers datagrams. `standby`: the address is that of the interface
 * which the function has together with its standby; else it goes to whatever interface `ixgbevf` makes, now and later.
 */
export async function setUpNetwork(linux: Linux, standby: boolean): Promise<void> {
  // An interface that comes up tells the network where it is.
  await linux.sh('for of in all default; do echo 1 >/proc/sys/net/ipv4/conf/$of/arp_notify; done');
  await linux.sh('modprobe ixgbevf; modprobe virtio_net');
  if (standby) {
    await linux.until(`[ -n "${MASTER}" ]`, BOOT_SECONDS);
    await linux.sh(`m=${MASTER}; ip link set $m up; ip addr add ${GUEST_IP}/24 dev $m`);
  } else {
    await linux.sh(`${MANAGE}; (manage; ip monitor link | while read -r line; do manage; done) ${ASIDE}`);
  }
  await linux.until(FUNCTION_UP, BOOT_SECONDS);
  await linux.sh(
    `(while :; do socat -b ${ECHO_BYTES} UDP4-LISTEN:${ECHO_PORT} PIPE; sleep 0.1; done) ${ASIDE}`,
  );
}

const ASIDE = '</dev/null >/dev/null 2>&1 &';
/** A network manager of one rule. */
const MANAGE =
  'manage() { for d in /sys/class/net/*; do ' +
  '[ "$(basename "$(readlink $d/device/driver)")" = ixgbevf ] || continue; ' +
  `i=$(basename $d); ip -4 addr show dev $i | grep -q ' ${GUEST_IP}/' && continue; ` +
  `ip link set $i up; ip addr add ${GUEST_IP}/24 dev $i; done; }`;

/** What of the guest has to be as it was where it went. */
export interface GuestSigns {
  /** Seconds since it booted, by itself. */
  readonly uptimeSeconds: number;
  /** SHA-256 of the file in its memory. */
  readonly sum: string;
}

/** Makes the file. */
export async function fillMemory(linux: Linux): Promise<void> {
  await linux.sh(`dd if=/dev/urandom of=kept bs=1k count=${KEPT_KIB} 2>/dev/null`);
}

/** Rejects with `lab/guest-failed` where the guest answers something else. */
export async function signsOf(linux: Linux): Promise<GuestSigns> {
  const line = 'cut -d" " -f1 /proc/uptime; sha256sum <kept';
  const output = await linux.sh(line);
  const [, uptime, sum] = /^(\d+\.\d+)\n([0-9a-f]{64})\b/.exec(output) ?? [];
  if (uptime === undefined || sum === undefined)
    throw labErrors.error('guest-failed', { line, status: 0, output });
  return { uptimeSeconds: Number(uptime), sum };
}
