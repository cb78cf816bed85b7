import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startFabric } from '../../lab/fabric/fabric.js';
import { readPcapng } from '../devices/ethernet-pcapng-reader.js';
import { start } from '../processes.js';

const QEMU = 'qemu-system-x86_64';
const version = /version (\d+)\.(\d+)/.exec(spawnSync(QEMU, ['--version']).stdout?.toString() ?? '');
/** `-netdev stream` came with 7.2. */
const speaksStream = version !== null && Number(version[1]) * 100 + Number(version[2]) >= 702;
const PATIENCE_MS = 60_000;

// A whole emulator is much to install for one test: it is run where there is one, and CI has none.
describe.skipIf(!speaksStream)('QEMU', () => {
  it('joins, and its network boot ROM is heard asking for an address', { timeout: PATIENCE_MS }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fabric-'));
    const path = join(folder, 's');
    const pcap = join(folder, 'net.pcapng');
    const fabric = await startFabric({ listen: [{ kind: 'unix', path }], pcap });
    const args = [
      ...['-accel', 'tcg', '-m', '64', '-boot', 'n', '-device', 'e1000,netdev=n,mac=52:54:00:12:34:56'],
      ...['-display', 'none', '-serial', 'none', '-monitor', 'none'],
      ...['-netdev', `stream,id=n,server=off,addr.type=unix,addr.path=${path}`],
    ];
    const qemu = start(args, { program: QEMU });
    try {
      const port = () => fabric.report().ports[0];
      const deadline = performance.now() + PATIENCE_MS - 5000;
      // Its first frames are IPv6's; the DHCP discover is the long one.
      while ((port()?.bytesIn ?? 0) < 442 && qemu.child.exitCode === null && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect(port()).toMatchObject({ invalid: 0, giants: 0, end: null });
      expect(fabric.report().stations.known).toBe(1);
      await fabric.close();
      const discover = readPcapng(readFileSync(pcap)).packets.find(({ bytes }) => bytes.length === 442);
      // Broadcast, from the address given, IPv4, UDP from port 68 to 67.
      expect(Buffer.from(discover!.bytes.subarray(0, 14)).toString('hex')).toBe(
        'ffffffffffff5254001234560800',
      );
      expect(Buffer.from(discover!.bytes.subarray(34, 38)).toString('hex')).toBe('00440043');
    } finally {
      await qemu.kill();
      await fabric.close();
      rmSync(folder, { recursive: true });
    }
  });
});
