import { expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { seededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { MemoryDataNetwork } from '../../lab/simulator/memory-data-plane.js';
import type { Tamper } from '../../lab/simulator/memory-wire.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import { describeDataPlane, flipper, type WithPair } from './pages-conformance.js';

let seed = 1;

const withPair: WithPair = async ({ pages, flipByteAt }, body) => {
  const scheduler = new VirtualTime(seededRandom(seed++), new Trace());
  const flipOnce = flipper(flipByteAt);
  const network = new MemoryDataNetwork({
    scheduler,
    windowBytes: 65_536,
    tamper: (chunk, { at }) => {
      flipOnce(chunk, at);
      return chunk;
    },
  });
  const sourceRam = new Uint8Array(pages * PAGE_BYTES);
  const destinationRam = new Uint8Array(pages * PAGE_BYTES);
  const source = network.source(() => sourceRam);
  const destination = network.destination(() => destinationRam);
  const work = async () => {
    try {
      return await body({
        sourceRam,
        destinationRam,
        source,
        destination,
        sourceHasher: network.hasher(() => sourceRam),
        destinationHasher: network.hasher(() => destinationRam),
      });
    } finally {
      await Promise.all([source.close(), destination.close()]);
    }
  };
  return scheduler.run(work());
};

describeDataPlane({
  name: 'memory',
  withPair,
  bitmap: (pages) => new AtomicBitmap(pages),
  random: seededRandom(7),
});

/** One round of 64 pages on two channels, on whose pieces `tamper` is at work: how connecting, sending and receiving end. */
function endsOf(seed: number, tamper: Tamper): Promise<readonly PromiseSettledResult<unknown>[]> {
  const scheduler = new VirtualTime(seededRandom(seed), new Trace());
  const network = new MemoryDataNetwork({ scheduler, tamper });
  const ram = new Uint8Array(64 * PAGE_BYTES).fill(3);
  const source = network.source(() => ram);
  const destination = network.destination(() => new Uint8Array(64 * PAGE_BYTES));
  const options = { channels: 2, integrity: true, hashSeed: 1, migratedPages: 64 };
  const work = async () => {
    const endpoint = await source.open(options);
    const connecting = destination.connect(endpoint, options);
    const pages = new AtomicBitmap(64);
    pages.fill();
    const sending = source.connected().then(() => source.sendRound(1, pages));
    const settled = await Promise.allSettled([connecting, sending, destination.received(1)]);
    await Promise.all([source.close(), destination.close()]);
    return settled;
  };
  return scheduler.run(work());
}

const HELLO_BYTES = 32;
const failedWith = (code: string) => ({ status: 'rejected', reason: { code } });

it('a channel cut at any frame boundary or within a frame gives one error at each side', async () => {
  for (const cutAt of [0, 32, 40, 5000, 100_000]) {
    const [, sent, received] = await endsOf(cutAt, (piece, { at }) =>
      at + piece.length > cutAt ? 'cut' : piece,
    );
    expect(sent).toMatchObject(failedWith('transfer/channel-broken'));
    // What is under way is lost with the connection: the hello too, if it was not yet read.
    expect(received).toMatchObject({
      status: 'rejected',
      reason: { code: expect.stringMatching(/^transfer\/(connect-failed|channel-broken)$/) },
    });
  }
});

it('a channel that ends after any byte, as if in good order, is found truncated', async () => {
  // All of hello, head, and end of the round; of the pages' bytes every few thousandth.
  const head = Array.from({ length: 150 }, (_, byte) => byte);
  const pages = Array.from({ length: 60 }, (_, i) => 150 + 4099 * i);
  for (const bytes of [...head, ...pages]) {
    const [, sent, received] = await endsOf(bytes, (piece, { at }) =>
      at + piece.length > bytes ? { last: piece.subarray(0, bytes - at) } : piece,
    );
    expect(sent, `after ${bytes} bytes`).toMatchObject(failedWith('transfer/channel-broken'));
    const code = bytes < HELLO_BYTES ? 'transfer/connect-failed' : 'pages/truncated';
    expect(received, `after ${bytes} bytes`).toMatchObject(failedWith(code));
  }
});
