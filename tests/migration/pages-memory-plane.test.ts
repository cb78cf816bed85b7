import { expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { seededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { MemoryDataNetwork } from '../../lab/simulator/memory-data-plane.js';
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

it('a channel cut at any frame boundary or within a frame gives one error at each side', async () => {
  for (const cutAt of [0, 32, 40, 5000, 100_000]) {
    const scheduler = new VirtualTime(seededRandom(cutAt), new Trace());
    const network = new MemoryDataNetwork({
      scheduler,
      tamper: (chunk, { channel, at }) => (channel === 0 && at + chunk.length > cutAt ? 'cut' : chunk),
    });
    const ram = new Uint8Array(64 * PAGE_BYTES).fill(3);
    const source = network.source(() => ram);
    const destination = network.destination(() => new Uint8Array(64 * PAGE_BYTES));
    const options = { channels: 2, integrity: true, hashSeed: 1, migratedPages: 64 };
    const outcomes = await scheduler.run(
      (async () => {
        const endpoint = await source.open(options);
        const connecting = destination.connect(endpoint, options);
        await source.connected();
        const pages = new AtomicBitmap(64);
        pages.fill();
        const settled = await Promise.allSettled([
          connecting,
          source.sendRound(1, pages),
          destination.received(1),
        ]);
        await Promise.all([source.close(), destination.close()]);
        return settled;
      })(),
    );
    expect(outcomes[1]).toMatchObject({ status: 'rejected', reason: { code: 'transfer/channel-broken' } });
    expect(outcomes[2]).toMatchObject({ status: 'rejected', reason: { code: 'transfer/channel-broken' } });
  }
});
