/** TCP between the two machines, with each combination of what the function may be asked to do for it, and through tunnels. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { answers, bringUp, type LinuxWorld, type Machine, quiet } from './world.js';

const OFFLOADS = ['tx', 'rx', 'tso', 'gso', 'gro'] as const;
const COMBINATIONS = Array.from({ length: 2 ** OFFLOADS.length }, (_, bits) =>
  OFFLOADS.map((name, i) => `${name} ${(bits >> i) & 1 ? 'on' : 'off'}`).join(' '),
);
const PORT = 5000;
const FILE_BLOCKS = 1024;

/** A file of `blocks` KiB goes from one machine to the other, at `address`, and is the same there. */
async function carries(from: Machine, to: Machine, address: string, blocks = FILE_BLOCKS): Promise<void> {
  await from.linux.sh(`dd if=/dev/urandom of=sent bs=1k count=${blocks} 2>/dev/null`);
  await to.linux.sh('rm -f came done');
  // Each end says by itself that it has no more: one that had nothing to say would have ended the other.
  await to.linux.sh(`(socat -u TCP-LISTEN:${PORT},reuseaddr CREATE:came; touch done) >/dev/null 2>&1 &`);
  await to.linux.until(`netstat -ltn | grep -q :${PORT}`);
  await from.linux.sh(`socat -u FILE:sent TCP:${address}:${PORT}`, 1_200_000);
  await to.linux.until('[ -e done ]', 600);
  const sums = await Promise.all([from.linux.sh('sha256sum <sent'), to.linux.sh('sha256sum <came')]);
  expect(sums[1]).toBe(sums[0]);
}

const noBadChecksums = async ({ linux }: Machine): Promise<void> => {
  expect(await linux.sh('ethtool -S eth0')).toMatch(/^ *rx_csum_offload_errors: 0$/m);
};

export function transfers(world: () => LinuxWorld): void {
  it.each(COMBINATIONS)('files come unharmed both ways with %s', async (settings) => {
    const { a, b } = world();
    for (const { linux } of [a, b]) await linux.sh(`ethtool -K eth0 ${settings}`);
    await answers(a.linux, b.ip);
    await carries(a, b, b.ip);
    await carries(b, a, a.ip);
    for (const machine of [a, b]) {
      await noBadChecksums(machine);
      await quiet(machine.linux);
    }
  });

  it.each(['', '-R', '--bidir'])(
    'iperf3 %s brings over what it is asked to, in four streams',
    async (direction) => {
      const { a, b } = world();
      await b.linux.sh('iperf3 -s -D -1');
      const said = await a.linux.until(`iperf3 -c ${b.ip} -P 4 -n 4M ${direction} -J`, 600);
      const { end } = JSON.parse(said) as { end: { sum_received: { bytes: number } } };
      expect(end.sum_received.bytes).toBeGreaterThanOrEqual(3 * 2 ** 20);
      await quiet(a.linux);
      await quiet(b.linux);
    },
  );
}

const TUNNELS: readonly [name: string, add: (own: Machine, other: Machine) => string][] = [
  [
    'vxlan',
    (own, other) =>
      `modprobe vxlan; ip link add t0 type vxlan id 5 local ${own.ip} remote ${other.ip} dstport 4789 dev eth0 udpcsum`,
  ],
  ['gre', (own, other) => `modprobe ip_gre; ip link add t0 type gretap local ${own.ip} remote ${other.ip}`],
];

export function tunnels(world: () => LinuxWorld): void {
  it.each(TUNNELS)('files come unharmed both ways through %s', async (_name, add) => {
    const { a, b } = world();
    for (const machine of [a, b]) await bringUp(machine);
    for (const [n, own, other] of [
      [2, a, b],
      [3, b, a],
    ] as const) {
      await own.linux.sh(
        `ip link del t0 2>/dev/null; ${add(own, other)}; ip link set t0 up; ip addr add 10.5.0.${n}/24 dev t0`,
      );
    }
    await answers(a.linux, '10.5.0.3');
    await carries(a, b, '10.5.0.3');
    await carries(b, a, '10.5.0.2');
    for (const machine of [a, b]) {
      await machine.linux.sh('ip link del t0');
      await noBadChecksums(machine);
      await quiet(machine.linux);
    }
  });
}

const tshark = spawnSync('tshark', ['--version']).status === 0;

/** After all else. */
export function capture(world: () => LinuxWorld): void {
  it.skipIf(!tshark)(
    'tshark finds no bad checksum in all that was on the network (skipped without tshark)',
    () => {
      const protocols = ['ip', 'tcp', 'udp'];
      const read = (filter: string): string[] => {
        const preferences = protocols.flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
        const file = join(world().folder, 'net.pcapng');
        const { stdout } = spawnSync('tshark', ['-r', file, ...preferences, '-Y', filter], {
          maxBuffer: 2 ** 30,
        });
        return stdout
          .toString()
          .split('\n')
          .filter((line) => line !== '');
      };
      // 0 is bad, 1 good.
      expect(read(protocols.map((name) => `${name}.checksum.status == 0`).join(' || '))).toEqual([]);
      expect(read('tcp.checksum.status == 1').length).toBeGreaterThan(1000);
    },
  );
}
