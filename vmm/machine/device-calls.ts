/**
 * All devices of a machine behind one set of calls, in the thread that owns them. The machine makes these calls from
 * its own thread (`DeviceHost`); while one is carried out no device does anything else.
 */
import type { DeviceRecord } from '../../base/device-record.js';
import { invariant } from '../../base/errors.js';
import type { AssignedDevice, DmaTracking } from '../../migration/ports.js';
import type { PassthroughDevice, PassthroughReport } from '../passthrough/device.js';
import type { DeviceSet } from './devices.js';

export interface DeviceCalls {
  /** Records of the platform's devices. */
  save(): readonly DeviceRecord[];
  restore(records: readonly DeviceRecord[]): void;
  // The assigned device; see `AssignedDevice`.
  track(how: DmaTracking | undefined): void;
  readDirty(): void;
  preCopy(): Uint8Array;
  quiesce(): void;
  stopCopy(): Uint8Array;
  resume(): void;
  reset(): void;
  write(piece: Uint8Array): void;
  load(): void;
  saveAssigned(): readonly DeviceRecord[];
  /** Does once, on a machine that waits for a guest, what the blackout will do. */
  rehearse(): void;
  /** The vCPUs stop: so does the device, unless a migration has stopped it. */
  halt(): void;
  /** The vCPUs run: so does the device. One that came by migration tells the network where it is now. */
  start(): void;
  report(): PassthroughReport | undefined;
}

/** The calls from another thread. */
export interface DeviceHost {
  /** Resolves when the devices are ready to be used; rejects with a FerryError if the cable can't be plugged in. */
  ready(): Promise<void>;
  call<K extends keyof DeviceCalls>(
    method: K,
    ...args: Parameters<DeviceCalls[K]>
  ): Promise<ReturnType<DeviceCalls[K]>>;
}

/** Carries the calls out; `rehearse` does what is worth doing once before it counts. `passthrough` is undefined on a machine without an assigned device. */
export function deviceCalls(
  platform: DeviceSet,
  passthrough: PassthroughDevice | undefined,
  rehearse: () => void,
): DeviceCalls {
  const assigned = (): PassthroughDevice => {
    invariant(passthrough !== undefined, 'a machine without an assigned device was asked about it');
    return passthrough;
  };
  return {
    save: () => platform.save(),
    restore: (records) => platform.restore(records),
    track: (how) => assigned().track(how),
    readDirty: () => assigned().readDirty(),
    preCopy: () => assigned().preCopy(),
    quiesce: () => assigned().quiesce(),
    stopCopy: () => assigned().stopCopy(),
    resume: () => assigned().resume(),
    reset: () => assigned().reset(),
    write: (piece) => assigned().write(piece),
    load: () => assigned().load(),
    saveAssigned: () => assigned().save(),
    rehearse: () => {
      platform.restore(platform.save());
      rehearse();
    },
    halt: () => passthrough?.halt(),
    start: () => passthrough?.start(),
    report: () => passthrough?.report(),
  };
}

/** Makes one call by its name. */
export function carryOut<K extends keyof DeviceCalls>(
  calls: DeviceCalls,
  method: K,
  args: Parameters<DeviceCalls[K]>,
): ReturnType<DeviceCalls[K]> {
  const call = calls[method] as (...given: Parameters<DeviceCalls[K]>) => ReturnType<DeviceCalls[K]>;
  return call(...args);
}

/** The assigned device as a migration sees it. */
export function assignedDevice(name: string, devices: DeviceHost): AssignedDevice {
  return {
    name,
    dma: {
      track: (how) => devices.call('track', how),
      readDirty: () => devices.call('readDirty'),
    },
    vfio: {
      preCopy: () => devices.call('preCopy'),
      quiesce: () => devices.call('quiesce'),
      stopCopy: () => devices.call('stopCopy'),
      resume: () => devices.call('resume'),
      write: (piece) => devices.call('write', piece),
      load: () => devices.call('load'),
      save: () => devices.call('saveAssigned'),
      reset: () => devices.call('reset'),
    },
  };
}
