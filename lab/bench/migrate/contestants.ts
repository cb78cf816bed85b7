/**
 * Who moves RAM from one process to another that was started for it: VMMs of ours, and bare Node. Each has what is moved in a
 * process, and every turn moves it on into the next.
 */
import { MIB } from '../../../base/units.js';
import type { MigrationInfo } from '../../../vmm/monitor/control.js';
import { KERNEL_IMAGE } from '../../move/scenario.js';
import { spawnVmm, type Vmm } from '../../vmm-client/spawn.js';
import { AskedProcess } from '../asked-process.js';
import { BARE_PROCESS, type BareStep } from './bare-process.js';
import type { DestinationKind, RamContents } from './kinds.js';

export interface Turn {
  readonly destination: DestinationKind;
  readonly channels: number;
}

export interface Moved {
  /** As the monitor tells it, set-up included; of the bare pump from its first byte to its last. */
  readonly totalMs: number;
  /** Bytes of pages that are not zero. */
  readonly dataBytes: number;
  readonly setupMs?: number;
  readonly downtimeMs?: number;
  /** From the command to the event that tells of its end, as a client of the monitor has it. */
  readonly wallMs?: number;
}

/** What `query-migrate` tells at a source of which the guest has gone, ours or QEMU's. */
export function movedBy(info: MigrationInfo, wallMs: number): Moved {
  return {
    totalMs: info['total-time'] ?? Number.NaN,
    setupMs: info['setup-time'] ?? Number.NaN,
    downtimeMs: info.downtime ?? Number.NaN,
    dataBytes: info.ram?.['normal-bytes'] ?? 0,
    wallMs,
  };
}

/** Of guest RAM, what its kernel keeps, at the edges of the blocks of 4 MiB that a workload may have. */
const KERNEL_BYTES = 24 * MIB;
const FILL_TIMEOUT_MS = 120_000;

/** A guest of ours that stands still, so that every page travels once. */
export class OurMoves {
  readonly #memoryBytes: number;
  #vmm: Vmm;

  private constructor(memoryBytes: number, vmm: Vmm) {
    this.#memoryBytes = memoryBytes;
    this.#vmm = vmm;
  }

  /** Rejects with the FerryErrors of `spawnVmm`. */
  static async start(memoryBytes: number, contents: RamContents): Promise<OurMoves> {
    const filled = memoryBytes - KERNEL_BYTES;
    const vmm = await spawnVmm({
      guest: KERNEL_IMAGE,
      memoryBytes,
      append:
        contents === 'random'
          ? `workload=stress pattern=sequential dirty_rate=0 working_set=${filled} status_ms=100`
          : 'workload=idle status_ms=100',
    });
    try {
      await vmm.waitForConsole(contents === 'random' ? /pass [1-9]/ : /idle: up/, {
        timeoutMs: FILL_TIMEOUT_MS,
      });
      await vmm.execute('stop');
      return new OurMoves(memoryBytes, vmm);
    } catch (error) {
      await vmm.quit();
      throw error;
    }
  }

  /** Rejects with the FerryErrors of the VMMs. */
  async move({ destination, channels }: Turn, integrity: boolean): Promise<Moved> {
    const source = this.#vmm;
    // As people do it: first what the migration is to be like, then the destination, then the move.
    await source.execute('migrate-set-parameters', {
      'multifd-channels': channels,
      verify: integrity ? 'root' : 'off',
    });
    const next = await spawnVmm({
      incoming: 'tcp:127.0.0.1:0',
      memoryBytes: this.#memoryBytes,
      vcpus: 1,
      prealloc: destination === 'warm',
    });
    try {
      const address = await next.incomingAddress();
      const from = performance.now();
      await source.migrate(address);
      const wallMs = performance.now() - from;
      const moved = movedBy((await source.execute('query-migrate')) as MigrationInfo, wallMs);
      this.#vmm = next;
      await source.quit();
      return moved;
    } catch (error) {
      await next.quit();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#vmm.quit();
  }
}

/** The yardstick. */
export class BareMoves {
  readonly #bytes: number;
  readonly #source: AskedProcess<BareStep>;

  constructor(bytes: number) {
    this.#bytes = bytes;
    this.#source = new AskedProcess(BARE_PROCESS, 'source', { bytes, touched: true });
  }

  /** Rejects with `bench/process-died`. */
  async move({ destination, channels }: Turn): Promise<Moved> {
    const settings = { bytes: this.#bytes, touched: destination === 'warm' };
    const next = new AskedProcess<BareStep>(BARE_PROCESS, 'destination', settings);
    try {
      const ports = (await this.#source.ask({ step: 'open', channels })) as number[];
      await next.ask({ step: 'connect', ports });
      const from = performance.now();
      const received = next.ask({ step: 'received' });
      await this.#source.ask({ step: 'go' });
      await received;
      return { totalMs: performance.now() - from, dataBytes: this.#bytes };
    } finally {
      next.kill();
    }
  }

  close(): void {
    this.#source.kill();
  }
}
