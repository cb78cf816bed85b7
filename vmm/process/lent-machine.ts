/**
 * Machines as the migration flows get them. What a flow does to the guest becomes run states and events here, so that
 * the flows need not know that there are any.
 */
import type { DestinationMachine, SourceMachine } from '../../migration/ports.js';
import type { GuestRun } from './guest-run.js';
import type { AwaitingMachine, GuestMachine } from './ports.js';
import type { RunState } from './run-state.js';

/** A machine whose guest is to leave. A guest that was stopped before stays stopped when it is taken back. */
export function lendToSource(machine: GuestMachine, guest: GuestRun): SourceMachine {
  let before: RunState = 'running';
  return {
    description: machine.description,
    ram: machine.ram,
    startDirtyLog: () => machine.startDirtyLog(),
    stopDirtyLog: () => machine.stopDirtyLog(),
    harvest: async (into) => {
      // A guest that ended is not moved: what is left of it is of use here, where it can be looked at.
      if (guest.hasEnded) throw guest.wrongState('migrate');
      return machine.harvest(into);
    },
    throttle: (percent) => machine.throttle(percent),
    save: () => machine.save(),
    pause: () =>
      guest.change('migrate', ['paused', 'running'], async (state) => {
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
        await machine.resume();
        guest.resumed(state);
      }),
    relinquish: () => {
      machine.relinquish();
      guest.move('postmigrate');
    },
  };
}

/** A machine for a guest that comes. `arrived` is told when it belongs here, and says whether it is to run. */
export function lendToDestination(
  machine: AwaitingMachine,
  guest: GuestRun,
  arrived: (machine: GuestMachine) => boolean,
): DestinationMachine {
  return {
    accept: (description) => machine.accept(description),
    get ram() {
      return machine.ram;
    },
    prepareCode: () => machine.prepareCode(),
    load: (state) => machine.load(state),
    save: () => machine.save(),
    discard: () => machine.discard(),
    run: () =>
      guest.change('start', ['inmigrate'], async (state) => {
        if (!arrived(machine.guest())) {
          guest.move('paused');
          return;
        }
        try {
          await machine.run();
        } catch (error) {
          guest.ended('internal-error', error as Error);
          throw error;
        }
        guest.resumed(state);
      }),
  };
}
