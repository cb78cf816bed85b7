/**
 * TLS 1.3 on a connection that stands, with both certificates judged, and what ties several connections to one migration.
 *
 * The control link's two ends derive a secret that is never sent (RFC 8446, 7.5, exporters). Each data channel is a TLS
 * connection of its own with an exporter value of its own, and its first words prove both: an HMAC by the secret over role,
 * channel, the migration's token and that value. A stranger with a valid certificate knows no secret, and whoever relays has two
 * connections with two values.
 */
import { createHmac, timingSafeEqual, X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import {
  type CommonConnectionOptions,
  checkServerIdentity,
  connect,
  createServer,
  type PeerCertificate,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import type { FerryError } from '../../base/errors.js';
import { reasonOf } from '../sockets/listening.js';
import { type Credentials, subjectOf } from './credentials.js';
import { tlsErrors, type Whose } from './errors.js';

const LABEL = 'EXPORTER-vf-ferry';
const SECRET_BYTES = 32;

/** What the data channels of a migration need of its control link; plain data, for threads. */
export interface TlsBinding {
  readonly credentials: Credentials;
  /** Hex. */
  readonly secret: string;
  /** Of the peer's certificate on the control link: no other is taken on a data channel. */
  readonly fingerprint: string;
}

const common = ({ ca, cert, key, crl }: Credentials): SecureContextOptions & CommonConnectionOptions => ({
  ca,
  cert,
  key,
  ...(crl === undefined ? {} : { crl }),
  minVersion: 'TLSv1.3',
  // Judged here, in words; nothing is said or taken before.
  rejectUnauthorized: false,
});

/** Hears once how a handshake ended. */
export interface Handshake {
  /** Both ends have shown what they have; `error`: what is wrong with the peer's certificate, if something is. */
  readonly secure: (socket: TLSSocket, error: FerryError | undefined) => void;
  readonly failed: (reason: string) => void;
}

/** Begins TLS on `raw`, which stands. `name`: what the server's certificate must be for, undefined for any. */
export function beginTls(
  raw: Socket,
  credentials: Credentials,
  name: string | undefined,
  heard: Handshake,
): void {
  let over = false;
  const end = (what: () => void): void => {
    if (over) return;
    over = true;
    what();
  };
  const fail = (error: Error): void => end(() => heard.failed(handshakeReason(error)));
  raw.on('error', fail);
  raw.once('close', () => fail(new Error('the other side closed the connection')));
  if (credentials.role === 'client') {
    const socket = connect({
      ...common(credentials),
      socket: raw,
      ...(name === undefined || isIP(name) !== 0 ? {} : { servername: name }),
      checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
        name === undefined ? undefined : checkServerIdentity(name, certificate),
    });
    socket.once('error', fail);
    socket.once('secureConnect', () =>
      end(() => heard.secure(socket, judgePeer(socket, 'destination', name ?? ''))),
    );
    return;
  }
  // A server that never listens: whether a client's certificate is good is asked by servers alone.
  const server = createServer({ ...common(credentials), requestCert: true });
  server.once('tlsClientError', fail);
  server.once('secureConnection', (socket) =>
    end(() => heard.secure(socket, judgePeer(socket, 'source', ''))),
  );
  server.emit('connection', raw);
}

function handshakeReason(error: Error): string {
  const { code, reason } = error as { readonly code?: string; readonly reason?: string };
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG')
    return 'the other side does not speak TLS';
  return reason ?? reasonOf(error);
}

/** What the peer has shown; undefined if nothing. Node gives its own object of this kind only once. */
export function certificateOf(socket: TLSSocket): X509Certificate | undefined {
  const { raw } = socket.getPeerCertificate() as { readonly raw?: Buffer };
  return raw && new X509Certificate(raw);
}

/** What is wrong with who is at the other end; undefined if nothing is. */
function judgePeer(socket: TLSSocket, whose: Whose, name: string): FerryError | undefined {
  const certificate = certificateOf(socket);
  if (certificate === undefined) return tlsErrors.error('no-certificate', { whose });
  const code = codeOf(socket);
  const subject = subjectOf(certificate);
  switch (code) {
    case undefined:
      return undefined;
    case 'CERT_HAS_EXPIRED':
      return tlsErrors.error('expired', { whose, subject, until: certificate.validTo });
    case 'CERT_NOT_YET_VALID':
      return tlsErrors.error('not-yet-valid', { whose, subject, from: certificate.validFrom });
    case 'CERT_REVOKED':
      return tlsErrors.error('revoked', { whose, subject });
    case 'INVALID_PURPOSE': {
      const purpose = `it is not for TLS ${whose === 'source' ? 'client' : 'server'} authentication`;
      return tlsErrors.error('wrong-purpose', { whose, subject, purpose });
    }
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return tlsErrors.error('wrong-name', { name, names: certificate.subjectAltName ?? subject });
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'CERT_SIGNATURE_FAILURE':
      return tlsErrors.error('unknown-ca', { whose, subject });
    default:
      return tlsErrors.error('rejected', { whose, subject, reason: code });
  }
}

function codeOf(socket: TLSSocket): string | undefined {
  const said = socket.authorizationError as unknown;
  if (socket.authorized || !said) return undefined;
  return said instanceof Error ? said.message : String(said);
}

/** Of a control link whose peer was judged. */
export function bindingOf(socket: TLSSocket, credentials: Credentials): TlsBinding {
  return {
    credentials,
    secret: exported(socket).toString('hex'),
    fingerprint: certificateOf(socket)?.fingerprint256 ?? '',
  };
}

/** Whether the other end of this connection has the certificate that the control link's has. */
export function isBoundPeer(socket: TLSSocket, { fingerprint }: TlsBinding): boolean {
  const [is, should] = [certificateOf(socket)?.fingerprint256 ?? '', fingerprint].map((text) =>
    Buffer.from(text),
  );
  return is!.length > 0 && is!.length === should!.length && timingSafeEqual(is!, should!);
}

/** What `by` says first on `channel` over this connection, in place of the migration's bare `token`, and as long. */
export function proofOf(
  socket: TLSSocket,
  { secret }: TlsBinding,
  token: Uint8Array,
  by: 'source' | 'destination',
  channel: number,
): Uint8Array {
  return createHmac('sha256', Buffer.from(secret, 'hex'))
    .update(`data ${by} ${channel} `)
    .update(token)
    .update(exported(socket))
    .digest()
    .subarray(0, token.length);
}

const exported = (socket: TLSSocket): Buffer =>
  socket.exportKeyingMaterial(SECRET_BYTES, LABEL, Buffer.alloc(0));

/** Whether `wanted`, such as `CN=host1,O=Org`, is the name in the peer's certificate, in whatever order. */
export function isNamed(socket: TLSSocket, wanted: string): boolean {
  const has = (certificateOf(socket)?.subject ?? '').split('\n').sort();
  const should = wanted
    .split(',')
    .map((part) => part.trim())
    .sort();
  return has.length === should.length && has.every((part, i) => part === should[i]);
}
