/** The approaches that come with vf-ferry, each effort's in the order in which `auto` prefers them. */
import { startByCapability } from './start/capability.js';
import { startByDeviceState } from './start/device-state.js';
import { errorRecovery, errorRecoveryNonfatal } from './start/error-recovery.js';
import { hotPlug } from './start/hot-plug.js';
import { hotPlugAgent } from './start/hot-plug-agent.js';
import { hotPlugRestore } from './start/hot-plug-restore.js';
import { noStart } from './start/none.js';
import { replaceEvent } from './start/replace-event.js';
import { startByReset } from './start/reset.js';
import type { StartDescriptor } from './start/start.js';
import { stateReplay } from './start/state-replay.js';
import { acpiEject } from './stop/acpi-eject.js';
import { stopByCapability } from './stop/capability.js';
import { stopByDeviceState } from './stop/device-state.js';
import { failover } from './stop/failover.js';
import { graceful } from './stop/graceful.js';
import { hotUnplug } from './stop/hot-unplug.js';
import { hotUnplugQuick } from './stop/hot-unplug-quick.js';
import { noStop } from './stop/none.js';
import type { StopDescriptor } from './stop/stop.js';
import { surprise } from './stop/surprise.js';
import { cpuLog } from './tracking/cpu-log.js';
import { deviceLog } from './tracking/device-log.js';
import { driverTouch } from './tracking/driver-touch.js';
import { hybrid } from './tracking/hybrid.js';
import { iommuDirty } from './tracking/iommu-dirty.js';
import { pinned } from './tracking/pinned.js';
import { ringSnoop } from './tracking/ring-snoop.js';
import type { TrackingDescriptor } from './tracking/tracking.js';
import { unmapTouch } from './tracking/unmap-touch.js';

/** What a migration can choose from; users may bring their own. */
export interface ApproachRegistry {
  readonly tracking: readonly TrackingDescriptor[];
  readonly stop: readonly StopDescriptor[];
  readonly start: readonly StartDescriptor[];
}

export const builtIn: ApproachRegistry = {
  tracking: [iommuDirty, deviceLog, unmapTouch, driverTouch, hybrid, ringSnoop, pinned, cpuLog],
  stop: [
    stopByDeviceState,
    failover,
    stopByCapability,
    hotUnplugQuick,
    acpiEject,
    hotUnplug,
    surprise,
    graceful,
    noStop,
  ],
  start: [
    startByDeviceState,
    startByCapability,
    hotPlugRestore,
    hotPlugAgent,
    hotPlug,
    replaceEvent,
    errorRecoveryNonfatal,
    errorRecovery,
    stateReplay,
    startByReset,
    noStart,
  ],
};

/** The choice that leaves it to the machine, and the default everywhere. */
export const AUTO = 'auto';

/** Before the path of a module of the user's own, in the place of a name. */
export const MODULE_PREFIX = 'module:';
