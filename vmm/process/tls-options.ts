/** What the parameters of a migration say about TLS, for either side. What TLS needs is loaded where it is wanted. */
import type { MigrationParameters } from '../../migration/parameters.js';
import { formatSocketAddress, type SocketAddress } from '../sockets/address.js';
import type { Credentials } from '../tls/credentials.js';
import type { TurnedAway } from './ports.js';
import type { TlsDoor } from './tls-door.js';

/**
 * Credentials to go to `target` with, and the name that is expected there; undefined without TLS, of which only addresses of
 * this host are, unless `insecure`. Throws a FerryError `tls/...`.
 */
export async function clientOf(
  target: SocketAddress,
  { values: { tlsCreds, tlsHostname } }: MigrationParameters,
  insecure: boolean,
): Promise<{ readonly credentials: Credentials; readonly name: string } | undefined> {
  if (tlsCreds === '') {
    await mustBeLocal(target, insecure);
    return undefined;
  }
  const name = tlsHostname || (target.kind === 'tcp' ? target.host : '');
  if (name === '') {
    const { tlsErrors } = await import('../tls/errors.js');
    throw tlsErrors.error('no-name', { address: formatSocketAddress(target) });
  }
  const { loadCredentials } = await import('../tls/credentials.js');
  return { credentials: loadCredentials(tlsCreds, 'client'), name };
}

/** The door for who comes to `address`; undefined without TLS, as above. Throws a FerryError `tls/...`. */
export async function tlsDoorOf(
  address: SocketAddress,
  { values: { tlsCreds, tlsAuthz: authz } }: MigrationParameters,
  insecure: boolean,
  turnedAway: TurnedAway,
): Promise<TlsDoor | undefined> {
  if (tlsCreds === '') {
    await mustBeLocal(address, insecure);
    return undefined;
  }
  const [{ loadCredentials }, { TlsDoor }] = await Promise.all([
    import('../tls/credentials.js'),
    import('./tls-door.js'),
  ]);
  return new TlsDoor({ credentials: loadCredentials(tlsCreds, 'server'), authz, turnedAway });
}

async function mustBeLocal(address: SocketAddress, insecure: boolean): Promise<void> {
  if (insecure) return;
  const { isLocal } = await import('../sockets/loopback.js');
  if (await isLocal(address)) return;
  const { tlsErrors } = await import('../tls/errors.js');
  throw tlsErrors.error('insecure', { address: formatSocketAddress(address) });
}
