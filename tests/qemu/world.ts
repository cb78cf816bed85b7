/** Two Linux machines, each with a virtual function of ours, on one fabric with a station of ours. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type FabricProcess, spawnFabric } from '../../lab/fabric/spawn.js';
import { type ServedNic, spawnNic } from '../../lab/nic/spawn.js';
import { Linux, portArguments, vfArguments } from '../../lab/qemu/linux.js';
import { complaintsIn } from '../../lab/qemu/verdict.js';
import type { QemuWorld } from '../../lab/qemu/world.js';

/** Of the fabric's own station, and of the machines. */
export const STATION = '10.0.0.1';
const FRAME_MAX = 9728;

export interface Machine {
  readonly linux: Linux;
  readonly nic: ServedNic;
  readonly ip: string;
  readonly mac: string;
}

export class LinuxWorld {
  readonly folder: string;
  readonly fabric: FabricProcess;
  readonly a: Machine;
  readonly b: Machine;

  private constructor(folder: string, fabric: FabricProcess, a: Machine, b: Machine) {
    this.folder = folder;
    this.fabric = fabric;
    this.a = a;
    this.b = b;
  }

  static async boot(world: QemuWorld): Promise<LinuxWorld> {
    const folder = mkdtempSync(join(tmpdir(), 'qemu-'));
    const fabric = await spawnFabric({ peers: [`ip=${STATION}`], pcap: join(folder, 'net.pcapng') });
    const machine = async (name: string, n: number, cpus: number): Promise<Machine> => {
      const path = join(folder, `${name}.sock`);
      const mac = `52:54:00:00:00:0${n}`;
      const nic = await spawnNic({
        vfioUser: `unix:${path}`,
        netdev: fabric.address,
        mac,
        frameMax: FRAME_MAX,
      });
      const linux = await Linux.start({
        world,
        cpus,
        arguments: [...portArguments('rp0', 1), ...vfArguments('vf0', path, 'rp0')],
      });
      return { linux, nic, ip: `10.0.0.${n}`, mac };
    };
    const [a, b] = await Promise.all([machine('a', 2, 2), machine('b', 3, 1)]);
    await Promise.all([a.linux.booted(), b.linux.booted()]);
    return new LinuxWorld(folder, fabric, a, b);
  }

  async close(): Promise<void> {
    for (const { linux } of [this.a, this.b]) linux.kill();
    await Promise.all([this.a.nic.quit(), this.b.nic.quit(), this.fabric.quit()]);
    rmSync(this.folder, { recursive: true });
  }
}

/** Has the driver take the function, and gives the interface its address; resolves when it has a link. */
export async function bringUp({ linux, ip }: Machine): Promise<void> {
  await linux.sh('modprobe ixgbevf; ip link set eth0 up');
  await linked(linux);
  await linux.sh(`ip addr flush dev eth0 scope global; ip addr add ${ip}/24 dev eth0`);
}

/** Resolves when the interface has a carrier. */
export const linked = (linux: Linux, device = 'eth0'): Promise<string> =>
  linux.until(`[ "$(cat /sys/class/net/${device}/carrier)" = 1 ]`);

/** `count` pings to `address`, none of them lost. */
export async function pings(linux: Linux, address: string, count = 5, more = '-i 0.05'): Promise<void> {
  const said = await linux.sh(`ping -q -c ${count} ${more} -W 60 ${address}`, 3_600_000);
  expect(said).toContain(`${count} packets transmitted, ${count} received`);
}

/** The first ping may be early for a link or an address that has just come; then all come back. */
export async function answers(linux: Linux, address: string): Promise<void> {
  await linux.until(`ping -q -c 1 -W 1 ${address}`, 60);
  await pings(linux, address);
}

/** The kernel has said nothing, since it was last asked, that is a warning or worse, but for what `may` allows. */
export async function quiet(linux: Linux, ...may: readonly RegExp[]): Promise<readonly string[]> {
  const log = await linux.kernelLog();
  const bad = complaintsIn(log, may);
  expect(bad.join('\n')).toBe('');
  return log;
}
