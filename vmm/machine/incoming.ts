/** The machine as the destination of a migration: a guest is on its way here. */
import { FerryError } from '../../base/errors.js';
import type { DestinationMachine, MachineDescription } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import { refuseUnlike } from './compatible.js';
import type { MachineCore } from './core.js';
import { isInRam } from './guest-in-ram.js';
import { decodePlatform, PLATFORM_RECORDS } from './platform-records.js';
import { rehearse } from './rehearse.js';

export interface IncomingRole extends DestinationMachine {
  /**
   * Before a guest is accepted, if the machine is made before one comes: its threads come up, and do once what they will have to.
   * `accept` waits for that, and hears of a failure; without it it begins with it.
   */
  getReady(): void;
  /** Instead of `run`: takes the guest over as a paused one, which `resume` lets run. */
  hold(): Promise<void>;
}

/** So often that what was slow for being new no longer is; some milliseconds. */
const REHEARSALS = 8;

export function incomingRole(core: MachineCore): IncomingRole {
  const { drivers, devices } = core;
  let ready: Promise<unknown> | undefined;
  const makeReady = async (): Promise<void> => {
    await drivers.devices.ready();
    // vCPUs stay so until `run`; and once they answer, their threads are up. In the blackout nothing shall run for the first time.
    await Promise.all([core.platform.rehearse(), ...drivers.vcpus.map((vcpu) => vcpu.pause())]);
  };
  return {
    ram: drivers.ram.u8,
    devices,
    get deviceStart() {
      return core.deviceStart;
    },
    observe: (timeline) => core.observe(timeline),
    save: () => core.save(),
    discard: () => core.destroy(),

    async accept(description: MachineDescription): Promise<void> {
      await core.exclusively(async () => {
        core.require('accept a guest', 'empty');
        refuseUnlike(core.description, description);
        await drivers.devices.ready();
        core.expected = description;
        core.enter('incoming');
        ready ??= makeReady();
        await ready;
      });
    },

    getReady(): void {
      ready ??= makeReady();
      ready.catch(() => undefined);
    },

    prepareCode(): Promise<boolean> {
      return core.exclusively(async () => {
        if (core.state !== 'incoming' || core.guest !== undefined) return core.guest !== undefined;
        try {
          core.guest = await core.takeCode(core.expected!);
          for (let i = 0; i < REHEARSALS; i++) {
            await rehearse(core, 'load');
            await rehearse(core, 'run');
          }
          return true;
        } catch (error) {
          // The image has not arrived whole, most likely; `load` looks again and tells.
          if (!(error instanceof FerryError)) throw error;
          return false;
        }
      });
    },

    rehearse(what: 'load' | 'run'): Promise<void> {
      return core.exclusively(async () => {
        core.require('rehearse', 'incoming');
        // Without the guest's code, which has not arrived whole, the vCPUs have nothing to save: `load` looks again and tells.
        if (core.guest !== undefined) await rehearse(core, what);
      });
    },

    async load(state, ramArrived = Promise.resolve()) {
      await core.exclusively(async () => {
        core.require('load a guest', 'incoming');
        const incoming = core.expected!;
        const { vcpus, clock } = drivers;
        const early = core.guest;
        if (core.guest === undefined) {
          await ramArrived;
          core.guest = await core.takeCode(incoming);
        }
        if (!(state.clockNs >= 0 && state.clockNs < Infinity)) {
          const problem = `the clock shows ${state.clockNs}`;
          throw vmmErrors.error('state-refused', { record: 'the machine', problem });
        }
        if (state.vcpus.length !== vcpus.length) {
          const problem = `${state.vcpus.length} vCPUs instead of ${vcpus.length}`;
          throw vmmErrors.error('state-refused', { record: 'the machine', problem });
        }
        const platform = decodePlatform(state.devices, vcpus.length);
        core.stoppedAtWallNs = platform.stoppedAtWallNs;
        clock.set(state.clockNs);
        const loadVcpus = (): Promise<unknown> =>
          Promise.all(vcpus.map((vcpu, i) => vcpu.load(state.vcpus[i]!, platform.vcpus[i]!)));
        const loading = Promise.all([
          core.platform.restore(state.devices.slice(PLATFORM_RECORDS.length)),
          loadVcpus(),
        ]);
        // Whoever waits for it hears of a failure, below.
        loading.catch(() => undefined);
        // Looked at while the threads load.
        await ramArrived;
        const codeIsThere = early === undefined || isInRam(early, drivers);
        await loading;
        if (!codeIsThere) {
          core.guest = undefined;
          core.guest = await core.takeCode(incoming);
          await loadVcpus();
        }
        drivers.ram.deviceLog.clear();
        core.enter('loaded');
      });
    },

    run(): Promise<void> {
      return core.exclusively(async () => {
        core.require('run', 'loaded');
        core.expected = undefined;
        await core.start();
      });
    },

    /** Instead of `run`: takes the guest over as a paused one, which `resume` lets run. */
    hold(): Promise<void> {
      return core.exclusively(async () => {
        core.require('take over a guest', 'loaded');
        core.expected = undefined;
        core.enter('paused');
      });
    },
  };
}
