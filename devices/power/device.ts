/** The power device: the guest switches its machine off, asks for a reset, or reports a panic. It has no state. */
import { POWER_BASE, POWER_BYTES } from '../../base/abi/platform.js';
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import type { MmioRegion } from '../../base/mmio.js';
import { RegisterFile } from '../../base/registers.js';
import { deviceErrors } from '../errors.js';
import { POWER_OFF, POWER_PANIC, POWER_RESET, powerRegisters } from './registers.js';

export const POWER_VERSION = 1;

export type PowerRequest = 'off' | 'reset' | 'panic';

const REQUESTS: ReadonlyMap<number, PowerRequest> = new Map([
  [POWER_OFF, 'off'],
  [POWER_RESET, 'reset'],
  [POWER_PANIC, 'panic'],
]);

export class PowerDevice implements SaveableDevice {
  readonly name = 'power';
  readonly version = POWER_VERSION;
  readonly regions: readonly MmioRegion[];

  constructor(request: (what: PowerRequest) => void) {
    const registers = new RegisterFile(powerRegisters, {
      CONTROL: {
        write: (value) => {
          const what = REQUESTS.get(value);
          if (what !== undefined) request(what);
        },
      },
    });
    const handler = {
      read: (offset: number, width: number) => registers.read(offset, width),
      write: (offset: number, width: number, value: number) => registers.write(offset, width, value),
    };
    this.regions = [{ name: this.name, base: POWER_BASE, bytes: POWER_BYTES, handler }];
  }

  save(): DeviceRecord {
    return { name: this.name, version: this.version, state: new Uint8Array(0) };
  }

  restore(record: DeviceRecord): void {
    if (record.version !== this.version) {
      const facts = { device: this.name, version: record.version, supported: this.version };
      throw deviceErrors.error('recordVersion', facts);
    }
    if (record.state.length !== 0) {
      const difference = `${record.state.length} bytes of state where none belong`;
      throw deviceErrors.error('recordRefused', { device: this.name, difference });
    }
  }

  describe(): readonly (readonly [string, string])[] {
    return [];
  }
}
