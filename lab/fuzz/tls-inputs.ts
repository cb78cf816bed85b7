/** What comes to TLS: words, handshakes with somebody between, directories of credentials; as bytes, and what these mean. */
import type { SeededRandom } from '../../base/random.js';
import type { Credentials, TlsRole } from '../../vmm/tls/credentials.js';
import {
  AUTHORITY,
  CLIENT_FLIGHT,
  NONE_REVOKED,
  ONE,
  OTHER,
  type Pair,
  SERVER_FLIGHT,
  STRANGE_AUTHORITY,
  TWO,
} from '../tls/sample-credentials.js';
import { joined, mutateBytes } from './mutate.js';

/** The first byte. */
export const KIND = { words: 0, relay: 1, credentials: 2 } as const;
export const RELAY = { nothing: 0, flip: 1, drop: 2, again: 3, cut: 4, insert: 5 } as const;
/** Of a file: there is none. */
export const MISSING = 0xffff;
/** Records of one side in a handshake and after it. */
const RECORDS = 8;

const credentialsOf = (role: TlsRole, ca: string, { cert, key }: Pair, crl?: string): Credentials => ({
  role,
  ca,
  cert,
  key,
  crl,
});

/** Who a side is, by two bits: of the authority, another of it, or of another; the last trusts both. */
const IDENTITIES: readonly (readonly [ca: string, pair: Pair, name: string])[] = [
  [AUTHORITY, ONE, 'one'],
  [AUTHORITY, TWO, 'two'],
  [STRANGE_AUTHORITY + AUTHORITY, OTHER, 'other'],
  [AUTHORITY, ONE, 'one'],
];

/** The side that is attacked: the lowest bit says whether it is a server. */
export function peersOf(word: number): { readonly own: Credentials } {
  return { own: credentialsOf((word & 1) === 0 ? 'client' : 'server', AUTHORITY, ONE) };
}

export interface Relayed {
  readonly source: Credentials;
  readonly destination: Credentials;
  /** What the destination must be called; undefined for anything. */
  readonly name: string | undefined;
  /** One of them must not be taken by the other. */
  readonly stranger: boolean;
  /** Who they are, for people. */
  readonly words: string;
  readonly does: number;
  /** What is done is done to what the source sends. */
  readonly up: boolean;
  /** Record from 0, and where in it. */
  readonly at: number;
  readonly offset: number;
  readonly bit: number;
}

export function relayedOf(input: Uint8Array): Relayed {
  const byte = (at: number): number => input[at] ?? 0;
  const [sourceCa, sourcePair, sourceName] = IDENTITIES[byte(1) & 3]!;
  const [destinationCa, destinationPair, destinationName] = IDENTITIES[(byte(1) >> 2) & 3]!;
  const name = [undefined, 'one', 'two', undefined][(byte(1) >> 4) & 3];
  const lists = (byte(1) & 0x40) !== 0 && destinationCa === AUTHORITY;
  // Who trusts both authorities takes either; a host of the other is taken by such alone.
  const strangeSource = sourcePair === OTHER && destinationPair !== OTHER;
  const strangeDestination = destinationPair === OTHER && sourcePair !== OTHER;
  const misnamed = name !== undefined && name !== destinationName;
  return {
    source: credentialsOf('client', sourceCa, sourcePair),
    destination: credentialsOf('server', destinationCa, destinationPair, lists ? NONE_REVOKED : undefined),
    name,
    stranger: strangeSource || strangeDestination || misnamed,
    words: `${sourceName} comes to ${destinationName}, wanted as ${name ?? 'anybody'}`,
    does: byte(2) % Object.keys(RELAY).length,
    up: (byte(3) & 1) === 0,
    at: byte(4) % RECORDS,
    offset: byte(5) | (byte(6) << 8),
    bit: byte(7) & 7,
  };
}

export const FOLDER_FILES: readonly { readonly file: string; readonly text: string }[] = [
  { file: 'ca-cert.pem', text: AUTHORITY },
  { file: 'client-cert.pem', text: ONE.cert },
  { file: 'client-key.pem', text: ONE.key },
  { file: 'server-cert.pem', text: ONE.cert },
  { file: 'server-key.pem', text: ONE.key },
  { file: 'ca-crl.pem', text: NONE_REVOKED },
];
const TEXTS = [
  AUTHORITY,
  STRANGE_AUTHORITY,
  ONE.cert,
  ONE.key,
  TWO.cert,
  TWO.key,
  OTHER.cert,
  NONE_REVOKED,
  '',
];

const latin1 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));

function words(random: SeededRandom): Uint8Array {
  const sample = random.pick([
    CLIENT_FLIGHT,
    CLIENT_FLIGHT,
    SERVER_FLIGHT,
    latin1('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    // An alert that ends, one record as long as there is, and one of no type.
    Uint8Array.of(21, 3, 3, 0, 2, 2, 40),
    joined([Uint8Array.of(22, 3, 1, 0x41, 0), new Uint8Array(0x4100)]),
    Uint8Array.of(99, 3, 3, 0, 1, 0),
    new Uint8Array(0),
  ]);
  return random.chance(0.8) ? mutateBytes(sample, random) : sample;
}

function folder(random: SeededRandom): Uint8Array {
  const changes: Uint8Array[] = [];
  for (let count = random.below(3); count > 0; count--) {
    const at = random.below(FOLDER_FILES.length);
    const kind = random.below(4);
    const other = latin1(random.pick(TEXTS));
    const own = latin1(FOLDER_FILES[at]!.text);
    const text =
      kind === 0
        ? undefined
        : kind === 1
          ? other
          : kind === 2
            ? mutateBytes(own, random)
            : joined([own, other]);
    const length = text?.length ?? MISSING;
    changes.push(Uint8Array.of(at, length & 0xff, length >> 8), ...(text === undefined ? [] : [text]));
  }
  return joined(changes);
}

export function inputOf(random: SeededRandom): Uint8Array {
  const kind = random.pick([KIND.words, KIND.words, KIND.relay, KIND.relay, KIND.credentials]);
  const head = Uint8Array.of(kind, random.below(256));
  if (kind === KIND.words) return joined([head, words(random)]);
  if (kind === KIND.credentials) return joined([head, folder(random)]);
  const rest = new Uint8Array(6);
  random.fill(rest);
  // Ends that know each other, and nobody between them, now and then.
  if (random.chance(0.3)) rest[0] = RELAY.nothing;
  if (random.chance(0.5)) head[1] = 0;
  return joined([head, rest]);
}
