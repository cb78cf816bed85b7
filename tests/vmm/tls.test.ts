/** Moving under TLS: who is let in and who is not, and that each reason has words of its own. */
import { appendFileSync, copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FerryError } from '../../base/errors.js';
import { connectControlLink, type SocketControlLink } from '../../vmm/control-link/socket-link.js';
import { isLocal } from '../../vmm/sockets/loopback.js';
import { loadCredentials } from '../../vmm/tls/credentials.js';
import { beginTls, bindingOf, isBoundPeer, isNamed, proofOf } from '../../vmm/tls/session.js';
import { Authority, hasOpenssl } from './certificates.js';

const HOST = '127.0.0.1';

describe.skipIf(!hasOpenssl)('credentials', () => {
  let authority: Authority;
  let stranger: Authority;
  let good: string;
  beforeAll(() => {
    [authority, stranger] = [new Authority(), new Authority()];
    good = authority.credentials();
  });
  afterAll(() => {
    for (const one of [authority, stranger]) one.close();
  });

  const open: { destroy?: () => void; close?: () => void }[] = [];
  afterEach(() => {
    for (const one of open.splice(0)) {
      one.destroy?.();
      one.close?.();
    }
  });

  interface Met {
    readonly link: SocketControlLink | undefined;
    /** What the source says of the destination. */
    readonly there: FerryError | undefined;
    /** What the destination says of the source; undefined also if it never saw a certificate. */
    readonly here: FerryError | undefined;
    readonly socket: TLSSocket | undefined;
  }

  /** A source with the credentials in `client` comes to a destination with those in `server`, which it knows as `name`. */
  async function meet(client: string, server: string, name = HOST): Promise<Met> {
    const credentials = loadCredentials(server, 'server');
    let judged = (_socket: TLSSocket | undefined, _error?: FerryError): void => {};
    const arrived = new Promise<{ socket: TLSSocket | undefined; error: FerryError | undefined }>(
      (resolve) => {
        judged = (socket, error) => resolve({ socket, error });
      },
    );
    const port = await listening((raw) =>
      beginTls(raw, credentials, undefined, {
        failed: () => judged(undefined),
        secure: (socket, error) => {
          socket.on('error', () => {});
          judged(socket, error);
        },
      }),
    );
    const tls = { credentials: loadCredentials(client, 'client'), name };
    const [far, near] = await Promise.all([
      arrived,
      connectControlLink({ kind: 'tcp', host: HOST, port }, undefined, { tls }).then(
        (link) => ({ link, error: undefined }),
        (error: FerryError) => ({ link: undefined, error }),
      ),
    ]);
    if (near.link !== undefined) open.push(near.link);
    return { link: near.link, there: near.error, here: far.error, socket: far.socket };
  }

  async function listening(accept: (raw: Socket) => void): Promise<number> {
    const server: Server = createServer((raw) => {
      open.push(raw);
      raw.on('error', () => {});
      accept(raw);
    });
    open.push(server);
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    return (server.address() as AddressInfo).port;
  }

  it('of one CA let each other in, and both ends have the same secret, which no other connection has', async () => {
    const [one, other] = [await meet(good, good), await meet(good, good)];
    expect([one.there, one.here]).toEqual([undefined, undefined]);
    const secrets = [one, other].map(({ link, socket }) => [
      link!.binding!.secret,
      bindingOf(socket!, loadCredentials(good, 'server')).secret,
    ]);
    expect(secrets[0]![0]).toBe(secrets[0]![1]);
    expect(secrets[1]![0]).toBe(secrets[1]![1]);
    expect(secrets[0]![0]).not.toBe(secrets[1]![0]);
  });

  it('prove a data channel by the session that it is of: no other, no other connection, channel or side', async () => {
    const [control, data, relayed, others] = [
      await meet(good, good),
      await meet(good, good),
      await meet(good, good),
      await meet(good, good),
    ];
    const token = new Uint8Array(16).fill(7);
    const binding = control.link!.binding!;
    const proof = (socket: TLSSocket, of = binding, by: 'source' | 'destination' = 'source', channel = 0) =>
      Buffer.from(proofOf(socket, of, token, by, channel)).toString('hex');
    const right = proof(data.socket!);
    expect(right).toHaveLength(32);
    expect(proof(data.socket!, bindingOf(control.socket!, loadCredentials(good, 'server')))).toBe(right);
    for (const wrong of [
      proof(relayed.socket!),
      proof(data.socket!, others.link!.binding),
      proof(data.socket!, binding, 'destination'),
      proof(data.socket!, binding, 'source', 1),
      Buffer.from(token).toString('hex'),
    ]) {
      expect(wrong).not.toBe(right);
    }
  });

  it('bind data channels to the certificate of the control link, and not to any that is good', async () => {
    const control = await meet(good, good);
    const { binding } = { binding: bindingOf(control.socket!, loadCredentials(good, 'server')) };
    const [same, another] = [await meet(good, good), await meet(authority.credentials(), good)];
    expect(another.here).toBeUndefined();
    expect(isBoundPeer(same.socket!, binding)).toBe(true);
    expect(isBoundPeer(another.socket!, binding)).toBe(false);
  });

  it.each([
    ['expired', { until: '20200102000000Z' }],
    ['not-yet-valid', { from: '20980101000000Z' }],
  ] as const)('%s are refused when they are loaded', (code, how) => {
    const directory = authority.credentials(how);
    for (const role of ['client', 'server'] as const) {
      expect(() => loadCredentials(directory, role)).toThrow(
        expect.objectContaining({ code: `tls/${code}`, facts: expect.objectContaining({ whose: 'own' }) }),
      );
    }
  });

  it('of the wrong purpose, of another CA, with the key of another, or that are not there are refused as such', () => {
    const code = (what: string) => expect.objectContaining({ code: `tls/${what}` });
    const onlyClient = authority.credentials({ usage: 'clientAuth' });
    expect(loadCredentials(onlyClient, 'client').role).toBe('client');
    expect(() => loadCredentials(onlyClient, 'server')).toThrow(code('wrong-purpose'));
    const foreign = authority.credentials();
    copyFileSync(join(stranger.folder, 'ca-cert.pem'), join(foreign, 'ca-cert.pem'));
    expect(() => loadCredentials(foreign, 'client')).toThrow(code('unknown-ca'));
    const mixed = authority.credentials();
    copyFileSync(join(good, 'client-key.pem'), join(mixed, 'client-key.pem'));
    expect(() => loadCredentials(mixed, 'client')).toThrow(/is not the key of client-cert.pem/);
    const noCa = authority.credentials();
    copyFileSync(join(good, 'client-cert.pem'), join(noCa, 'ca-cert.pem'));
    expect(() => loadCredentials(noCa, 'client')).toThrow(/it is of no CA/);
    const unlisted = authority.credentials();
    writeFileSync(join(unlisted, 'ca-crl.pem'), '-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n');
    expect(() => loadCredentials(unlisted, 'server')).toThrow(/ca-crl.pem: it is damaged/);
    rmSync(join(mixed, 'client-cert.pem'));
    expect(() => loadCredentials(mixed, 'client')).toThrow(code('no-credentials'));
  });

  it('of another CA are refused by the source before it says anything, and by the destination', async () => {
    const foreign = stranger.credentials();
    expect((await meet(foreign, good)).there).toMatchObject({
      code: 'tls/unknown-ca',
      facts: { whose: 'destination' },
    });
    // One that trusts the destination all the same.
    appendFileSync(join(foreign, 'ca-cert.pem'), readFileSync(join(authority.folder, 'ca-cert.pem')));
    expect(await meet(foreign, good)).toMatchObject({
      there: undefined,
      here: { code: 'tls/unknown-ca', facts: { whose: 'source' } },
    });
  });

  it('that a source has none of are missed by the destination', async () => {
    const judged = new Promise<FerryError | undefined>((resolve) => {
      void listening((raw) =>
        beginTls(raw, loadCredentials(good, 'server'), undefined, {
          failed: () => resolve(undefined),
          secure: (_socket, error) => resolve(error),
        }),
      ).then((port) => {
        const bare = tlsConnect({ host: HOST, port, rejectUnauthorized: false });
        bare.on('error', () => {});
        open.push(bare);
      });
    });
    expect(await judged).toMatchObject({ code: 'tls/no-certificate', facts: { whose: 'source' } });
  });

  it('for another host are refused by the source, and for this one are taken by name', async () => {
    const elsewhere = authority.credentials({ names: 'DNS:host.test' });
    expect((await meet(good, elsewhere)).there).toMatchObject({
      code: 'tls/wrong-name',
      facts: { name: HOST },
    });
    expect((await meet(good, elsewhere, 'host.test')).there).toBeUndefined();
  });

  it('that were revoked are refused by who has the list', async () => {
    const [lost, careful] = [authority.credentials(), authority.credentials()];
    expect((await meet(lost, careful)).here).toBeUndefined();
    authority.revoke(lost, careful);
    expect((await meet(lost, careful)).here).toMatchObject({
      code: 'tls/revoked',
      facts: { whose: 'source' },
    });
    expect((await meet(good, careful)).here).toBeUndefined();
    expect((await meet(lost, good)).here).toBeUndefined();
  });

  it('name whom they are for, whatever the order of the name', async () => {
    const named = authority.credentials({ subject: '/O=Org/CN=host1' });
    const { socket } = await meet(named, good);
    expect(isNamed(socket!, 'CN=host1,O=Org')).toBe(true);
    expect(isNamed(socket!, 'O=Org, CN=host1')).toBe(true);
    for (const other of ['CN=host1', 'CN=host2,O=Org', 'CN=host1,O=Org,O=Org', '']) {
      expect(isNamed(socket!, other)).toBe(false);
    }
  });

  it('at one side only are a failure in words at both, and nothing is taken', async () => {
    const port = await listening((raw) =>
      raw.on('data', () => raw.end('plain words, which are no TLS record\n')),
    );
    const tls = { credentials: loadCredentials(good, 'client'), name: HOST };
    await expect(
      connectControlLink({ kind: 'tcp', host: HOST, port }, undefined, { tls }),
    ).rejects.toMatchObject({ code: 'tls/handshake' });
    const failed = new Promise<string>((resolve) => {
      void listening((raw) =>
        beginTls(raw, loadCredentials(good, 'server'), undefined, {
          failed: resolve,
          secure: () => resolve('secure'),
        }),
      ).then((server) => {
        const plain = connect({ host: HOST, port: server });
        plain.on('error', () => {});
        open.push(plain);
        plain.write('{"no": "TLS either"}\n');
      });
    });
    expect(await failed).toBe('the other side does not speak TLS');
  });
});

describe('an address', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.8.9.10', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['localhost', true],
    ['0.0.0.0', false],
    ['::', false],
    ['192.0.2.1', false],
    ['::ffff:192.0.2.1', false],
    ['2001:db8::1', false],
  ])('%s is of this host alone: %s', async (host, local) => {
    expect(await isLocal({ kind: 'tcp', host, port: 4444 })).toBe(local);
  });
});
