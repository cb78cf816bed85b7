/**
 * Machines as the migration flows get them. What a flow does to the guest becomes run states and events here, so that
 * the flows need not know that there are any. Whether the guest ran before it was stopped travels as one more record
 * beside those of the devices: a guest that was stopped arrives stopped.
 */
import type { DeviceRecord } from '../../base/device-record.js';
import { layout, u8 } from '../../base/layout.js';
import type {
  DestinationMachine,
  MachineDescription,
  MachineState,
  SourceMachine,
} from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import type { RunState } from '../monitor/run-state.js';
import type { GuestRun } from './guest-run.js';
import type { AwaitingMachine, GuestMachine } from './ports.js';

const RUN_STATE_RECORD = { name: 'run-state', version: 1 } as const;
const runStateRecord = layout('run-state record', { /** 1: the guest ran, 0: it was stopped. */ ran: u8() });

function encodeRan(ran: boolean): DeviceRecord {
  return { ...RUN_STATE_RECORD, state: runStateRecord.encode({ ran: ran ? 1 : 0 }) };
}

function describeWithRan(description: MachineDescription): MachineDescription {
  return { ...description, devices: [...description.devices, RUN_STATE_RECORD] };
}

/** The state without our record, and what that says. Throws `vmm/state-refused` for one that isn't there or valid. */
function takeRan(state: MachineState): { rest: MachineState; ran: boolean } {
  const refuse = (problem: string): Error =>
    vmmErrors.error('state-refused', { record: RUN_STATE_RECORD.name, problem });
  const devices = state.devices.slice(0, -1);
  const record = state.devices.at(-1);
  if (record?.name !== RUN_STATE_RECORD.name) throw refuse('it is missing');
  const { version, state: bytes } = record;
  if (version !== RUN_STATE_RECORD.version) throw refuse(`version ${version}`);
  if (bytes.length !== runStateRecord.size) throw refuse(`${bytes.length} bytes`);
  const { ran } = runStateRecord.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0);
  if (ran > 1) throw refuse(`value ${ran}`);
  return { rest: { ...state, devices }, ran: ran === 1 };
}

/** A machine whose guest is to leave. A guest that was stopped before stays stopped when it is taken back. */
export function lendToSource(machine: SourceMachine, guest: GuestRun): SourceMachine {
  let before: RunState = 'running';
  return {
    ...machine,
    description: describeWithRan(machine.description),
    harvest: async (into) => {
      // A guest that ended is not moved: what is left of it is of use here, where it can be looked at.
      if (guest.hasEnded) throw guest.wrongState('migrate');
      return machine.harvest(into);
    },
    save: async () => {
      const state = await machine.save();
      return { ...state, devices: [...state.devices, encodeRan(before === 'running')] };
    },
    pause: () =>
      guest.change('migrate', ['prelaunch', 'paused', 'running'], async (state) => {
        before = state;
        if (state === 'running') await machine.pause();
        guest.stopped(state, 'finish-migrate');
      }),
    resume: () =>
      guest.inTurn(async (state) => {
        // The flow also asks when its own `pause` failed, and then there is nothing to undo.
        if (state !== 'finish-migrate') return;
        if (before !== 'running') {
          guest.move(before);
          return;
        }
        try {
          await machine.resume();
        } catch (error) {
          // It stands still, and is not about to leave any more: `cont` may try again.
          guest.move('paused');
          throw error;
        }
        guest.resumed(state);
      }),
    relinquish: () => {
      machine.relinquish();
      guest.move('postmigrate');
    },
  };
}

/** A machine for a guest that comes. `arrived` is told when it belongs here, and says whether it may run. */
export function lendToDestination(
  machine: AwaitingMachine,
  guest: GuestRun,
  arrived: (machine: GuestMachine) => boolean,
): DestinationMachine {
  let ran = true;
  return {
    accept: async (description) => {
      const { name, version } = description.devices.at(-1) ?? {};
      if (name !== RUN_STATE_RECORD.name || version !== RUN_STATE_RECORD.version) {
        const differences = `devices: the source sends no ${RUN_STATE_RECORD.name} v${RUN_STATE_RECORD.version}`;
        throw vmmErrors.error('machine-incompatible', { differences, count: 1 });
      }
      await machine.accept({ ...description, devices: description.devices.slice(0, -1) });
    },
    observe: (timeline) => machine.observe?.(timeline),
    get ram() {
      return machine.ram;
    },
    get devices() {
      return machine.devices;
    },
    get deviceStart() {
      return machine.deviceStart;
    },
    prepareCode: () => machine.prepareCode(),
    lastMayCome: () => machine.lastMayCome?.(),
    rehearse: async (what) => machine.rehearse?.(what),
    load: async (state, ramArrived) => {
      const taken = takeRan(state);
      await machine.load(taken.rest, ramArrived);
      ran = taken.ran;
    },
    save: async () => {
      const state = await machine.save();
      return { ...state, devices: [...state.devices, encodeRan(ran)] };
    },
    discard: () => machine.discard(),
    run: () =>
      guest.change('start', ['inmigrate'], async (state) => {
        const runs = arrived(machine.guest()) && ran;
        try {
          await (runs ? machine.run() : machine.hold());
        } catch (error) {
          guest.ended('internal-error', error as Error);
          throw error;
        }
        if (runs) guest.resumed(state);
        else guest.move('paused');
      }),
  };
}
