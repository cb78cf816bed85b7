/** The slot that an assigned function sits in, as the host moves it. PCI Express 6.7 */
import { INDICATOR_BLINK, INDICATOR_ON } from '../../devices/pci/pcie-capability.js';
import type { Endpoint } from '../../devices/pci/topology.js';
import type { RootPort } from '../../devices/root-port/device.js';
import type { SlotIndicator, SlotState } from '../../migration/ports.js';

/** A slot with what belongs into it, as the host moves it: the facet `DeviceSlot`, in the devices' thread. */
export interface HostSlot {
  state(): SlotState;
  takeOutWhenOff(): void;
  keep(): boolean;
  remove(): void;
  insert(announce: 'button' | 'link'): void;
  /** The guest has written to Slot Control. */
  follow(): void;
}

export class FunctionSlot implements HostSlot {
  /**
   * What the guest is to come to: a slot that is off, to be emptied; or one that is on as before, and `asked`: the button was
   * pressed for that.
   */
  #wanted: 'out' | 'back' | 'asked' | undefined;
  readonly #port: RootPort;
  /** What belongs here, in the slot or taken out. */
  readonly #device: Endpoint;
  readonly #changed: () => void;

  /** `changed`: the host has put the device in or taken it out. */
  constructor(port: RootPort, device: Endpoint, changed: () => void) {
    this.#port = port;
    this.#device = device;
    this.#changed = changed;
  }

  state(): SlotState {
    return slotStateOf(this.#port);
  }

  press(): void {
    this.#port.requestUnplug();
  }

  /** As soon as the guest has turned the slot off the device is taken out; at once if it has. */
  takeOutWhenOff(): void {
    this.#wanted = 'out';
    this.follow();
  }

  /**
   * The device stays, or comes back, whatever the guest has come to: it hears nothing of a request that it has not seen yet,
   * the button again while it thinks, and of a new device when it has turned the slot off. True if it has, by now.
   */
  keep(): boolean {
    const off = this.#port.occupant === undefined || this.#port.slotState.released;
    this.#wanted = this.#port.withdrawRequest() ? undefined : 'back';
    this.follow();
    return off;
  }

  /** The guest has written to the slot's control register, or the host wants something else of it. */
  follow(): void {
    const wanted = this.#wanted;
    if (wanted === undefined) return;
    const { powerIndicator, released } = this.#port.slotState;
    const { hasButton, occupant } = this.#port;
    if (occupant === undefined || released) {
      this.#wanted = undefined;
      this.remove();
      if (wanted !== 'out') this.insert(hasButton ? 'button' : 'link');
    } else if (wanted === 'back' && hasButton && powerIndicator === INDICATOR_BLINK) {
      // A second press tells a guest that blinks to leave the slot on.
      this.#wanted = 'asked';
      this.#port.requestUnplug();
    } else if (wanted === 'asked' && powerIndicator === INDICATOR_ON) {
      this.#wanted = undefined;
    }
  }

  /** Harmless if there is no device in it. */
  remove(): void {
    if (this.#port.eject() !== undefined) this.#changed();
  }

  /** Harmless if the device is in it. */
  insert(announce: 'button' | 'link'): void {
    if (this.#port.occupant !== undefined) return;
    this.#port.plug(this.#device, announce);
    this.#changed();
  }
}

export function slotStateOf(port: RootPort): SlotState {
  const { powered, powerIndicator, attentionIndicator } = port.slotState;
  return {
    present: port.occupant !== undefined,
    powered,
    link: port.endpoint !== undefined,
    powerIndicator: indicator(powerIndicator),
    attentionIndicator: indicator(attentionIndicator),
  };
}

const indicator = (code: number): SlotIndicator =>
  code === INDICATOR_ON ? 'on' : code === INDICATOR_BLINK ? 'blink' : 'off';
