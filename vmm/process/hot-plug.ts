/**
 * Devices that leave a guest's machine and come back on a person's word, as QEMU's `device_del` and `device_add`. They are
 * those that the VMM was given at its start: one that left waits here, and only it can come back.
 */
import type { Clock } from '../../base/clock.js';
import { seconds } from '../../base/units.js';
import type { AssignedDevice, DeviceSlot } from '../../migration/ports.js';
import { TURN_SLOT_OFF } from '../../migration/stop/unplug.js';
import { QmpError } from '../monitor/protocol.js';
import { portOf } from '../passthrough/records.js';

/** Within this a request is under way; after it, it may be made again. As QEMU's. */
const UNPLUG_EXPIRES = seconds(5);

export interface HotPlugEvents {
  /** The device that was asked to leave has left. */
  deleted(device: string): void;
}

export class HotPlug {
  readonly devices: readonly AssignedDevice[];
  readonly #clock: Clock;
  readonly #events: HotPlugEvents;
  /** Devices that were asked to leave and have not yet: when, and how to forget that. */
  readonly #leaving = new Map<string, { readonly expires: number; readonly forget: () => void }>();

  constructor(devices: readonly AssignedDevice[], clock: Clock, events: HotPlugEvents) {
    this.devices = devices;
    this.#clock = clock;
    this.#events = events;
  }

  /** Asks the guest to let the device go; it is heard of when that is done. Throws QmpErrors with QEMU's words. */
  async remove(id: string): Promise<void> {
    const device = this.devices.find(({ name }) => name === id);
    const slot = device?.slot;
    if (device === undefined || slot === undefined) throw notFound(id);
    const { present, powerIndicator } = await slot.state();
    if (!present) throw notFound(id);
    if (this.#clock.now() < (this.#leaving.get(id)?.expires ?? -1)) {
      throw new QmpError(`Device ${id} is already in the process of unplug`);
    }
    if (powerIndicator === 'blink') {
      throw new QmpError('Hot-unplug failed: guest is busy (power indicator blinking)');
    }
    if (device.button === undefined && !(await device.guest?.features())?.includes(TURN_SLOT_OFF)) {
      throw new QmpError('Hot-unplug failed: the slot has no attention button, and the guest no other ear');
    }
    this.#await(id, slot);
    await slot.takeOutWhenOff();
    if (!(await slot.state()).present) return;
    if (device.button !== undefined) await device.button.press();
    else await device.guest!.request(TURN_SLOT_OFF, []);
  }

  /** Puts a device back. Resolves when it is in its slot; the guest notices by itself. Throws QmpErrors with QEMU's words. */
  async add(id: string, bus?: string): Promise<void> {
    const device = this.devices.find(({ name }) => name === id);
    if (device?.slot === undefined) {
      const known = this.devices.map(({ name }) => name).join(', ') || 'none';
      throw new QmpError(`This VMM has no device '${id}' to add; its devices: ${known}`);
    }
    if (bus !== undefined && bus !== portOf(device.name)) throw new QmpError(`Bus '${bus}' not found`);
    if ((await device.slot.state()).present) throw new QmpError(`Duplicate device ID '${id}'`);
    await device.slot.insert(device.button === undefined ? 'link' : 'button');
  }

  /** Nobody is told of anything any more. */
  close(): void {
    for (const { forget } of this.#leaving.values()) forget();
    this.#leaving.clear();
  }

  #await(id: string, slot: DeviceSlot): void {
    this.#leaving.get(id)?.forget();
    const forget = slot.onChange(({ present }) => {
      if (present) return;
      this.#leaving.delete(id);
      forget();
      this.#events.deleted(id);
    });
    this.#leaving.set(id, { expires: this.#clock.now() + UNPLUG_EXPIRES, forget });
  }
}

const notFound = (id: string): QmpError =>
  new QmpError(`Device '${id.slice(0, 64)}' not found`, 'DeviceNotFound');
