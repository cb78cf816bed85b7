/** Whole machines in virtual time: vCPU, 82599 behind VT-d and platform, plugged into a simulated network. */
import type { Scheduler } from '../../base/clock.js';
import { MIB } from '../../base/units.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import { WHOLE_PART } from '../../devices/nic82599/offer.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { PageKernels } from '../../migration/pages/page-kernels.js';
import { createDeterministicMachine } from '../../vmm/deterministic/create.js';
import type { Machine } from '../../vmm/machine/machine.js';
import type { NicOptions } from '../../vmm/passthrough/records.js';
import { simdKernels } from '../../vmm/transfer/kernels.js';
import type { Gate } from './gate.js';
import { MemoryDataNetwork } from './memory-data-plane.js';
import type { SimulatedNetwork } from './network.js';
import type { SimulatedWorld } from './run.js';

/** The address of a guest's interface, from 0. */
export const macOf = (index: number): MacAddress => [0x52, 0x54, 0, 0x12, 0x34, 0x56 + index];

export interface SimulatedMachineOptions {
  /** That it is of; none stands still if absent. */
  readonly process?: Pick<Gate, 'suspended' | 'whenAwake'>;
  readonly nic?: Partial<NicOptions>;
  readonly ramBytes?: number;
  /** 1 if absent. */
  readonly vcpus?: number;
  /** Gets what the guest prints. */
  readonly console?: string[];
  /** See `DeterministicWorld`. */
  readonly memory?: WebAssembly.Memory | undefined;
  readonly answerNs?: () => number;
  readonly wallNow?: () => number;
}

/** A machine in `world` with a NIC on `network`; it has 64 MiB of RAM unless it is said. */
export function simulatedMachine(
  world: Pick<SimulatedWorld, 'random'> & { readonly scheduler: Scheduler },
  network: SimulatedNetwork,
  name: string,
  {
    nic = {},
    ramBytes = 64 * MIB,
    vcpus = 1,
    console,
    memory,
    answerNs,
    wallNow,
    process,
  }: SimulatedMachineOptions = {},
): Machine {
  const machine = createDeterministicMachine(
    { ramBytes, vcpus, nic: { macs: [macOf(0)], ...nic } },
    {
      scheduler: world.scheduler,
      random: world.random.fork(name),
      plug: (receive, carrier) => network.plug(name)(receivedBy(receive, process), carrier),
      ...(memory && { memory }),
      ...(answerNs && { answerNs }),
      ...(wallNow && { wallNow }),
    },
  );
  machine.on((event) => {
    if (event.kind === 'console') console?.push(event.line.text);
  });
  return machine;
}

/** What came in for a process that stands still is there when it goes on. */
function receivedBy(receive: FrameSink, process: SimulatedMachineOptions['process']): FrameSink {
  if (process === undefined) return receive;
  return (bytes, at, length) => {
    if (!process.suspended) {
      receive(bytes, at, length);
      return;
    }
    const frame = bytes.slice(at, at + length);
    process.whenAwake(() => receive(frame, 0, length));
  };
}

/**
 * NICs that are not like the one of these machines: no function is free, another stepping, fewer vectors or queues, no VFIO migration,
 * one more, one whose administrator has given the function another address.
 */
const OTHERS: readonly Partial<NicOptions>[] = [
  { macs: [] },
  { offer: { ...WHOLE_PART, revision: WHOLE_PART.revision + 1 } },
  { offer: { ...WHOLE_PART, vectors: 2 } },
  { offer: { ...WHOLE_PART, queues: 1 } },
  { vfioMigration: false },
  { macs: [macOf(0), macOf(1)] },
  { macs: [macOf(7)] },
];

export const otherNic = (which: number): Partial<NicOptions> => OTHERS[which % OTHERS.length]!;

/** Where the pages of these machines travel: in virtual time, by the kernels that real machines have. */
export function dataNetwork(scheduler: Scheduler, ...machines: readonly Machine[]): MemoryDataNetwork {
  const kernels = (ram: Uint8Array): PageKernels =>
    simdKernels(machines.find((machine) => machine.ram === ram)!.memory);
  return new MemoryDataNetwork({ scheduler, kernels });
}
