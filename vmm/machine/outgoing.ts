/** The machine as the source of a migration: its guest is on its way out. */
import type { AtomicBitmap } from '../../base/bitmap.js';
import { invariant } from '../../base/errors.js';
import type { HarvestReport, SourceMachine } from '../../migration/ports.js';
import type { MachineCore } from './core.js';
import { Harvester } from './harvest.js';

export interface OutgoingRole extends SourceMachine {
  /** Its guest is about to leave, most likely: the code that logs is compiled, which that of a guest that came is not yet. */
  getReady(): void;
}

export function outgoingRole(core: MachineCore): OutgoingRole {
  const { drivers, devices } = core;
  const harvester = new Harvester(drivers.vcpus, drivers.ram.deviceLog);
  return {
    get description() {
      return core.description;
    },
    ram: drivers.ram.u8,
    devices,
    deviceDirtied: devices.length === 0 ? undefined : harvester.deviceDirtied,
    observe: (timeline) => core.observe(timeline),
    pause: () => core.pause(),
    resume: () => core.resume(),
    save: () => core.save(),

    getReady(): void {
      // Whoever needs it hears of a failure.
      core.guest?.code.variant('log').catch(() => undefined);
    },

    async startDirtyLog(): Promise<void> {
      core.require('log dirty pages', 'running', 'paused');
      harvester.clear();
      await core.swapTo('log');
      // Rehearsed: in the blackout nothing shall run for the first time.
      await core.platform.save();
    },

    async stopDirtyLog(): Promise<void> {
      if (core.variant === 'log') await core.swapTo('run');
    },

    harvest(into: AtomicBitmap): Promise<HarvestReport> {
      return harvester.harvest(into);
    },

    throttle(percent: number): void {
      invariant(Number.isInteger(percent) && percent >= 0 && percent <= 99, `throttled by ${percent} %`);
      for (const vcpu of drivers.vcpus) vcpu.throttle(percent);
    },

    relinquish(): void {
      core.require('be handed over', 'paused');
      core.enter('released');
    },
  };
}
