/** A guest with a virtio-net device moves under traffic: the device is the VMM's own, and its writes are host writes. */
import { describe, expect, it } from 'vitest';
import { moveUnderTraffic } from './passthrough-world.js';

describe('a guest with a virtio-net device', () => {
  it('moves byte for byte while frames come and go, and goes on where it is then', async () => {
    const { source, destination, flow, nic, console, announcedAt, stationMoves } = await moveUnderTraffic({
      virtio: 'alone',
    });
    expect([source.status, destination.status]).toEqual(['completed', 'completed']);
    expect(source.verification).toMatchObject({ established: true, differences: [] });
    expect(nic).toMatchObject({ name: 'virtio-net0', state: 'RUNNING', link: true });
    const { received, lost, corrupt, duplicated, reordered } = flow.arrived!;
    expect({ corrupt, duplicated, reordered }).toEqual({ corrupt: 0, duplicated: 0, reordered: 0 });
    expect(received).toBeGreaterThan(1000);
    // What came while the guest stood was dropped by a device that knew it.
    expect(lost).toBeLessThan(received / 10);
    // By the guest's own driver: nobody had to do it for it.
    expect([announcedAt, stationMoves]).toEqual([[], 1]);
    expect(console.filter((line) => /needs a reset|Failed to ack|BUG|DMA-API: virtio/.test(line))).toEqual(
      [],
    );
    // In the log of host writes is nothing but what this device wrote.
    expect(source.rounds.some(({ dirtied }) => dirtied.device + dirtied.both > 0)).toBe(true);
  });

  it('moves as the standby of a function that moves by its state, and of which it takes nothing away', async () => {
    const { source, flow, nics, console } = await moveUnderTraffic({ virtio: 'standby' });
    expect(source.status).toBe('completed');
    expect(source.verification).toMatchObject({ established: true, differences: [] });
    expect(nics).toMatchObject([
      { name: 'vf0', state: 'RUNNING' },
      { name: 'virtio-net0', state: 'RUNNING', counters: { 'frames-sent': 0 } },
    ]);
    expect(flow.arrived).toMatchObject({ corrupt: 0, duplicated: 0, reordered: 0 });
    expect(console.filter((line) => /primary slave:eth2 registered/.test(line))).toHaveLength(1);
    expect(console.filter((line) => /unregistered|needs a reset|BUG/.test(line))).toEqual([]);
  });
});
