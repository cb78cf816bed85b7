/**
 * What the host's devices report by themselves, on its way out of the thread that owns them. Whoever listens wants to know
 * how things are, not each step there: of every kind and device the latest event waits (of VFIO's states, a driver's steps and
 * the guest's answers the latest of each), so that a guest that hammers its slot's registers floods nobody.
 */
import type { Instant } from '../../base/units.js';
import type { BringUpStep } from '../../devices/nic82599/bring-up.js';
import type { GuestMessage, SlotState } from '../../migration/ports.js';
import type { TimelineFacts } from '../../migration/timeline.js';

export type DeviceEvent =
  /** Either side changed it: what the guest wrote to the slot's control register, or what became of presence and link. */
  | { readonly kind: 'slot'; readonly device: string; readonly state: SlotState }
  /** The guest handed over words on the channel of the device's port; `answers`: to the request that was before it. */
  | {
      readonly kind: 'guest-message';
      readonly device: string;
      readonly message: GuestMessage;
      readonly answers: boolean;
    }
  /** The guest's driver of the standby has agreed to be one: FEATURES_OK with VIRTIO_NET_F_STANDBY. */
  | { readonly kind: 'failover-negotiated'; readonly device: string }
  /** A function with a standby is about to be taken away. */
  | { readonly kind: 'unplug-primary'; readonly device: string }
  /** The guest's driver has changed which frames the device lets in, since that was last asked for. */
  | { readonly kind: 'rx-filter'; readonly device: string }
  /** The NIC's cable was plugged in or out. */
  | { readonly kind: 'link'; readonly device: string; readonly up: boolean }
  /** The guest's driver takes what comes for the device, or does not any more. */
  | { readonly kind: 'receiver'; readonly device: string; readonly on: boolean }
  /** The guest's driver has come so far with the device since it reset it, and when. */
  | { readonly kind: 'bring-up'; readonly device: string; readonly step: BringUpStep; readonly at: Instant }
  /** The guest has opened or closed a serial port, sent something by it, or made room. */
  | { readonly kind: 'serial'; readonly device: string }
  /** The device is in another state of VFIO's migration protocol, by its name in the kernel: `PRE_COPY`. */
  | { readonly kind: 'vfio-state'; readonly device: string; readonly state: string }
  /** VT-d blocked requests of the device: so many since the machine was made. */
  | { readonly kind: 'iommu-faults'; readonly device: string; readonly count: number };

/** The event as a timeline has it. */
export function factsOf(event: DeviceEvent): TimelineFacts {
  switch (event.kind) {
    case 'slot':
      return { ...event.state };
    case 'guest-message':
      return { sequence: event.message.sequence, answer: event.message.word };
    case 'failover-negotiated':
    case 'unplug-primary':
    case 'rx-filter':
    case 'serial':
      return {};
    case 'link':
      return { up: event.up };
    case 'receiver':
      return { on: event.on };
    case 'vfio-state':
      return { state: event.state };
    case 'bring-up':
      return { step: event.step };
    case 'iommu-faults':
      return { count: event.count };
  }
}

/**
 * How a device or its driver came to where it is says as much as where it is. And somebody waits for each answer, of which there
 * are no more than the host has asked for.
 */
function stepOf(event: DeviceEvent): string {
  if (event.kind === 'guest-message') return event.answers ? String(event.message.sequence) : '';
  if (event.kind === 'vfio-state') return event.state;
  return event.kind === 'bring-up' ? event.step : '';
}

/** Holds one event of each kind and device at most, and of steps one of each. */
export class EventOutbox {
  readonly #waiting = new Map<string, DeviceEvent>();
  /** A batch was handed over and not taken note of yet. */
  #inFlight = false;

  push(event: DeviceEvent): void {
    const key = `${event.kind} ${event.device} ${stepOf(event)}`;
    // Behind those that came before it.
    this.#waiting.delete(key);
    this.#waiting.set(key, event);
  }

  /** The next batch, oldest first; undefined while the reader has the last one in hand, or there is nothing. */
  take(): readonly DeviceEvent[] | undefined {
    if (this.#inFlight || this.#waiting.size === 0) return undefined;
    const batch = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#inFlight = true;
    return batch;
  }

  /** The reader has dealt with the last batch. */
  acknowledge(): void {
    this.#inFlight = false;
  }
}
