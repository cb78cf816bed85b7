/**
 * The hot-plug slot of a root port: presence, power, link, indicators, and the events that tell software. 6.7
 *
 * The link is up while a device is present, the slot has power, and software has not disabled the link or holds the
 * bus in reset. Whatever takes it down resets the device, as losing power or a hot reset does.
 */
import type { BitField } from '../../base/bits.js';
import type { RegisterFile, RegisterHooks } from '../../base/registers.js';
import { INDICATOR_OFF } from '../pci/pcie-capability.js';
import type { Endpoint } from '../pci/topology.js';
import { LINK_WIDTH, type RootPortLayout } from './registers.js';

export interface SlotOwner {
  readonly layout: RootPortLayout;
  readonly config: RegisterFile;
  /** Whether software can switch the slot's power. */
  readonly powerController: boolean;
  /** Sends the port's interrupt. */
  interrupt(): void;
  /** The link came up or went down: connect or disconnect the device. */
  linkChanged(up: boolean): void;
  /** Software wrote Slot Control; tells the hypervisor what it sees of the slot. */
  controlWritten(state: SlotState): void;
}

/** What software has done with the slot. */
export interface SlotState {
  readonly powered: boolean;
  /** Software is done with what was in it: the power indicator is off, and so is power, where software switches it. */
  readonly released: boolean;
  /** INDICATOR_ON, INDICATOR_BLINK or INDICATOR_OFF. */
  readonly powerIndicator: number;
  readonly attentionIndicator: number;
}

export class Slot {
  private readonly owner: () => SlotOwner;
  private device: Endpoint | undefined;
  /** The interrupt condition as it was: the message is sent when it becomes true. */
  private line = false;
  private linkUp = false;
  /** Cut off by the hypervisor: the registers say otherwise. */
  private severed = false;

  constructor(owner: () => SlotOwner) {
    this.owner = owner;
  }

  /** Hooks for the port's configuration space. */
  readonly hooks: Readonly<Record<string, RegisterHooks>> = {
    'pcie.SLOT_CONTROL': { write: () => this.controlWritten() },
    'pcie.SLOT_STATUS': { write: () => this.evaluate() },
    'pcie.LINK_CONTROL': { write: () => this.updateLink() },
    BRIDGE_CONTROL: { write: () => this.updateLink() },
  };

  get endpoint(): Endpoint | undefined {
    return this.device;
  }

  get isLinkUp(): boolean {
    return this.linkUp && !this.severed;
  }

  /**
   * Cuts the device off, so that nothing passes in either direction and it is reset, or lets it answer again. No register
   * and no event tells software, which reads all ones from it meanwhile.
   */
  sever(on: boolean): void {
    if (on === this.severed) return;
    this.severed = on;
    if (this.linkUp) this.owner().linkChanged(!on);
    if (on) this.device?.reset();
  }

  get state(): SlotState {
    const { config, layout, powerController } = this.owner();
    const { SLOT_CONTROL } = layout.cap.pcie;
    const { POWER_OFF, POWER_INDICATOR, ATTENTION_INDICATOR } = SLOT_CONTROL.fields;
    const powered = !powerController || config.getField(SLOT_CONTROL, POWER_OFF) === 0;
    const powerIndicator = config.getField(SLOT_CONTROL, POWER_INDICATOR);
    return {
      powered,
      released: powerIndicator === INDICATOR_OFF && !(powerController && powered),
      powerIndicator,
      attentionIndicator: config.getField(SLOT_CONTROL, ATTENTION_INDICATOR),
    };
  }

  /** A device that is there when the machine starts: powered, linked, and no event. */
  populate(device: Endpoint, indicatorOn: number): void {
    const { config, layout } = this.owner();
    const { SLOT_CONTROL, SLOT_STATUS } = layout.cap.pcie;
    this.device = device;
    config.setField(SLOT_STATUS, SLOT_STATUS.fields.PRESENCE, 1);
    config.setField(SLOT_CONTROL, SLOT_CONTROL.fields.POWER_OFF, 0);
    config.setField(SLOT_CONTROL, SLOT_CONTROL.fields.POWER_INDICATOR, indicatorOn);
    this.updateLink();
    config.set(SLOT_STATUS, config.get(SLOT_STATUS) & ~SLOT_STATUS.fields.LINK_STATE_CHANGED.mask);
    this.evaluate();
  }

  /**
   * Puts a device into the slot. `announce` says how software hears of it besides the presence event: by the
   * attention button, which gives the user five seconds to think again, or at once by a link event.
   */
  insert(device: Endpoint, announce: 'button' | 'link'): void {
    const { config, layout } = this.owner();
    const { SLOT_STATUS } = layout.cap.pcie;
    const { PRESENCE, PRESENCE_CHANGED, ATTENTION_BUTTON, LINK_STATE_CHANGED } = SLOT_STATUS.fields;
    this.device = device;
    config.setField(SLOT_STATUS, PRESENCE, 1);
    this.updateLink();
    this.event(PRESENCE_CHANGED, announce === 'button' ? ATTENTION_BUTTON : LINK_STATE_CHANGED);
  }

  /** Takes the device out, noticed by software only as events. Returns it. */
  remove(): Endpoint | undefined {
    const { config, layout } = this.owner();
    const { SLOT_STATUS } = layout.cap.pcie;
    const removed = this.device;
    if (removed === undefined) return undefined;
    config.setField(SLOT_STATUS, SLOT_STATUS.fields.PRESENCE, 0);
    this.updateLink();
    this.device = undefined;
    this.event(SLOT_STATUS.fields.PRESENCE_CHANGED);
    return removed;
  }

  pressAttentionButton(): void {
    this.event(this.owner().layout.cap.pcie.SLOT_STATUS.fields.ATTENTION_BUTTON);
  }

  /** Takes back a press that software has not seen yet. False if there is none. */
  withdrawAttentionButton(): boolean {
    const { config, layout } = this.owner();
    const { SLOT_STATUS } = layout.cap.pcie;
    const { ATTENTION_BUTTON } = SLOT_STATUS.fields;
    const unseen = config.getField(SLOT_STATUS, ATTENTION_BUTTON) === 1;
    config.setField(SLOT_STATUS, ATTENTION_BUTTON, 0);
    this.evaluate();
    return unseen;
  }

  /** Before a restore: what is in the slot by the registers that come, or nothing; without events. */
  place(device: Endpoint | undefined): void {
    if (this.linkUp) {
      this.linkUp = false;
      this.owner().linkChanged(false);
    }
    this.device = device;
  }

  /** After a restore: link and interrupt condition as the registers say, without events. */
  refresh(): void {
    const { config, layout } = this.owner();
    const { LINK_STATUS } = layout.cap.pcie;
    const up = config.getField(LINK_STATUS, LINK_STATUS.fields.ACTIVE) === 1 && this.device !== undefined;
    if (up !== this.linkUp) {
      this.linkUp = up;
      this.owner().linkChanged(this.isLinkUp);
    }
    this.line = this.condition();
  }

  private controlWritten(): void {
    const { layout } = this.owner();
    this.updateLink();
    // Every write is a command, and this controller carries it out at once.
    this.event(layout.cap.pcie.SLOT_STATUS.fields.COMMAND_COMPLETED);
    this.owner().controlWritten(this.state);
  }

  private updateLink(): void {
    const { config, layout } = this.owner();
    const { SLOT_STATUS, LINK_CONTROL, LINK_STATUS } = layout.cap.pcie;
    const { BRIDGE_CONTROL } = layout.header;
    const up =
      this.device !== undefined &&
      config.getField(SLOT_STATUS, SLOT_STATUS.fields.PRESENCE) === 1 &&
      this.state.powered &&
      config.getField(LINK_CONTROL, LINK_CONTROL.fields.DISABLE) === 0 &&
      config.getField(BRIDGE_CONTROL, BRIDGE_CONTROL.fields.SECONDARY_BUS_RESET) === 0;
    if (up === this.linkUp) return;
    this.linkUp = up;
    config.setField(LINK_STATUS, LINK_STATUS.fields.ACTIVE, up ? 1 : 0);
    config.setField(LINK_STATUS, LINK_STATUS.fields.WIDTH, up ? LINK_WIDTH : 0);
    this.owner().linkChanged(this.isLinkUp);
    if (!up) this.device?.reset();
    this.event(SLOT_STATUS.fields.LINK_STATE_CHANGED);
  }

  private event(...events: readonly BitField[]): void {
    const { config, layout } = this.owner();
    const { SLOT_STATUS } = layout.cap.pcie;
    for (const event of events) config.setField(SLOT_STATUS, event, 1);
    this.evaluate();
  }

  /** One message for each time that the condition becomes true; software clears all events to hear the next. */
  private evaluate(): void {
    const condition = this.condition();
    if (condition && !this.line) {
      this.line = true;
      this.owner().interrupt();
    }
    this.line = this.condition();
  }

  private condition(): boolean {
    const { config, layout } = this.owner();
    const { SLOT_CONTROL, SLOT_STATUS } = layout.cap.pcie;
    const control = config.get(SLOT_CONTROL);
    const status = config.get(SLOT_STATUS);
    const { fields } = SLOT_CONTROL;
    if (fields.HOT_PLUG_INTERRUPT_ENABLE.get(control) === 0) return false;
    const pairs = SLOT_STATUS.fields;
    return (
      (fields.ATTENTION_BUTTON_ENABLE.get(control) & pairs.ATTENTION_BUTTON.get(status)) !== 0 ||
      (fields.POWER_FAULT_ENABLE.get(control) & pairs.POWER_FAULT.get(status)) !== 0 ||
      (fields.MRL_ENABLE.get(control) & pairs.MRL_CHANGED.get(status)) !== 0 ||
      (fields.PRESENCE_ENABLE.get(control) & pairs.PRESENCE_CHANGED.get(status)) !== 0 ||
      (fields.COMMAND_COMPLETED_ENABLE.get(control) & pairs.COMMAND_COMPLETED.get(status)) !== 0 ||
      (fields.LINK_STATE_ENABLE.get(control) & pairs.LINK_STATE_CHANGED.get(status)) !== 0
    );
  }
}
