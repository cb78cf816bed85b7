/** Moves of real processes on a real network, and guests that answer echoes there. Needs the built tree. */
import { expect } from 'vitest';
import { MIB } from '../../base/units.js';
import { type FabricProcess, spawnFabric } from '../../dist/lab/fabric/spawn.js';
import { migrate } from '../../dist/lab/index.js';
import type { MigrateResult } from '../../dist/lab/move/move.js';
import { KERNEL_IMAGE, type MigrateOptions } from '../../dist/lab/move/scenario.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import type { NicKind } from '../../vmm/process/nic-options.js';

/** What ends what a test has begun. */
export const cleanups: (() => unknown)[] = [];
/** To be called after each test. */
export async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

export const RATE = 2000;
const POLL_MS = 10;

/** A move that must be verified, whatever else is looked at. */
export async function moved(options: MigrateOptions): Promise<MigrateResult> {
  const result = await migrate({ memoryBytes: 64 * MIB, settleMs: 400, rate: RATE, seed: 7, ...options });
  const others = result.verdict.checks.filter(({ outcome }) => outcome !== 'held');
  expect(others.map(({ name, outcome, seen }) => `${name}: ${outcome}, ${seen}`)).toEqual([]);
  expect(result.verdict.outcome).toBe('verified');
  return result;
}

export interface World {
  readonly fabric: FabricProcess;
  readonly source: Vmm;
  readonly destination: Vmm;
}

/** A guest that answers echoes at the source, with echoes flowing over each of its functions. */
export async function world(
  destinationOptions: (netdev: string) => Parameters<typeof spawnVmm>[0],
  functions = 1,
  nic: NicKind = `vf=${functions}`,
): Promise<World> {
  const fabric = await spawnFabric({ peers: ['ip=10.0.0.1'] });
  cleanups.push(() => fabric.quit());
  const spawned = async (options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> => {
    const vmm = await spawnVmm(options);
    cleanups.push(() => vmm.quit());
    return vmm;
  };
  const source = await spawned({
    nic,
    netdev: fabric.address,
    guest: KERNEL_IMAGE,
    memoryBytes: 64 * MIB,
    append: 'workload=ledger,udp-echo status_ms=100',
  });
  const destination = await spawned(destinationOptions(fabric.address));
  for (let i = 0; i < functions; i++) {
    await source.waitForConsole(new RegExp(`eth${i}: NIC Link is Up`));
    await fabric.startFlow(`to=10.0.0.${2 + i},kind=echo,rate=${RATE},size=64`);
  }
  for (let i = 0; i < functions; i++) await echoesFlow(fabric, 100, i);
  return { fabric, source, destination };
}

export const echoes = async (fabric: FabricProcess, flow = 0) =>
  (await fabric.report()).peers[0]!.flows[flow]!;

/** Resolves when more echoes have come back. */
export async function echoesFlow(fabric: FabricProcess, count = 100, flow = 0): Promise<void> {
  let start: number | undefined;
  for (;;) {
    const received = (await echoes(fabric, flow)).arrived?.received ?? 0;
    start ??= received;
    if (received >= start + count) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
