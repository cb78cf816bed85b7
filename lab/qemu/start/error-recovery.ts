/** The port reports an error, and Linux's error recovery has the driver set its function up anew. */
import { errorRecovery, errorRecoveryNonfatal } from '../../../migration/start/error-recovery.js';
import { labErrors } from '../../errors.js';
import type { QemuStart, Stage } from '../approach.js';
import { PORT } from '../pair.js';

const KERNEL = [
  /pcieport .*(AER|PCIe Bus Error|error status|recovery|CmpltTO|MalfTLP|TLP Header)/,
  /ixgbevf .*(AER|error|reset|Reset)/,
];

/** `error`: QEMU's name of the bit. An error of the function itself is one that no guest of QEMU hears of. */
async function injected({ destination: { linux } }: Stage, error: string): Promise<void> {
  const line = `pcie_aer_inject_error ${PORT} ${error}`;
  const desc = await linux.humanCommand(line);
  if (!desc.startsWith('OK '))
    throw labErrors.error('monitor-refused', { command: line, class: 'hmp', desc });
}

export const errorRecoveryNonfatalOnQemu: QemuStart = {
  of: errorRecoveryNonfatal,
  text: "the destination's function is set up in QEMU as the guest had it (by qtest), and the port reports a completion time-out of its own: `pcie_aer_inject_error`",
  inPlace: true,
  wantsSetup: true,
  afterRun: (stage) => injected(stage, 'COMP_TIME'),
  kernelSays: KERNEL,
};

export const errorRecoveryOnQemu: QemuStart = {
  of: errorRecovery,
  text: 'the same with a malformed packet, which is fatal: Linux resets the bus below the port first',
  inPlace: true,
  wantsSetup: true,
  afterRun: (stage) => injected(stage, 'MALF_TLP'),
  kernelSays: KERNEL,
};
