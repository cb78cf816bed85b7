/**
 * Two QEMUs on one host, each with a function of ours at the same address, and what a guest needs to go from the first to the
 * second. Every process ends with this one, however it ends.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ServedNic, spawnNic } from '../nic/spawn.js';
import { Linux, portArguments, vfArguments, vfDevice } from './linux.js';
import type { QemuWorld } from './world.js';

export const VF = 'vf0';
export const STANDBY = 'standby0';
/** The slots of the function and of its standby. */
export const PORT = 'rp0';
const STANDBY_PORT = 'rp1';
export const MAC = '52:54:00:00:00:02';

export interface MachineOptions {
  /**
   * A virtio-net device with the function's address, which the guest has as one interface with it. `mute`: without a cable: it is
   * there so that QEMU takes the function out and in, and carries nothing.
   */
  readonly standby?: 'carries' | 'mute' | undefined;
  readonly acpiSlots?: boolean;
  readonly sharedMemory?: boolean;
  readonly memoryMib?: number;
  readonly cpus?: number;
}

export interface SideOptions {
  /** The guest comes from elsewhere. */
  readonly incoming?: boolean;
  /** The slot is empty at first; `plug` fills it. */
  readonly empty?: boolean;
}

export interface Side {
  readonly linux: Linux;
  readonly nic: ServedNic;
  /** Plugs the side's function into its slot, if that was empty; a standby's function QEMU plugs in by itself. */
  plug(): Promise<void>;
}

export class Pair {
  readonly #world: QemuWorld;
  readonly #netdev: string;
  readonly #machine: MachineOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), 'qemu-'));
  readonly #remove = (): void => rmSync(this.#folder, { recursive: true, force: true });
  readonly #sides: Side[] = [];
  readonly #nics: ServedNic[] = [];

  /** `netdev`: the fabric, as `--netdev` of `ferry nic` takes it. */
  constructor(world: QemuWorld, netdev: string, machine: MachineOptions = {}) {
    this.#world = world;
    this.#netdev = netdev;
    this.#machine = machine;
    process.once('exit', this.#remove);
  }

  /** Where the destination listens for the guest. */
  get uri(): string {
    return `unix:${join(this.#folder, 'move.sock')}`;
  }

  /** Starts one side. Rejects as `spawnNic` and `Linux.start` do. */
  async side({ incoming = false, empty = false }: SideOptions = {}): Promise<Side> {
    const { standby, ...machine } = this.#machine;
    const path = join(this.#folder, `${incoming ? 'destination' : 'source'}.sock`);
    const nic = await spawnNic({ vfioUser: `unix:${path}`, netdev: this.#netdev, mac: MAC });
    this.#nics.push(nic);
    const pair = standby === undefined ? {} : { failover_pair_id: STANDBY };
    const linux = await Linux.start({
      world: this.#world,
      ...machine,
      incoming,
      host: true,
      arguments: [
        ...portArguments(PORT, 1),
        ...portArguments(STANDBY_PORT, 2),
        ...(standby === undefined ? [] : this.#standbyArguments(standby)),
        ...(empty ? [] : vfArguments(VF, path, PORT, pair)),
      ],
    });
    const side: Side = {
      linux,
      nic,
      plug: async () => {
        if (!empty) return;
        await linux.command('device_add', { ...vfDevice(VF, path, PORT), ...pair });
      },
    };
    this.#sides.push(side);
    if (standby === 'mute') await linux.command('set_link', { name: STANDBY, up: false });
    return side;
  }

  #standbyArguments(standby: 'carries' | 'mute'): readonly string[] {
    const device = `virtio-net-pci,id=${STANDBY},bus=${STANDBY_PORT},mac=${MAC},failover=on`;
    if (standby === 'mute') return ['-device', device];
    const path = this.#netdev.slice('unix:'.length);
    const netdev = `stream,id=n0,server=off,addr.type=unix,addr.path=${path}`;
    return ['-netdev', netdev, '-device', `${device},netdev=n0`];
  }

  /** Ends all of it; harmless when called twice. */
  async close(): Promise<void> {
    for (const { linux } of this.#sides) linux.kill();
    await Promise.all([
      ...this.#sides.map(({ linux }) => linux.exited),
      ...this.#nics.map((nic) => nic.quit()),
    ]);
    process.off('exit', this.#remove);
    this.#remove();
  }
}
