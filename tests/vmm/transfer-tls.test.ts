/** Data channels under TLS, with page workers, tied to a control link. */
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { seededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { SocketDestinationDataPlane } from '../../dist/vmm/transfer/destination-plane.js';
import { SocketSourceDataPlane } from '../../dist/vmm/transfer/source-plane.js';
import type { DataPlaneOptions } from '../../migration/ports.js';
import { connectControlLink } from '../../vmm/control-link/socket-link.js';
import { loadCredentials } from '../../vmm/tls/credentials.js';
import { beginTls, bindingOf, type TlsBinding } from '../../vmm/tls/session.js';
import { ramDifferences } from '../migration/ram-differences.js';
import { Authority, hasOpenssl } from './certificates.js';

const HOST = '127.0.0.1';
const PAGES = 1024;
const OPTIONS: DataPlaneOptions = { channels: 2, integrity: true, hashSeed: 9, migratedPages: PAGES };

interface Session {
  readonly source: TlsBinding;
  readonly destination: TlsBinding;
}

/** What a control link leaves both its ends with. */
async function controlLink(client: string, server: string): Promise<Session> {
  const credentials = loadCredentials(server, 'server');
  const listener = createServer();
  const destination = new Promise<TlsBinding>((resolve) => {
    listener.on('connection', (raw) =>
      beginTls(raw, credentials, undefined, {
        failed: () => {},
        secure: (socket) => {
          socket.on('error', () => {});
          resolve(bindingOf(socket, credentials));
        },
      }),
    );
  });
  await new Promise<void>((resolve) => listener.listen(0, HOST, resolve));
  const { port } = listener.address() as AddressInfo;
  const tls = { credentials: loadCredentials(client, 'client'), name: HOST };
  const link = await connectControlLink({ kind: 'tcp', host: HOST, port }, undefined, { tls });
  const session = { source: link.binding!, destination: await destination };
  link.close();
  listener.close();
  return session;
}

const sharedMemory = (): WebAssembly.Memory =>
  new WebAssembly.Memory({ initial: PAGES / 16, maximum: 65536, shared: true });
const ramOf = (memory: WebAssembly.Memory): Uint8Array =>
  new Uint8Array(memory.buffer, 0, PAGES * PAGE_BYTES);

describe.skipIf(!hasOpenssl)('data channels under TLS', () => {
  let authority: Authority;
  let good: string;
  beforeAll(() => {
    authority = new Authority();
    good = authority.credentials();
  });
  afterAll(() => authority.close());

  it('bring every page over, and let in none but the destination of their control link', async () => {
    const [session, another] = [await controlLink(good, good), await controlLink(good, good)];
    const stranger = authority.credentials();
    const impostor: TlsBinding = { ...session.destination, credentials: loadCredentials(stranger, 'server') };
    const [here, there] = [sharedMemory(), sharedMemory()];
    seededRandom(3).fill(ramOf(here));
    const source = new SocketSourceDataPlane({ memory: here, host: HOST, tls: session.source });
    const planes = [source] as { close(): Promise<void> }[];
    const destinationWith = (tls: TlsBinding | undefined) => {
      const plane = new SocketDestinationDataPlane({ memory: () => there, tls, connectTimeoutMs: 3000 });
      planes.push(plane);
      return plane;
    };
    try {
      const endpoint = await source.open(OPTIONS);
      // A good certificate is not enough, nor the token, nor the secret of another session, nor the right one with another
      // certificate.
      for (const [tls, code] of [
        [another.destination, 'transfer/connect-failed'],
        [impostor, 'transfer/connect-failed'],
        [undefined, 'pages/bad-hello'],
      ] as const) {
        await expect(destinationWith(tls).connect(endpoint, OPTIONS)).rejects.toMatchObject({ code });
      }
      const destination = destinationWith(session.destination);
      await Promise.all([destination.connect(endpoint, OPTIONS), source.connected()]);
      const pages = new AtomicBitmap(PAGES);
      pages.fill();
      const [sent, received] = await Promise.all([source.sendRound(1, pages), destination.received(1)]);
      expect(received).toEqual(sent);
      expect(ramDifferences(ramOf(there), ramOf(here))).toBe('');
      expect(destination.hashes.words).toEqual(source.hashes.words);
      await source.close();
      await expect(destination.received(2)).rejects.toMatchObject({ code: 'transfer/closed' });
    } finally {
      await Promise.all(planes.map((plane) => plane.close()));
    }
  });
});
