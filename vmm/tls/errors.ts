/** What can go wrong with who two VMMs say they are. `whose` is whose certificate it is: ours, or the peer's. */
import { catalogue, entry } from '../../base/errors.js';

export type Whose = 'own' | 'CA' | 'destination' | 'source';

const name = (whose: string): string =>
  whose === 'own'
    ? 'the own certificate'
    : whose === 'CA'
      ? 'the CA certificate'
      : `the ${whose}'s certificate`;
const RENEW = 'Issue a certificate anew, and give both hosts the same CA.';

export const tlsErrors = catalogue('tls', {
  'no-credentials': entry<{ file: string; reason: string }>({
    exit: 'environment',
    text: ({ file, reason }) => `no TLS credentials in ${file}: ${reason}`,
    advice: () =>
      'Lay the directory out as QEMU does: ca-cert.pem; client-cert.pem and client-key.pem where guests leave, server-cert.pem and server-key.pem where they come to.',
  }),
  expired: entry<{ whose: Whose; subject: string; until: string }>({
    exit: 'refused',
    text: ({ whose, subject, until }) =>
      `${name(whose)} (${subject}) has expired${until && `: valid to ${until}`}`,
    advice: () => RENEW,
  }),
  'not-yet-valid': entry<{ whose: Whose; subject: string; from: string }>({
    exit: 'refused',
    text: ({ whose, subject, from }) =>
      `${name(whose)} (${subject}) is not valid yet${from && `: valid from ${from}`}`,
    advice: () => 'Check the clocks of both hosts.',
  }),
  'wrong-purpose': entry<{ whose: Whose; subject: string; purpose: string }>({
    exit: 'refused',
    text: ({ whose, subject, purpose }) => `${name(whose)} (${subject}) is not for the purpose: ${purpose}`,
    advice: () =>
      'A source needs a certificate for TLS client authentication, a destination one for TLS server authentication, a CA one that may sign.',
  }),
  'wrong-name': entry<{ name: string; names: string }>({
    exit: 'refused',
    text: ({ name, names }) =>
      `the destination's certificate does not match the name ${name}: it is for ${names}`,
    advice: () => 'Name the host as its certificate does, or set `tls-hostname`.',
  }),
  'no-name': entry<{ address: string }>({
    exit: 'refused',
    text: ({ address }) => `no name to compare the destination's certificate with: ${address} has none`,
    advice: () => 'Set `tls-hostname`.',
  }),
  'unknown-ca': entry<{ whose: Whose; subject: string }>({
    exit: 'refused',
    text: ({ whose, subject }) => `${name(whose)} (${subject}) was not issued by the CA of this side`,
    advice: () => RENEW,
  }),
  revoked: entry<{ whose: Whose; subject: string }>({
    exit: 'refused',
    text: ({ whose, subject }) => `${name(whose)} (${subject}) has been revoked`,
    advice: () => 'See ca-crl.pem. If that host was given another certificate, use it.',
  }),
  'no-certificate': entry<{ whose: Whose }>({
    exit: 'refused',
    text: ({ whose }) => `the ${whose} has shown no certificate`,
    advice: () => 'Put client-cert.pem and client-key.pem into the directory of its credentials.',
  }),
  'not-authorized': entry<{ subject: string }>({
    exit: 'refused',
    text: ({ subject }) => `no guest is taken from ${subject}: \`tls-authz\` names another`,
    advice: () =>
      "Set `tls-authz` at the destination to the name in the source's certificate, or to nothing.",
  }),
  rejected: entry<{ whose: Whose; subject: string; reason: string }>({
    exit: 'refused',
    text: ({ whose, subject, reason }) => `${name(whose)} (${subject}) was not accepted: ${reason}`,
    advice: () => 'Have `openssl verify` look at it.',
  }),
  handshake: entry<{ peer: string; reason: string }>({
    exit: 'failed',
    text: ({ peer, reason }) => `no TLS with ${peer}: ${reason}`,
    advice: () => 'Give both sides credentials, or neither.',
  }),
  insecure: entry<{ address: string }>({
    exit: 'refused',
    text: ({ address }) =>
      `${address} is not of this host alone, and a migration without TLS can be read and changed by others`,
    advice: () =>
      'Give both sides credentials (`--tls-creds DIR`, or `tls-creds` at the monitor), or say `--insecure` where nobody else is.',
  }),
});
