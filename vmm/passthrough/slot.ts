/** The slot that an assigned function sits in, as the host moves it. PCI Express 6.7 */
import { INDICATOR_BLINK, INDICATOR_ON } from '../../devices/pci/pcie-capability.js';
import type { Endpoint } from '../../devices/pci/topology.js';
import type { RootPort } from '../../devices/root-port/device.js';
import type { SlotIndicator, SlotState } from '../../migration/ports.js';

export class FunctionSlot {
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

  pressAttentionButton(): void {
    this.#port.requestUnplug();
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
