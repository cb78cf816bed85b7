/** Two QEMUs, each with a function of ours at the same address, and a guest that may go from the first to the second. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FabricProcess, spawnFabric } from '../../lab/fabric/spawn.js';
import { type ServedNic, spawnNic } from '../../lab/nic/spawn.js';
import { Linux, portArguments, vfArguments } from '../../lab/qemu/linux.js';
import type { QemuWorld } from '../../lab/qemu/world.js';
import { STATION } from './world.js';

export const GUEST_IP = '10.0.0.2';
const MAC = '52:54:00:00:00:02';
const ENDED = ['completed', 'failed', 'cancelled'];
const MOVE_MS = 1_200_000;
/** UDP echo in the guest: blocks as large as the flow's datagrams, so that two of them never leave as one. */
const ECHO_BYTES = 64;

export interface Side {
  readonly linux: Linux;
  readonly nic: ServedNic;
}

export class Pair {
  readonly fabric: FabricProcess;
  readonly #world: QemuWorld;
  readonly #folder: string;
  readonly #standby: boolean;
  readonly #sides: Side[] = [];

  private constructor(world: QemuWorld, folder: string, fabric: FabricProcess, standby: boolean) {
    this.#world = world;
    this.#folder = folder;
    this.fabric = fabric;
    this.#standby = standby;
  }

  /** `standby`: beside each function is a virtio-net device with its address. */
  static async make(world: QemuWorld, standby: boolean): Promise<Pair> {
    const fabric = await spawnFabric({ peers: [`ip=${STATION}`] });
    return new Pair(world, mkdtempSync(join(tmpdir(), 'qemu-')), fabric, standby);
  }

  /** Starts one side: the guest's own, or one where it is to arrive. */
  async side({ incoming = false } = {}): Promise<Side> {
    const path = join(this.#folder, `${this.#sides.length}.sock`);
    const { address } = this.fabric;
    const nic = await spawnNic({ vfioUser: `unix:${path}`, netdev: address, mac: MAC });
    const netdev = `stream,id=n0,server=off,addr.type=unix,addr.path=${address.slice('unix:'.length)}`;
    const linux = await Linux.start({
      world: this.#world,
      incoming,
      arguments: [
        ...portArguments('rp0', 1),
        ...portArguments('rp1', 2),
        ...(this.#standby
          ? [
              '-netdev',
              netdev,
              '-device',
              `virtio-net-pci,id=standby0,bus=rp1,netdev=n0,mac=${MAC},failover=on`,
            ]
          : []),
        ...vfArguments('vf0', path, 'rp0', this.#standby ? { failover_pair_id: 'standby0' } : {}),
      ],
    });
    const side = { linux, nic };
    this.#sides.push(side);
    return side;
  }

  /** The guest goes from one side to the other; resolves with how QEMU's migration ended there. */
  async move(from: Side, to: Side): Promise<Readonly<Record<string, unknown>>> {
    for (const { linux } of [from, to]) {
      const capabilities = [{ capability: 'events', state: true }];
      await linux.qmp.execute('migrate-set-capabilities', { capabilities });
    }
    const uri = `unix:${join(this.#folder, 'move.sock')}`;
    await to.linux.qmp.execute('migrate-incoming', { uri });
    const ended = from.linux.qmp.waitFor('MIGRATION', {
      where: ({ status }) => ENDED.includes(String(status)),
      timeoutMs: MOVE_MS,
    });
    await from.linux.qmp.execute('migrate', { uri });
    await ended;
    return (await from.linux.qmp.execute('query-migrate')) as Readonly<Record<string, unknown>>;
  }

  async close(): Promise<void> {
    for (const { linux } of this.#sides) linux.kill();
    await Promise.all([...this.#sides.map(({ nic }) => nic.quit()), this.fabric.quit()]);
    rmSync(this.#folder, { recursive: true });
  }
}

/** Has the guest answer datagrams at `GUEST_IP`, and measures from now on. */
export async function echoes({ fabric }: Pair, { linux }: Side, rate: number): Promise<void> {
  await linux.sh(`(socat -b ${ECHO_BYTES} UDP4-LISTEN:7 PIPE </dev/null >/dev/null 2>&1 &)`);
  await fabric.startFlow(`to=${GUEST_IP},rate=${rate},size=${ECHO_BYTES}`);
}
