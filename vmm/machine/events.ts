/** What a machine reports by itself, to whoever listens: a closed union. */
import type { Cancel } from '../../base/clock.js';
import type { FerryError } from '../../base/errors.js';
import type { ConsoleLine } from '../../devices/console/device.js';
import type { DeviceEvent } from '../passthrough/events.js';

/**
 * | state | the guest |
 * |---|---|
 * | `empty` | there is none yet |
 * | `running` | runs |
 * | `paused` | every vCPU is unwound at a safepoint; the clock stands |
 * | `incoming` | is on its way here |
 * | `loaded` | is here, ready to run |
 * | `off` | switched its machine off, or asked for a reset |
 * | `crashed` | trapped, hung, or reported a panic |
 * | `released` | was handed over: it never runs here again |
 * | `failed` | can't go on because a thread of the VMM failed |
 * | `destroyed` | and all threads are gone |
 */
export type MachineRunState =
  | 'empty'
  | 'running'
  | 'paused'
  | 'incoming'
  | 'loaded'
  | 'off'
  | 'crashed'
  | 'released'
  | 'failed'
  | 'destroyed';

export type MachineEvent =
  | { readonly kind: 'state'; readonly state: MachineRunState; readonly previous: MachineRunState }
  | { readonly kind: 'console'; readonly line: ConsoleLine }
  /** Lines that the guest printed faster than they could be taken. */
  | { readonly kind: 'console-dropped'; readonly lines: number }
  | { readonly kind: 'power-off' }
  | { readonly kind: 'power-reset' }
  /** The guest reported a panic itself. */
  | { readonly kind: 'panic' }
  /** `vmm/guest-crashed` or `vmm/guest-unresponsive`. */
  | { readonly kind: 'crash'; readonly error: FerryError }
  /** The entry function of this vCPU returned: it has halted for good. */
  | { readonly kind: 'vcpu-off'; readonly vcpu: number }
  /** A vCPU waits for a page that is not here. */
  | { readonly kind: 'fault'; readonly vcpu: number; readonly page: number }
  /** Something about an assigned device that nobody here asked for. */
  | { readonly kind: 'device'; readonly event: DeviceEvent }
  /** A defect of ours in one of the machine's threads. */
  | { readonly kind: 'failed'; readonly error: Error };

/** Calls every listener, in the order in which they came; one that throws is our defect and is not caught. */
export class MachineEvents {
  readonly #listeners = new Set<(event: MachineEvent) => void>();

  on(listener: (event: MachineEvent) => void): Cancel {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  emit(event: MachineEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
