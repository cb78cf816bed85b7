/** Two machines with a DMA engine each instead of a NIC's function, in one thread and virtual time: the guest works with it all the while. */
import { readFileSync } from 'node:fs';
import { MIB, milliseconds } from '../../base/units.js';
import { MemoryDataNetwork } from '../../lab/simulator/memory-data-plane.js';
import { runSimulatedMigration } from '../../lab/simulator/run.js';
import { MigrationParameters, type ParameterValues } from '../../migration/parameters.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import type { ApproachRegistry } from '../../migration/registry.js';
import { createDeterministicMachine } from '../../vmm/deterministic/create.js';
import type { NicOptions } from '../../vmm/passthrough/records.js';

const image = readFileSync(new URL('../../dist/guests/kernel.img', import.meta.url));

/** Copies a second, to so many pages: in a round of the migration some are copied to and most are not. */
export const EDU_WORK = 'workload=edu edu_rate=2000 edu_pages=128 status_ms=20';
const SETTLE_MS = 60;

export interface EduScene {
  readonly parameters?: Partial<ParameterValues>;
  readonly registry?: ApproachRegistry;
  readonly nic?: Partial<NicOptions>;
  readonly destinationNic?: Partial<NicOptions>;
  readonly afterwardsMs?: number;
}

export interface EduResult {
  readonly source: MigrationRecord;
  readonly destination: DestinationRecord;
  readonly console: readonly string[];
  /** Lines that the guest printed before it was moved. */
  readonly before: number;
}

/** Moves a guest that copies by its device, and lets it go on for a while wherever it is then. */
export async function moveWithEdu(scene: EduScene = {}): Promise<EduResult> {
  const nic: NicOptions = { macs: [], edus: 1, ...scene.nic };
  const console: string[] = [];
  let before = 0;
  const result = await runSimulatedMigration(1, async ({ scheduler, random }) => {
    const machineOf = (name: string, options: NicOptions) => {
      const machine = createDeterministicMachine(
        { ramBytes: 64 * MIB, vcpus: 1, nic: options },
        { scheduler, random: random.fork(name) },
      );
      machine.on((event) => {
        if (event.kind === 'console') console.push(event.line.text);
      });
      return machine;
    };
    const from = machineOf('source', nic);
    const to = machineOf('destination', { ...nic, ...scene.destinationNic });
    const data = new MemoryDataNetwork({ scheduler });
    await from.boot(image, EDU_WORK);
    await scheduler.sleep(milliseconds(SETTLE_MS));
    before = console.length;
    // So slow that there are several rounds, with copies in each.
    const parameters = new MigrationParameters(
      { verify: 'full', maxBandwidth: 40e6, downtimeLimitMs: 1, maxRounds: 6, ...scene.parameters },
      scene.registry,
    );
    return {
      source: {
        machine: from.outgoing,
        data: data.source(() => from.ram),
        hasher: data.hasher(() => from.ram),
        parameters,
      },
      destination: {
        machine: to.incoming,
        data: data.destination(() => to.ram),
        hasher: data.hasher(() => to.ram),
        parameters,
      },
      afterwards: async () => {
        await scheduler.sleep(milliseconds(scene.afterwardsMs ?? SETTLE_MS));
        await Promise.all([from.destroy(), to.destroy()]);
      },
    };
  });
  return { ...result, console, before };
}
