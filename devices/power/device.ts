/**
 * The power device: the guest switches its machine off, asks for a reset, or reports a panic; and somebody presses the power
 * button, of which a guest hears that wants to. Its state is who that is.
 */
import { POWER_BASE, POWER_BYTES } from '../../base/abi/platform.js';
import type { DeviceRecord } from '../../base/device-record.js';
import type { MachineDevice, MmioRegion } from '../../base/mmio.js';
import { describeRegisters } from '../../base/register-dump.js';
import { RegisterFile } from '../../base/registers.js';
import { deviceErrors } from '../errors.js';
import { POWER_OFF, POWER_PANIC, POWER_RESET, powerRegisters } from './registers.js';

export const POWER_VERSION = 2;

/** What of the device the host calls, by this name. */
export const POWER_BUTTON_NAME = 'power-button';

export type PowerRequest = 'off' | 'reset' | 'panic';

const REQUESTS: ReadonlyMap<number, PowerRequest> = new Map([
  [POWER_OFF, 'off'],
  [POWER_RESET, 'reset'],
  [POWER_PANIC, 'panic'],
]);

export interface PowerPorts {
  request(what: PowerRequest): void;
  /** Posts `vector` to vCPU `target`. */
  interrupt(target: number, vector: number): void;
}

/** The button on the machine's front. */
export interface PowerButton {
  /** False if the guest does not want to hear of it. */
  press(): boolean;
}

export class PowerDevice implements MachineDevice {
  readonly name = 'power';
  readonly version = POWER_VERSION;
  readonly regions: readonly MmioRegion[];
  readonly calls: ReadonlyMap<string, PowerButton>;
  readonly #registers: RegisterFile<unknown>;

  constructor({ request, interrupt }: PowerPorts) {
    const registers = new RegisterFile(powerRegisters, {
      CONTROL: {
        write: (value) => {
          const what = REQUESTS.get(value);
          if (what !== undefined) request(what);
        },
      },
    });
    this.#registers = registers;
    const press = (): boolean => {
      const { VECTOR, TARGET } = powerRegisters.reg.BUTTON.fields;
      const button = registers.get(powerRegisters.reg.BUTTON);
      const vector = VECTOR.get(button);
      if (vector !== 0) interrupt(TARGET.get(button), vector);
      return vector !== 0;
    };
    this.calls = new Map([[POWER_BUTTON_NAME, { press }]]);
    const handler = {
      read: (offset: number, width: number) => registers.read(offset, width),
      write: (offset: number, width: number, value: number) => registers.write(offset, width, value),
    };
    this.regions = [{ name: this.name, base: POWER_BASE, bytes: POWER_BYTES, handler }];
  }

  save(): DeviceRecord {
    return { name: this.name, version: this.version, state: this.#registers.save() };
  }

  restore(record: DeviceRecord): void {
    if (record.version !== this.version) {
      const facts = { device: this.name, version: record.version, supported: this.version };
      throw deviceErrors.error('recordVersion', facts);
    }
    const difference = this.#registers.restore(record.state);
    if (difference !== undefined)
      throw deviceErrors.error('recordRefused', { device: this.name, difference });
  }

  describe({ state }: DeviceRecord): readonly (readonly [string, string])[] {
    return describeRegisters(powerRegisters, state);
  }
}
