/** The door of a VMM with credentials: who is let in, what the others are told, and that it answers who asks. */
import { createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FerryError } from '../../base/errors.js';
import { sampleMessages } from '../../lab/fuzz/sample-messages.js';
import { type ControlMessage, decodeMessage, encodeMessage } from '../../migration/messages.js';
import { MigrationParameters } from '../../migration/parameters.js';
import type { DestinationRecord } from '../../migration/record.js';
import { connectControlLink } from '../../vmm/control-link/socket-link.js';
import { Doorstep } from '../../vmm/process/doorstep.js';
import { SocketLinks } from '../../vmm/process/links.js';
import { TlsDoor } from '../../vmm/process/tls-door.js';
import type { SocketAddress } from '../../vmm/sockets/address.js';
import { listen } from '../../vmm/sockets/listening.js';
import { laterMs } from '../../vmm/timers.js';
import { loadCredentials } from '../../vmm/tls/credentials.js';
import { Authority, hasOpenssl } from './certificates.js';

const HOST = '127.0.0.1';
const ANYWHERE: SocketAddress = { kind: 'tcp', host: HOST, port: 0 };
const moved = {
  status: 'completed',
  parts: { startNs: 1, deviceStartNs: 2 },
} as unknown as DestinationRecord;

describe.skipIf(!hasOpenssl)('a door with credentials', () => {
  let authority: Authority;
  let good: string;
  beforeAll(() => {
    authority = new Authority();
    good = authority.credentials({ subject: '/O=Org/CN=host1' });
  });
  afterAll(() => authority.close());

  const cleanups: (() => unknown)[] = [];
  afterEach(() => {
    for (const cleanup of cleanups.splice(0)) cleanup();
  });

  async function door(authz = ''): Promise<{ address: SocketAddress; turned: string[]; doorstep: Doorstep }> {
    const turned: string[] = [];
    const turnedAway = ({ code }: FerryError): void => void turned.push(code);
    const doorstep = new Doorstep({ turnedAway, recordOf: () => moved, later: laterMs });
    const tls = new TlsDoor({ credentials: loadCredentials(good, 'server'), authz, turnedAway });
    const sockets: Socket[] = [];
    const server = createServer((raw) => {
      sockets.push(raw);
      raw.on('error', () => {});
      tls.admit(raw, doorstep);
    });
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const { address } = await listen(server, ANYWHERE);
    return { address, turned, doorstep };
  }

  /** What the door answers to `message` of a source with the credentials in `directory`, or with none. */
  async function ask(
    address: SocketAddress,
    directory: string | undefined,
    message: ControlMessage,
  ): Promise<ControlMessage | undefined> {
    const credentials = directory === undefined ? undefined : loadCredentials(directory, 'client');
    const tls = credentials && { credentials, name: HOST };
    const link = await connectControlLink(address, undefined, { tls });
    cleanups.push(() => link.close());
    await link.send(encodeMessage(message)).catch(() => undefined);
    const answer = await link.receive();
    return answer && decodeMessage(answer);
  }

  it('answers, under TLS, who asks what came of a migration', async () => {
    const { address, turned } = await door();
    expect(await ask(address, good, sampleMessages.inquiry)).toMatchObject({ kind: 'running', startNs: 1 });
    expect(turned).toEqual([]);
  });

  it('brings a source to the doorstep with what its data channels are tied to', async () => {
    const { address, doorstep } = await door('CN=host1,O=Org');
    const coming = doorstep.next();
    void ask(address, good, sampleMessages.hello).catch(() => undefined);
    const source = await coming;
    expect(source?.binding).toMatchObject({ secret: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(source?.binding?.fingerprint).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  });

  it('tells a source with another name, or with a revoked certificate, why it is sent away', async () => {
    const strict = await door('CN=host2');
    expect(await ask(strict.address, good, sampleMessages.inquiry)).toMatchObject({
      kind: 'error',
      code: 'tls/not-authorized',
    });
    expect(strict.turned).toEqual(['tls/not-authorized']);
    const lost = authority.credentials();
    authority.revoke(lost, good);
    const careful = await door();
    expect(await ask(careful.address, lost, sampleMessages.inquiry)).toMatchObject({
      kind: 'error',
      code: 'tls/revoked',
    });
    expect(careful.turned).toEqual(['tls/revoked']);
  });

  it('hears nobody who comes without TLS', async () => {
    const { address, turned } = await door();
    expect(await ask(address, undefined, sampleMessages.inquiry).catch(() => undefined)).toBeUndefined();
    expect(turned).toEqual(['tls/handshake']);
  });

  it('is opened only with credentials that are good', async () => {
    const links = new SocketLinks(undefined, false);
    const parameters = new MigrationParameters({ tlsCreds: authority.credentials({ usage: 'clientAuth' }) });
    await expect(links.listen(ANYWHERE, parameters, () => {})).rejects.toMatchObject({
      code: 'tls/wrong-purpose',
    });
  });
});

describe('without credentials', () => {
  it('a guest comes from this host alone, unless it is said otherwise', async () => {
    const parameters = new MigrationParameters();
    const everywhere: SocketAddress = { kind: 'tcp', host: '0.0.0.0', port: 0 };
    await expect(
      new SocketLinks(undefined, false).listen(everywhere, parameters, () => {}),
    ).rejects.toMatchObject({ code: 'tls/insecure', advice: expect.stringContaining('--insecure') });
    const local = await new SocketLinks(undefined, false).listen(ANYWHERE, parameters, () => {});
    local.close();
    // It is said: what follows is the address, which is none of this machine.
    const elsewhere: SocketAddress = { kind: 'tcp', host: '192.0.2.1', port: 0 };
    await expect(
      new SocketLinks(undefined, true).listen(elsewhere, parameters, () => {}),
    ).rejects.toMatchObject({ code: 'vmm/listen-failed' });
  });
});
