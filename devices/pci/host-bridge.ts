/** The host bridge: device 0 of bus 0, there to be found; it decodes nothing and masters nothing. */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { configLayout } from './capability.js';
import { PciFunction } from './function.js';
import { HOST_BRIDGE } from './identities.js';
import { type0Header } from './registers.js';
import { registerSection, SectionedState } from './state.js';

export const HOST_BRIDGE_VERSION = 1;

const layout = /* @__PURE__ */ configLayout('host-bridge', type0Header(HOST_BRIDGE, []), {});

/** What software writes to it does nothing, but is read again: so it is state. */
export class HostBridge implements SaveableDevice {
  readonly name: string;
  readonly version = HOST_BRIDGE_VERSION;
  readonly fn: PciFunction;
  private readonly state: SectionedState;

  constructor(name = 'host-bridge') {
    this.name = name;
    this.fn = new PciFunction(layout, {
      name,
      bars: [],
      readBar: () => 0xffff_ffff,
      writeBar: () => {},
      reset: () => {},
    });
    this.state = new SectionedState(name, HOST_BRIDGE_VERSION, [registerSection('config', this.fn.config)]);
  }

  save(): DeviceRecord {
    return this.state.save();
  }

  restore(record: DeviceRecord): void {
    this.state.restore(record);
    this.fn.refresh();
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.state.describe(record);
  }
}

/** The function of a host bridge named `name`, where nobody saves it. */
export const hostBridge = (name?: string): PciFunction => new HostBridge(name).fn;
