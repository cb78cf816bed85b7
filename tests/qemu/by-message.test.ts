/** A Linux whose memory QEMU keeps to itself: its function reaches it by messages, and QEMU answers nothing while its processor waits. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { spawnFabric } from '../../lab/fabric/spawn.js';
import { spawnNic } from '../../lab/nic/spawn.js';
import { Linux, portArguments, vfArguments } from '../../lab/qemu/linux.js';
import { findWorld } from '../../lab/qemu/world.js';
import { linked, pings, STATION } from './world.js';

const found = findWorld();
const why = typeof found === 'string' ? ` (skipped: ${found})` : '';

describe.skipIf(typeof found === 'string')(
  `a function that has no descriptor of its guest's memory${why}`,
  () => {
    it('works all the same: no ping is lost, the part tests itself, and the driver finds nothing wrong', async () => {
      if (typeof found === 'string') return;
      const folder = mkdtempSync(join(tmpdir(), 'qemu-message-'));
      const fabric = await spawnFabric({ peers: [`ip=${STATION}`] });
      const path = join(folder, 'vf.sock');
      const mac = '52:54:00:00:00:02';
      const nic = await spawnNic({ vfioUser: `unix:${path}`, netdev: fabric.address, mac });
      const linux = await Linux.start({
        world: found,
        sharedMemory: false,
        arguments: [...portArguments('rp0', 1), ...vfArguments('vf0', path, 'rp0')],
      });
      try {
        await linux.booted();
        await linux.sh('modprobe ixgbevf; ip link set eth0 up');
        await linked(linux);
        await linux.sh('ip addr flush dev eth0 scope global; ip addr add 10.0.0.2/24 dev eth0');
        await pings(linux, STATION, 200);
        // Its registers are read meanwhile.
        expect(await linux.sh('ethtool -S eth0; ethtool -t eth0 offline')).toContain('PASS');
        await linked(linux);
        await pings(linux, STATION, 50);
        expect(
          (await linux.run('dmesg | grep -E "ixgbevf|eth0" | grep -E "removed|Reset|Unable|WATCHDOG"'))
            .output,
        ).toBe('');
        expect(await nic.execute('query-nic')).toMatchObject({ clients: 1, dmaBlocked: 0 });
      } finally {
        linux.kill();
        await Promise.all([nic.quit(), fabric.quit()]);
        rmSync(folder, { recursive: true });
      }
    }, 1_200_000);
  },
);
