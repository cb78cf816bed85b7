/** Approaches that are nothing like VFIO migration, as tests write them: each does what its script says. */
import { ordinary } from '../../migration/approach.js';
import type { Patience, RequestLimits } from '../../migration/patience.js';
import type { AssignedDevice } from '../../migration/ports.js';
import { type ApproachRegistry, builtIn } from '../../migration/registry.js';
import type { DeviceStart, StartDescriptor } from '../../migration/start/start.js';
import type { DeviceStop, StopDescriptor } from '../../migration/stop/stop.js';
import type { Scene } from './simulate.js';
import { smallDevice } from './test-device.js';
import { type GuestShape, smallGuest } from './test-machine.js';

export const withDevice: GuestShape = { ...smallGuest, device: smallDevice };

/** What the approaches of a test do, and what they were asked. */
export interface Script {
  readonly asked: string[];
  request?(device: AssignedDevice, limits: RequestLimits): Promise<void>;
  quiesced?(): Promise<void>;
  started?(device: AssignedDevice, patience: Patience): Promise<void>;
  release?(): Promise<void>;
}

/**
 * Stops by taking the device away: it is quiet and gone, and nothing of it travels. A device that was taken away is kept
 * here, until it is given back or let go.
 */
export const takeAway = (script: Script): StopDescriptor => ({
  ...ordinary,
  name: 'take-away',
  text: 'the device is taken away, and kept until the migration can no longer fail',
  leaves: 'unplugged',
  make: (device): DeviceStop => ({
    ...(script.request === undefined
      ? {}
      : {
          request: (limits: RequestLimits) => {
            script.asked.push('request');
            return script.request!(device, limits);
          },
        }),
    quiesce: async () => {
      script.asked.push('quiesce');
      await script.quiesced?.();
      await device.vfio!.quiesce();
    },
    resume: async () => {
      script.asked.push('resume');
      await device.vfio!.resume();
      return undefined;
    },
    release: async () => {
      script.asked.push('release');
      await script.release?.();
    },
  }),
});

/** Gives the running guest a new device. */
export const plugLater = (script: Script): StartDescriptor => ({
  ...ordinary,
  name: 'plug-later',
  text: 'the guest gets a new device when it runs',
  takes: ['unplugged'],
  afterRun: true,
  make: (device): DeviceStart => ({
    afterRun: async (patience) => {
      script.asked.push('start');
      await script.started?.(device, patience);
    },
  }),
});

export const registryOf = (script: Script): ApproachRegistry => ({
  tracking: builtIn.tracking,
  stop: [takeAway(script)],
  start: [plugLater(script)],
});

export const scriptOf = (parts: Omit<Script, 'asked'> = {}): Script => ({ asked: [], ...parts });
export const scene = (script: Script, more: Scene = {}): Scene => ({
  shape: withDevice,
  registry: registryOf(script),
  ...more,
});
