/**
 * TLS of a migration as it meets strangers: what comes instead of a handshake, what somebody between two ends does to one, who the ends
 * are, and directories of credentials as they may lie on a disk. Real sockets, and Node's own TLS.
 *
 * What is held to be wrong, beside exceptions: an end that hears neither that it is safe nor that it is not, or both; one that takes for
 * a peer whom it must not; two ends of one connection with other secrets or proofs, and two connections with the same; bytes that arrive
 * otherwise than they were sent, or behind what is missing; credentials that are taken and can't be used.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { type FerryError, isFerryError } from '../../base/errors.js';
import { type Credentials, loadCredentials, type TlsRole } from '../../vmm/tls/credentials.js';
import { beginTls, bindingOf, isBoundPeer, proofOf, type TlsBinding } from '../../vmm/tls/session.js';
import { cut, type FuzzTarget, type Outcome } from './engine.js';
import { joined } from './mutate.js';
import {
  FOLDER_FILES,
  inputOf,
  KIND,
  MISSING,
  peersOf,
  RELAY,
  type Relayed,
  relayedOf,
} from './tls-inputs.js';

/** Beyond what any handshake takes here. */
const HEARS_MS = 30_000;
const TOKEN = new Uint8Array(16).fill(7);
/** Records may hold so much, and then some (RFC 8446, 5.2). */
const RECORD_HEAD = 5;
/** No certificate's. */
const ANOTHER = new Array<string>(32).fill('00').join(':');
const WORDS = new Uint8Array(3000).fill(0x5a);

/** What an end says first on a data channel, in hex. */
interface Proofs {
  readonly right: string;
  /** Of another side, channel and secret. */
  readonly wrong: readonly string[];
}

interface End {
  readonly raw: Socket;
  /** What it has heard, in order. */
  readonly heard: ('secure' | 'failed')[];
  /** Undefined until it is safe. */
  binding: TlsBinding | undefined;
  proofs: Proofs | undefined;
  error: FerryError | undefined;
  /** Its peer's certificate is that of this connection, and another's. */
  knows: boolean;
  knowsOther: boolean;
  /** What came of what the other one says. */
  readonly came: Uint8Array[];
}

/** UNIX sockets in pairs. */
class Pairs {
  readonly #server: Server;
  readonly #path: string;
  readonly #waiting: ((socket: Socket) => void)[] = [];
  readonly #open: Socket[] = [];
  readonly #listens: Promise<void>;

  constructor(folder: string) {
    this.#path = join(folder, 'socket');
    this.#server = createServer((socket) => this.#waiting.shift()!(socket));
    this.#listens = new Promise((resolve) => this.#server.listen(this.#path, () => resolve()));
    this.#server.unref();
  }

  async pair(): Promise<readonly [Socket, Socket]> {
    await this.#listens;
    const accepted = new Promise<Socket>((resolve) => this.#waiting.push(resolve));
    const one = connect({ path: this.#path });
    const other = await accepted;
    for (const socket of [one, other]) {
      socket.on('error', () => {});
      this.#open.push(socket);
    }
    return [one, other];
  }

  /** All of them are gone when this resolves. */
  async clear(): Promise<void> {
    const closing = this.#open.splice(0).map((socket) => {
      const gone = socket.closed
        ? Promise.resolve()
        : new Promise((resolve) => socket.once('close', resolve));
      socket.destroy();
      return gone;
    });
    await Promise.all(closing);
  }

  close(): void {
    this.#server.close();
  }
}

/** One end of TLS at `raw`, which says something as soon as it may. */
function begin(start: typeof beginTls, raw: Socket, credentials: Credentials, name: string | undefined): End {
  const end: End = {
    raw,
    heard: [],
    binding: undefined,
    proofs: undefined,
    knows: false,
    knowsOther: false,
    error: undefined,
    came: [],
  };
  start(raw, credentials, name, {
    secure: (socket, error) => {
      end.heard.push('secure');
      end.error = error;
      // Of one without a certificate as well, as the door does it.
      end.binding = bindingOf(socket, credentials);
      end.proofs = proofsOf(socket, end.binding);
      end.knows = isBoundPeer(socket, end.binding);
      end.knowsOther = isBoundPeer(socket, { ...end.binding, fingerprint: ANOTHER });
      socket.on('error', () => raw.destroy());
      socket.on('data', (bytes: Uint8Array) => end.came.push(bytes));
      socket.write(WORDS);
    },
    failed: () => {
      end.heard.push('failed');
      raw.destroy();
    },
  });
  return end;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Resolves with whether `done` came to hold. */
async function until(done: () => boolean): Promise<boolean> {
  const deadline = performance.now() + HEARS_MS;
  while (!done()) {
    if (performance.now() > deadline) return false;
    await turn();
  }
  return true;
}

/** Passes records on, and does one thing to one of them. */
class Relay {
  /** Something was done. */
  struck = false;
  readonly #what: Relayed;
  readonly #from: Socket;
  readonly #to: Socket;
  #held: Uint8Array = new Uint8Array(0);
  #record = 0;

  constructor(from: Socket, to: Socket, what: Relayed) {
    this.#from = from;
    this.#to = to;
    this.#what = what;
    from.on('data', (bytes: Uint8Array) => this.#take(bytes));
    from.on('end', () => to.end());
    from.on('close', () => to.destroy());
  }

  #take(bytes: Uint8Array): void {
    this.#held = joined([this.#held, bytes]);
    for (;;) {
      const { length } = this.#held;
      const size = length < RECORD_HEAD ? Infinity : RECORD_HEAD + (this.#held[3]! << 8) + this.#held[4]!;
      if (length < size) return;
      const record = this.#held.slice(0, size);
      this.#held = this.#held.slice(size);
      this.#pass(record);
    }
  }

  #pass(record: Uint8Array): void {
    const { does, at, offset, bit } = this.#what;
    if (this.#record++ !== at || does === RELAY.nothing) {
      this.#to.write(record);
      return;
    }
    this.struck = true;
    const place = offset % record.length;
    switch (does) {
      case RELAY.flip:
        record[place]! ^= 1 << bit;
        this.#to.write(record);
        break;
      case RELAY.drop:
        break;
      case RELAY.again:
        this.#to.write(joined([record, record]));
        break;
      case RELAY.cut:
        this.#to.end(record.subarray(0, place));
        this.#from.destroy();
        break;
      case RELAY.insert:
        this.#to.write(joined([new Uint8Array(1 + place).fill(bit), record]));
        break;
    }
  }
}

class Attack {
  readonly #pairs: Pairs;
  readonly #folder: string;
  readonly #start: typeof beginTls;

  constructor(folder: string, start: typeof beginTls) {
    this.#folder = folder;
    this.#start = start;
    this.#pairs = new Pairs(folder);
  }

  close(): void {
    this.#pairs.close();
  }

  async run(input: Uint8Array): Promise<Outcome> {
    try {
      switch (input[0]! % Object.keys(KIND).length) {
        case KIND.words:
          return await this.#words(input);
        case KIND.relay:
          return await this.#relayed(input);
        default:
          return await this.#credentials(input);
      }
    } finally {
      await this.#pairs.clear();
    }
  }

  /** Bytes instead of a handshake, and an end of the connection. */
  async #words(input: Uint8Array): Promise<Outcome> {
    const { own } = peersOf(input[1]!);
    const [stranger, raw] = await this.#pairs.pair();
    const end = begin(this.#start, raw, own, undefined);
    stranger.resume();
    for (const piece of cut(input.subarray(2))) stranger.write(piece);
    stranger.end();
    if (!(await until(() => end.heard.length > 0)))
      return { problem: 'an end that is left alone hears nothing of it' };
    await turn();
    return end.heard.join() === 'failed'
      ? 'refused'
      : { problem: `words that are no handshake: ${end.heard.join()}` };
  }

  /** A handshake with somebody between its ends, and words under it. */
  async #relayed(input: Uint8Array): Promise<Outcome> {
    const what = relayedOf(input);
    const { source, destination, name, stranger } = what;
    const [near, nearRelay] = await this.#pairs.pair();
    const [farRelay, far] = await this.#pairs.pair();
    const up = new Relay(nearRelay, farRelay, what.up ? what : { ...what, does: RELAY.nothing });
    const down = new Relay(farRelay, nearRelay, what.up ? { ...what, does: RELAY.nothing } : what);
    const ends: End[] = [];
    const both = (): boolean => ends.length === 2 && ends.every(({ heard }) => heard.length > 0);
    ends.push(begin(this.#start, near, source, name), begin(this.#start, far, destination, undefined));
    // What was dropped, or was begun by an insertion, is waited for until somebody goes away.
    const waits = (): boolean => up.struck || down.struck;
    if (!(await until(() => both() || waits())))
      return { problem: 'nothing is heard of a handshake that nobody touched' };
    const arrived = (): boolean => ends.every(({ came }) => lengthOf(came) === WORDS.length);
    if (!(await until(() => waits() || arrived()))) return { problem: 'words do not arrive' };
    if (waits()) for (let turns = 0; turns < 20; turns++) await turn();
    for (const raw of [near, far]) raw.destroy();
    if (!(await until(both))) return { problem: 'an end whose connection is gone hears nothing of it' };
    await turn();
    return judged(ends as [End, End], what, stranger, waits());
  }

  /** Files as they may lie there, read and used. */
  async #credentials(input: Uint8Array): Promise<Outcome> {
    const role: TlsRole = (input[1]! & 1) === 0 ? 'client' : 'server';
    const directory = join(this.#folder, 'credentials');
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    const files = new Map(
      FOLDER_FILES.map(({ file, text }) => [file, Buffer.from(text, 'latin1') as Uint8Array | undefined]),
    );
    for (let at = 2; at + 3 <= input.length; ) {
      const { file } = FOLDER_FILES[input[at]! % FOLDER_FILES.length]!;
      const length = input[at + 1]! | (input[at + 2]! << 8);
      at += 3;
      files.set(file, length === MISSING ? undefined : input.subarray(at, at + length));
      if (length !== MISSING) at += length;
    }
    for (const [file, bytes] of files) if (bytes !== undefined) writeFileSync(join(directory, file), bytes);
    let credentials: Credentials;
    try {
      credentials = loadCredentials(directory, role);
    } catch (error) {
      if (!isFerryError(error) || !error.code.startsWith('tls/')) throw error;
      return 'refused';
    }
    const [one, other] = await this.#pairs.pair();
    const mine = begin(this.#start, one, credentials, undefined);
    const theirs = begin(this.#start, other, peersOf(role === 'client' ? 1 : 0).own, undefined);
    if (!(await until(() => mine.heard.length > 0 && theirs.heard.length > 0)))
      return { problem: 'credentials were taken, and nothing is heard of a handshake with them' };
    return 'accepted';
  }
}

const lengthOf = (pieces: readonly Uint8Array[]): number =>
  pieces.reduce((sum, { length }) => sum + length, 0);

/** What is wrong with how two ends have found each other. */
function judged(
  [near, far]: readonly [End, End],
  what: Relayed,
  stranger: boolean,
  struck: boolean,
): Outcome {
  for (const { heard, came } of [near, far]) {
    if (heard.length !== 1) return { problem: `an end hears ${heard.join(', ')}` };
    const bytes = joined(came);
    if (Buffer.compare(bytes, WORDS.subarray(0, bytes.length)) !== 0)
      return { problem: 'bytes arrive otherwise than they were sent' };
  }
  if (near.proofs === undefined || far.proofs === undefined) {
    return struck ? 'refused' : { problem: 'a handshake that nobody touched failed' };
  }
  const refused = near.error ?? far.error;
  if (stranger !== (refused !== undefined)) return { problem: `${what.words}: ${refused?.code ?? 'let in'}` };
  if (stranger || struck) return 'refused';
  return sameProofs(near, far) ?? 'accepted';
}

function sameProofs(near: End, far: End): Outcome | undefined {
  if (near.binding!.secret !== far.binding!.secret)
    return { problem: 'the ends of one connection have other secrets' };
  if (near.proofs!.right !== far.proofs!.right)
    return { problem: 'the ends of one connection have other proofs' };
  if (near.proofs!.wrong.includes(far.proofs!.right))
    return { problem: 'a proof is good for another side, channel or secret' };
  if (!near.knows || !far.knows || near.knowsOther || far.knowsOther)
    return { problem: 'a peer is not told from others by its certificate' };
  return undefined;
}

function proofsOf(socket: TLSSocket, binding: TlsBinding): Proofs {
  const proof = (of: TlsBinding, by: 'source' | 'destination', channel: number): string =>
    Buffer.from(proofOf(socket, of, TOKEN, by, channel)).toString('hex');
  const { secret } = binding;
  const other = { ...binding, secret: (secret.startsWith('0') ? '1' : '0') + secret.slice(1) };
  const wrong = [proof(binding, 'destination', 1), proof(binding, 'source', 2), proof(other, 'source', 1)];
  return { right: proof(binding, 'source', 1), wrong };
}

/** `start` is the product's, unless a test puts a broken one in its place. */
export function tlsTarget(start: typeof beginTls = beginTls): FuzzTarget {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-fuzz-'));
  const attack = new Attack(folder, start);
  return {
    name: 'tls',
    make: inputOf,
    run: (input) => attack.run(input),
    close: () => {
      attack.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
