/**
 * The devices of the platform, composed from a list. A driver (the device thread, or the deterministic machine) supplies
 * the ports; nothing here knows which.
 */
import type { Clock } from '../../base/clock.js';
import type { DeviceRecord } from '../../base/device-record.js';
import type { GuestMemory } from '../../base/guest-memory.js';
import type { MachineDevice } from '../../base/mmio.js';
import { ConsoleDevice, type ConsoleLine } from '../../devices/console/device.js';
import { CONSOLE_VERSION } from '../../devices/console/state.js';
import { POWER_VERSION, PowerDevice, type PowerRequest } from '../../devices/power/device.js';
import { SerialDevice } from '../../devices/serial/device.js';
import type { SerialPortName } from '../../devices/serial/registers.js';
import { SERIAL_VERSION } from '../../devices/serial/state.js';
import { vmmErrors } from '../errors.js';
import { type NicOptions, passthroughRecords } from '../passthrough/records.js';
import { MmioBus } from './mmio-bus.js';

export interface DevicePorts {
  readonly memory: GuestMemory;
  /** The machine's virtual clock. */
  readonly clock: Clock;
  /** Posts `vector` to vCPU `target`. */
  interrupt(target: number, vector: number): void;
  print(line: ConsoleLine): void;
  power(request: PowerRequest): void;
  /** The guest has done something to a serial port. */
  serial(port: SerialPortName): void;
}

/** One device of a machine. Name and record version are known before it exists, for the machine's description. */
export interface DeviceModel {
  readonly name: string;
  readonly version: number;
  create(ports: DevicePorts): MachineDevice;
}

/** In the order in which records travel. */
export const PLATFORM_DEVICES: readonly DeviceModel[] = [
  { name: 'console', version: CONSOLE_VERSION, create: (ports) => new ConsoleDevice(ports) },
  {
    name: 'power',
    version: POWER_VERSION,
    create: ({ power, interrupt }) => new PowerDevice({ request: power, interrupt }),
  },
  {
    name: 'serial',
    version: SERIAL_VERSION,
    create: ({ memory, interrupt, serial }) => new SerialDevice({ memory, interrupt, changed: serial }),
  },
];

/** The record of a device as the machine's description names it. */
export type RecordName = Pick<DeviceModel, 'name' | 'version'>;

/** Records of a machine, in the order in which they travel; the state of assigned devices takes its own way. */
export function deviceRecords(nic: NicOptions | undefined): readonly RecordName[] {
  const platform = PLATFORM_DEVICES.map(({ name, version }) => ({ name, version }));
  return [
    ...platform,
    ...passthroughRecords(nic?.macs.length ?? 0, nic?.virtio?.length ?? 0, nic?.edus ?? 0, nic?.slot),
  ];
}

export function platformDevices(ports: DevicePorts): MachineDevice[] {
  return PLATFORM_DEVICES.map((model) => model.create(ports));
}

export class DeviceSet {
  readonly bus: MmioBus;
  /** What of them the host may call, by name. */
  readonly calls: ReadonlyMap<string, object>;
  readonly #devices: readonly MachineDevice[];

  constructor(devices: readonly MachineDevice[]) {
    this.#devices = devices;
    this.bus = new MmioBus(this.#devices.flatMap((device) => device.regions));
    this.calls = new Map(this.#devices.flatMap(({ calls }) => [...(calls ?? [])]));
  }

  save(): DeviceRecord[] {
    return this.#devices.map((device) => device.save());
  }

  /** Throws a FerryError that names the device; those before it have then taken over their records. */
  restore(records: readonly DeviceRecord[]): void {
    const names = this.#devices.map((device) => device.name);
    const given = records.map((record) => record.name);
    if (names.join() !== given.join()) {
      const problem = `records of ${given.join(', ') || 'none'} where ${names.join(', ')} belong`;
      throw vmmErrors.error('state-refused', { record: 'the devices', problem });
    }
    this.#devices.forEach((device, i) => {
      device.restore(records[i]!);
    });
  }
}
