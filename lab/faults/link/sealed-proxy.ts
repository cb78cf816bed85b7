/**
 * Stands on the control connections of a migration under TLS, of which it can read nothing: data channels go past it, for it can't put ports
 * of its own in the place of the source's. It finds the one message that matters here, the commit, by the length of its record, and by
 * what the destination, when asked, says of itself.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { invariant } from '../../../base/errors.js';
import { encodeMessage } from '../../../migration/messages.js';
import { parseSocketAddress } from '../../../vmm/sockets/address.js';
import { type LinkRule, RuleBook } from './rule.js';

const LOOPBACK = '127.0.0.1';
/** Of a TLS record: its head (RFC 8446, 5.1), and what encryption adds to the content, a type and a tag (5.2). */
const HEAD_BYTES = 5;
const LENGTH_AT = 3;
const SEAL_BYTES = 17;
const COMMIT_BYTES = encodeMessage({ kind: 'commit', migrationId: '0'.repeat(32) }).length;

export class SealedProxy {
  /** Where the source has to migrate to. */
  readonly address: string;
  readonly #rules: RuleBook;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #server: Server;
  readonly #isPrepared: () => Promise<boolean>;
  readonly #sockets = new Set<Socket>();

  private constructor(
    server: Server,
    target: string,
    rules: readonly LinkRule[],
    isPrepared: () => Promise<boolean>,
  ) {
    const address = parseSocketAddress(target);
    invariant(address.kind === 'tcp', 'a proxy stands between TCP sockets');
    for (const { at, does } of rules) {
      const aimed = 'message' in at && at.message === 'commit';
      invariant(
        aimed && (does.kind === 'cut' || does.kind === 'act'),
        'under TLS only the commit can be aimed at',
      );
    }
    this.#target = address;
    this.#server = server;
    this.#rules = new RuleBook(rules);
    this.#isPrepared = isPrepared;
    this.address = `tcp:${LOOPBACK}:${(server.address() as { port: number }).port}`;
  }

  /** Listens for migrations to the VMM at `target` (`tcp:HOST:PORT`); `isPrepared`: whether that awaits the commit. */
  static async open(
    target: string,
    rules: readonly LinkRule[],
    isPrepared: () => Promise<boolean>,
  ): Promise<SealedProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
    const proxy = new SealedProxy(server, target, rules, isPrepared);
    server.on('connection', (socket) => proxy.#join(socket));
    return proxy;
  }

  /** Rules that never struck. */
  get unstruck(): readonly LinkRule[] {
    return this.#rules.unstruck;
  }

  /** Ends all that passes, and listens no more. */
  close(): void {
    this.#cut();
    this.#server.close();
  }

  #join(source: Socket): void {
    const destination = connect(this.#target);
    for (const socket of [source, destination]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined); // 'close' follows
      socket.on('close', () => {
        this.#sockets.delete(socket);
        source.end();
        destination.end();
      });
    }
    destination.pipe(source);
    let held = Buffer.alloc(0);
    source.on('data', async (chunk: Buffer) => {
      source.pause();
      held = Buffer.concat([held, chunk]);
      for (let size = recordBytes(held); size <= held.length; size = recordBytes(held)) {
        const record = held.subarray(0, size);
        held = held.subarray(size);
        if (!(await this.#pass(record, destination))) return;
      }
      source.resume();
    });
  }

  /** Passes one record on. False: nothing more goes this way. */
  async #pass(record: Buffer, destination: Socket): Promise<boolean> {
    const commits = record.length === HEAD_BYTES + COMMIT_BYTES + SEAL_BYTES && (await this.#isPrepared());
    if (commits) this.#rules.count('commit');
    if (commits && !(await this.#strike('before'))) return false;
    await new Promise<void>((written) => destination.write(record, () => written()));
    return !commits || (await this.#strike('after'));
  }

  async #strike(edge: 'before' | 'after'): Promise<boolean> {
    for (const { does } of this.#rules.atMessage('commit', edge)) {
      if (does.kind === 'act') await does.act();
      if (does.kind === 'cut') {
        this.#cut();
        return false;
      }
    }
    return true;
  }

  #cut(): void {
    for (const socket of [...this.#sockets]) socket.destroy();
  }
}

/** Of the record that `held` begins with; Infinity while that is not known. */
const recordBytes = (held: Buffer): number =>
  held.length < HEAD_BYTES ? Number.POSITIVE_INFINITY : HEAD_BYTES + held.readUInt16BE(LENGTH_AT);
