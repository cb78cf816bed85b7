/** A machine, of threads or simulated, as the controller has it. */
import { InvariantError } from '../../base/errors.js';
import type { MachineDescription, SourceMachine } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import type { MachineEvent } from '../machine/events.js';
import type { IncomingRole } from '../machine/incoming.js';
import type { Machine } from '../machine/machine.js';
import type { AwaitingMachine, GuestEvents, GuestMachine } from './ports.js';

/** What the machine tells by itself, told on. */
export function forward(event: MachineEvent, events: GuestEvents): void {
  switch (event.kind) {
    case 'console':
      events.console(event.line.text);
      break;
    case 'console-dropped':
      events.consoleDropped(event.lines);
      break;
    case 'device':
      events.device(event.event);
      break;
    case 'crash':
      events.panicked(event.error);
      break;
    case 'panic':
      events.panicked(vmmErrors.error('guest-panic', {}));
      break;
    case 'power-off':
      events.poweredOff('guest-shutdown');
      break;
    case 'power-reset':
      events.poweredOff('guest-reset');
      break;
    case 'failed':
      events.broken(event.error);
      break;
    // A vCPU that has nothing to do any more is no end of the machine; the rest is known from what was asked.
    case 'vcpu-off':
    case 'fault':
    case 'state':
      break;
  }
}

/** `machine`, with the guest in it, as the controller has it; its guest leaves by `outgoing`. */
export function guestMachine(machine: Machine, outgoing: SourceMachine = machine.outgoing): GuestMachine {
  return {
    get description() {
      return machine.description;
    },
    get guestName() {
      return machine.query().guest;
    },
    outgoing,
    memory: machine.memory,
    serial: (port) => machine.serial(port),
    pressPowerButton: () => machine.pressPowerButton(),
    nics: () => machine.nicReports(),
    network: machine.network,
    pciDump: () => machine.pciDump(),
    pci: () => machine.pci(),
    injectError: (device, error) => machine.injectError(device, error),
    pause: () => machine.pause(),
    resume: () => machine.resume(),
    getReady: () => machine.outgoing.getReady(),
    destroy: () => machine.destroy(),
    cpus: () => machine.query().vcpus.map(({ index, threadId }) => ({ index, threadId })),
  };
}

export interface AwaitingOptions {
  /** Made already, because its size was known. */
  readonly machine?: Machine;
  /** The machine as the controller has it when its guest is there; `guestMachine` if absent. */
  readonly guestOf?: (machine: Machine) => GuestMachine;
  /** The guest's code was compiled. */
  readonly compiled?: () => void;
  /** What comes from now on may be its last round. */
  readonly lastMayCome?: () => void;
}

/** A machine for a guest to come to, which `make` makes when one is accepted, unless it is there. */
export function awaitingMachine(
  make: (description: MachineDescription) => Machine,
  {
    machine: made,
    guestOf = (machine) => guestMachine(machine),
    compiled = () => {},
    lastMayCome = () => {},
  }: AwaitingOptions = {},
): AwaitingMachine {
  const machine = (): Machine => {
    if (made === undefined) throw new InvariantError('a machine was used before it accepted a guest');
    return made;
  };
  const incoming = (): IncomingRole => machine().incoming;
  return {
    accept: async (description) => {
      made ??= make(description);
      await made.incoming.accept(description);
    },
    observe: (timeline) => incoming().observe?.(timeline),
    get ram() {
      return incoming().ram;
    },
    get devices() {
      return incoming().devices;
    },
    get deviceStart() {
      return incoming().deviceStart;
    },
    prepareCode: async () => {
      const prepared = await incoming().prepareCode();
      if (prepared) compiled();
      return prepared;
    },
    lastMayCome,
    rehearse: async (what) => incoming().rehearse?.(what),
    load: (state, ramArrived) => incoming().load(state, ramArrived),
    save: () => incoming().save(),
    run: () => incoming().run(),
    hold: () => incoming().hold(),
    discard: async () => made?.destroy(),
    guest: () => guestOf(machine()),
  };
}
