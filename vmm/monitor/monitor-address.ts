/**
 * The value of `--monitor`: a socket address, with the options that QEMU's `-qmp` takes behind commas.
 */
import { vmmErrors } from '../errors.js';
import { parseSocketAddress, type SocketAddress } from '../sockets/address.js';

export interface MonitorAddress {
  readonly address: SocketAddress;
  /** The guest starts only when the first client has connected (`wait=on`). */
  readonly wait: boolean;
}

/** A comma that is none of a pair. */
const SINGLE_COMMA = /(?<=(?:^|[^,])(?:,,)*),(?!,)/;

/**
 * `unix:PATH`, `tcp:HOST:PORT`, each with `,server=on` and `,wait=on|off`; a comma in a path is written twice, as for QEMU.
 * Throws `vmm/bad-address`.
 */
export function parseMonitorAddress(text: string): MonitorAddress {
  const [bare, ...options] = text.split(SINGLE_COMMA).map((part) => part.replaceAll(',,', ','));
  const bad = (why: string): Error => vmmErrors.error('bad-address', { address: text.slice(0, 255), why });
  let wait = false;
  for (const option of options) {
    switch (option) {
      case 'server':
      case 'server=on':
        break;
      case 'wait=on':
        wait = true;
        break;
      case 'wait=off':
      case 'nowait':
        wait = false;
        break;
      case 'server=off':
        throw bad('a monitor listens; it connects to nobody (server=on)');
      default:
        throw bad(`'${option.slice(0, 40)}' is no option of a monitor (server=on, wait=on, wait=off)`);
    }
  }
  return { address: parseSocketAddress(bare), wait };
}
