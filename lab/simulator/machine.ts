/** Whole machines in virtual time: vCPU, 82599 behind VT-d and platform, plugged into a simulated network. */
import type { Scheduler } from '../../base/clock.js';
import { MIB } from '../../base/units.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { PageKernels } from '../../migration/pages/page-kernels.js';
import { createDeterministicMachine } from '../../vmm/deterministic/create.js';
import type { Machine } from '../../vmm/machine/machine.js';
import type { NicOptions } from '../../vmm/passthrough/records.js';
import { simdKernels } from '../../vmm/transfer/kernels.js';
import { MemoryDataNetwork } from './memory-data-plane.js';
import type { SimulatedNetwork } from './network.js';
import type { SimulatedWorld } from './run.js';

/** The address of a guest's interface, from 0. */
export const macOf = (index: number): MacAddress => [0x52, 0x54, 0, 0x12, 0x34, 0x56 + index];

/** A machine in `world` with a NIC on `network`. */
export function simulatedMachine(
  world: SimulatedWorld,
  network: SimulatedNetwork,
  name: string,
  nic: Partial<NicOptions> = {},
  console: string[] = [],
  ramBytes = 64 * MIB,
): Machine {
  const machine = createDeterministicMachine(
    { ramBytes, vcpus: 1, nic: { macs: [macOf(0)], ...nic } },
    { scheduler: world.scheduler, random: world.random.fork(name), plug: network.plug(name) },
  );
  machine.on((event) => {
    if (event.kind === 'console') console.push(event.line.text);
  });
  return machine;
}

/** Where the pages of these machines travel: in virtual time, by the kernels that real machines have. */
export function dataNetwork(scheduler: Scheduler, ...machines: readonly Machine[]): MemoryDataNetwork {
  const kernels = (ram: Uint8Array): PageKernels =>
    simdKernels(machines.find((machine) => machine.ram === ram)!.memory);
  return new MemoryDataNetwork({ scheduler, kernels });
}
