/** What a source may send of its devices, and what may wait for them at the destination, is bounded for all together. */
import { describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { DeviceStreamReceiver } from '../../migration/device-stream.js';
import type { MessageOf } from '../../migration/messages.js';

const pieceOf = (device: string, bytes: number, last = false): MessageOf<'device-data'> => ({
  kind: 'device-data',
  device,
  data: new Uint8Array(bytes),
  last,
});

/** Devices that take what comes when `taking` resolves. */
function receiver(names: readonly string[], taking: Promise<void> = Promise.resolve()) {
  const taken: string[] = [];
  const starts = names.map((name) => ({
    name,
    does: {
      take: async () => {
        await taking;
        taken.push(name);
      },
      load: async () => {
        taken.push(`${name} loaded`);
      },
    },
  }));
  return { stream: new DeviceStreamReceiver(starts), taken };
}

describe('the streams of several devices', () => {
  it('end the migration when they are more than 256 MiB in all, however they are spread', async () => {
    const { stream } = receiver(['vf0', 'vf1', 'vf2']);
    for (let i = 0; i < 8; i++) await stream.take(pieceOf(`vf${i % 3}`, 32 * MIB));
    expect(stream.bytes).toBe(256 * MIB);
    for (const name of ['vf0', 'vf2'])
      expect(() => stream.take(pieceOf(name, 1))).toThrow(/more than 268435456 bytes in all/);
    expect(stream.bytes).toBe(256 * MIB);
  });

  it('are crowded when more than 8 MiB wait for all devices together, until they have been taken', async () => {
    let take: () => void = () => undefined;
    const taking = new Promise<void>((resolve) => {
      take = resolve;
    });
    const { stream, taken } = receiver(['vf0', 'vf1'], taking);
    void stream.take(pieceOf('vf0', 4 * MIB));
    void stream.take(pieceOf('vf1', 4 * MIB));
    expect(stream.crowded).toBe(false);
    void stream.take(pieceOf('vf0', 1, true));
    expect(stream.crowded, 'with one byte more').toBe(true);
    take();
    await stream.done;
    expect(stream.crowded, 'when all was taken').toBe(false);
    expect(taken.toSorted()).toEqual(['vf0', 'vf0', 'vf0 loaded', 'vf1']);
  });

  it('take nothing behind their last piece', async () => {
    const { stream, taken } = receiver(['vf0', 'vf1']);
    await stream.take(pieceOf('vf0', 1, true));
    expect(() => stream.take(pieceOf('vf0', 1))).toThrow(/more of vf0 after the last/);
    await stream.take(pieceOf('vf1', 1));
    expect(taken).toEqual(['vf0', 'vf0 loaded', 'vf1']);
  });

  it('keep their order, each its own, and do not wait for one another', async () => {
    let take: () => void = () => undefined;
    const slow = new Promise<void>((resolve) => {
      take = resolve;
    });
    const heard: string[] = [];
    const start = (name: string, taking: Promise<void>) => ({
      name,
      does: {
        take: async (piece: Uint8Array) => {
          await taking;
          heard.push(`${name} ${piece.length}`);
        },
      },
    });
    const stream = new DeviceStreamReceiver([start('vf0', slow), start('vf1', Promise.resolve())]);
    const first = [1, 2, 3].map((bytes) => stream.take(pieceOf('vf0', bytes)));
    await Promise.all([4, 5].map((bytes) => stream.take(pieceOf('vf1', bytes))));
    expect(heard).toEqual(['vf1 4', 'vf1 5']);
    take();
    await Promise.all(first);
    expect(heard.slice(2)).toEqual(['vf0 1', 'vf0 2', 'vf0 3']);
  });

  it('that failed are told of by every later piece, and take no more', async () => {
    const failing = { name: 'vf0', does: { take: () => Promise.reject(new Error('no such model')) } };
    const stream = new DeviceStreamReceiver([failing]);
    await expect(stream.take(pieceOf('vf0', 1))).rejects.toThrow('no such model');
    await expect(stream.take(pieceOf('vf0', 1, true))).rejects.toThrow('no such model');
    await expect(stream.done).rejects.toThrow('no such model');
  });
});
