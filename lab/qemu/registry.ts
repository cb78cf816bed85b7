/** The approaches that there are on QEMU, in the order in which they are preferred where none is named. */
import type { QemuApproaches } from './approach.js';
import { deviceStateStartOnQemu } from './start/device-state.js';
import { errorRecoveryNonfatalOnQemu, errorRecoveryOnQemu } from './start/error-recovery.js';
import { hotPlugOnQemu } from './start/hot-plug.js';
import { hotPlugAgentOnQemu } from './start/hot-plug-agent.js';
import { resetOnQemu } from './start/reset.js';
import { acpiEjectOnQemu } from './stop/acpi-eject.js';
import { deviceStateOnQemu } from './stop/device-state.js';
import { failoverOnQemu } from './stop/failover.js';
import { hotUnplugOnQemu } from './stop/hot-unplug.js';
import { surpriseOnQemu } from './stop/surprise.js';
import { cpuLogOnQemu } from './tracking/cpu-log.js';
import { deviceLogOnQemu } from './tracking/device-log.js';

export const onQemu: QemuApproaches = {
  tracking: [deviceLogOnQemu, cpuLogOnQemu],
  stop: [failoverOnQemu, deviceStateOnQemu, acpiEjectOnQemu, hotUnplugOnQemu, surpriseOnQemu],
  start: [
    hotPlugOnQemu,
    hotPlugAgentOnQemu,
    deviceStateStartOnQemu,
    errorRecoveryNonfatalOnQemu,
    errorRecoveryOnQemu,
    resetOnQemu,
  ],
};
