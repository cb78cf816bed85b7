/** In the blackout nothing shall run for the first time, and what it takes is to be known before. */
import { settleAll } from '../../base/settle.js';
import type { MachineCore } from './core.js';

/**
 * Asks of the threads of a machine that awaits a guest what `load` or `run` will ask of them, and changes nothing: what was
 * loaded is loaded again, and vCPUs that have no guest to run go on with none, and stand again.
 */
export async function rehearse(
  { drivers: { vcpus }, platform, assigned }: MachineCore,
  what: 'load' | 'run',
): Promise<void> {
  if (what === 'run') {
    await settleAll(vcpus.map((vcpu) => vcpu.resume()));
    await settleAll(vcpus.map((vcpu) => vcpu.pause()));
    return;
  }
  await settleAll<unknown>([
    platform.save().then((records) => platform.restore(records)),
    // Read back for the source while its commit is on the way: the start would wait for what runs for the first time.
    ...assigned.map((device) => device.save()),
    ...vcpus.map(async (vcpu) => {
      const { record, extra } = await vcpu.save();
      await vcpu.load(record, extra);
    }),
  ]);
}
