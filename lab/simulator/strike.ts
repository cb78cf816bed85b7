/** What is done to the processes of a simulated migration, to their clocks, guests, cables and doors, by faults that are not of a link. */
import { microseconds } from '../../base/units.js';
import type { Fault, FaultKind } from './fault.js';
import type { SimulatedWire } from './links.js';
import { otherNic } from './machine.js';
import type { SimulatedVmm } from './vmm.js';

export interface Stricken {
  readonly source: SimulatedVmm;
  readonly destination: SimulatedVmm;
  readonly wire: SimulatedWire;
  /** What takes its time, and is to be over before anybody looks at what came of it. */
  act(act: Promise<void>): void;
  /** What an operator asks for. */
  operate(fault: Fault): Promise<void>;
}

/** How fast a drifting clock goes, of how fast it should; there are none that nearly stand still. */
export const rateOf = ({ amount }: Fault): number => Math.max(amount, 100) / 1000;

/** What a guest is told to do, wherever it runs: the words of its kernel's `behaviour=told`. */
const BEHAVIOURS: { readonly [K in FaultKind]?: string } = {
  'guest-toggles': 'toggle',
  'guest-unloads': 'unload',
  'guest-lies': 'lie',
  'guest-crashes': 'crash',
};

/** Carries out `fault`; false if there is nobody whom it could strike. */
export function strike(fault: Fault, stricken: Stricken): boolean {
  const { kind, amount } = fault;
  const { source, destination, wire } = stricken;
  const time = microseconds(amount);
  const behaviour = BEHAVIOURS[kind];
  if (behaviour !== undefined) {
    const runs = [source, destination].find((vmm) => vmm.runs);
    return runs?.tellGuest(behaviour, amount) ?? false;
  }
  const vmm = kind.endsWith('-destination') ? destination : source;
  switch (kind) {
    case 'stranger':
      return wire.visit(amount);
    case 'data-stranger':
      return wire.data.visit(amount);
    case 'other-device':
      return destination.changeNic(otherNic(amount));
    case 'link-flap':
    case 'link-flap-destination':
      return vmm.flap(time);
    case 'suspend-source':
    case 'suspend-destination': {
      const suspended = vmm.suspend(time);
      if (suspended !== false) stricken.act(suspended);
      return suspended !== false;
    }
    case 'lose-worker-source':
    case 'lose-worker-destination':
      return vmm.loseWorker(amount);
    case 'drift-source':
    case 'drift-destination':
      vmm.drift(rateOf(fault));
      return true;
    case 'jump-source':
    case 'jump-destination':
      vmm.jump(time);
      return true;
    case 'set-back-source':
    case 'set-back-destination':
      vmm.setBack(time);
      return true;
    case 'kill-source':
    case 'kill-destination':
      vmm.kill();
      return true;
    case 'quit-source':
    case 'quit-destination':
      stricken.act(vmm.quit());
      return true;
    default:
      stricken.act(stricken.operate(fault));
      return true;
  }
}
