/**
 * The credentials of one side, laid out as QEMU's x509 directories are: `ca-cert.pem`, `ca-crl.pem` if there is one, and a pair of
 * certificate and key for each role. A role is who asks for the migration: a source is the client, a destination the server,
 * on every channel, whichever of the two connects it. They are judged when they are read: what is wrong here is told here,
 * and not by a peer that closes the connection.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { reasonOf } from '../sockets/listening.js';
import { tlsErrors, type Whose } from './errors.js';

export type TlsRole = 'client' | 'server';

/** As PEM; plain data, so that threads can be given it. */
export interface Credentials {
  readonly role: TlsRole;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Revoked certificates. */
  readonly crl: string | undefined;
}

/** Extended key usages, by their object identifiers. */
const USAGES: Readonly<Record<TlsRole, string>> = {
  client: '1.3.6.1.5.5.7.3.2',
  server: '1.3.6.1.5.5.7.3.1',
};
const CRL_FILE = 'ca-crl.pem';
const ANY_USAGE = '2.5.29.37.0';

/**
 * Reads and judges those of `directory`. Throws `tls/no-credentials`, `tls/expired`, `tls/not-yet-valid`,
 * `tls/wrong-purpose`, `tls/unknown-ca`.
 */
export function loadCredentials(directory: string, role: TlsRole): Credentials {
  const read = (file: string): string => {
    const path = join(directory, file);
    try {
      return readFileSync(path, 'latin1');
    } catch (error) {
      throw tlsErrors.error('no-credentials', { file: path, reason: reasonOf(error) }, error);
    }
  };
  const parse = <T>(file: string, text: string, how: (text: string) => T): T => {
    try {
      return how(text);
    } catch (error) {
      const reason = 'it is damaged, or no PEM file of its kind';
      throw tlsErrors.error('no-credentials', { file: join(directory, file), reason }, error);
    }
  };
  const [caFile, certFile, keyFile] = ['ca-cert.pem', `${role}-cert.pem`, `${role}-key.pem`];
  const [ca, cert, key] = [read(caFile), read(certFile), read(keyFile)];
  const issuers = parse(caFile, ca, (text) => certificatesOf(text).map((pem) => new X509Certificate(pem)));
  const own = parse(certFile, cert, (text) => new X509Certificate(text));
  const privateKey = parse(keyFile, key, (text) => createPrivateKey(text));
  if (!own.checkPrivateKey(privateKey)) {
    const reason = `it is not the key of ${certFile}`;
    throw tlsErrors.error('no-credentials', { file: join(directory, keyFile), reason });
  }
  for (const issuer of issuers) {
    judgeTime(issuer, 'CA');
    if (!issuer.ca)
      throw tlsErrors.error('wrong-purpose', {
        whose: 'CA',
        subject: subjectOf(issuer),
        purpose: 'it is of no CA',
      });
  }
  judgeTime(own, 'own');
  judgePurpose(own, role);
  const chain = parse(certFile, cert, (text) => certificatesOf(text).map((pem) => new X509Certificate(pem)));
  if (
    !chain.some((one) => issuers.some((issuer) => one.checkIssued(issuer) && one.verify(issuer.publicKey)))
  ) {
    throw tlsErrors.error('unknown-ca', { whose: 'own', subject: subjectOf(own) });
  }
  const crl = optional(join(directory, CRL_FILE));
  // Node has no reader of its own for such lists: what can't be used is refused here, and not when somebody has connected.
  if (crl !== undefined) parse(CRL_FILE, crl, (text) => createSecureContext({ crl: text }));
  return { role, ca, cert, key, crl };
}

/** Common name and all, in one line: `CN=host1,O=Org`. */
export const subjectOf = ({ subject }: Pick<X509Certificate, 'subject'>): string =>
  (subject ?? '').split('\n').join(',').slice(0, 200) || 'without a name';

function certificatesOf(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [pem];
}

/** A file that need not be there. */
function optional(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw tlsErrors.error('no-credentials', { file: path, reason: reasonOf(error) }, error);
  }
}

function judgeTime(certificate: X509Certificate, whose: Whose): void {
  const { validFrom, validTo } = certificate;
  const subject = subjectOf(certificate);
  const now = Date.now();
  if (Date.parse(validTo) < now) throw tlsErrors.error('expired', { whose, subject, until: validTo });
  if (Date.parse(validFrom) > now)
    throw tlsErrors.error('not-yet-valid', { whose, subject, from: validFrom });
}

function judgePurpose(own: X509Certificate, role: TlsRole): void {
  const usages: readonly string[] | undefined = own.keyUsage;
  const fits = usages === undefined || usages.includes(USAGES[role]) || usages.includes(ANY_USAGE);
  if (fits) return;
  const purpose = `it is not for TLS ${role} authentication`;
  throw tlsErrors.error('wrong-purpose', { whose: 'own', subject: subjectOf(own), purpose });
}
