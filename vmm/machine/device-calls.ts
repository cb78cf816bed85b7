/**
 * How the machine's thread asks the thread that owns the devices: each thing that can be asked has a name there, and
 * whoever has that name calls its methods as if it were here. While one call is carried out no device does anything else.
 */
import type { Cancel } from '../../base/clock.js';
import type { DeviceRecord } from '../../base/device-record.js';
import { invariant } from '../../base/errors.js';
import { eduIdentity } from '../../devices/edu/registers.js';
import { formatMac } from '../../devices/ethernet/addresses.js';
import { vfIdentity } from '../../devices/nic82599/functions.js';
import { WHOLE_PART } from '../../devices/nic82599/offer.js';
import type { Identity } from '../../devices/pci/registers.js';
import type { SerialPort } from '../../devices/serial/device.js';
import type { SerialPortName } from '../../devices/serial/registers.js';
import type {
  AssignedDevice,
  DeviceIdentity,
  DeviceSlot,
  DmaWriter,
  HostFunction as FunctionFacet,
  GuestAgent,
  GuestChannel,
} from '../../migration/ports.js';
import type { SerialLine } from '../agent/serial-line.js';
import type { AcpiSlot } from '../passthrough/acpi-slot.js';
import type { FunctionChannel } from '../passthrough/channel.js';
import type { PassthroughDevice } from '../passthrough/device.js';
import type { FunctionLog } from '../passthrough/dma-logs.js';
import type { DeviceEvent } from '../passthrough/events.js';
import type { PassthroughHost } from '../passthrough/host.js';
import type { HostFunction } from '../passthrough/host-function.js';
import {
  assignedName,
  channelName,
  dmaLogName,
  functionName,
  IOMMU_NAME,
  NETWORK_NAME,
  NIC_NAME,
  type NicOptions,
  replayName,
  ringSnoopName,
  slotName,
  standbyName,
} from '../passthrough/records.js';
import type { FunctionReplay } from '../passthrough/replay.js';
import type { RingSnoop } from '../passthrough/ring-snoop.js';
import type { FunctionSlot } from '../passthrough/slot.js';
import type { Standby } from '../passthrough/standby.js';
import type { ConsoleBatch } from './console-outbox.js';
import type { DeviceSet } from './devices.js';
import type { MachineEvents } from './events.js';

/** The calls from another thread. Arguments and results are copied, as `structuredClone` does it. */
export interface DeviceHost {
  /** Resolves when the devices are ready to be used; rejects with a FerryError if the cable can't be plugged in. */
  ready(): Promise<void>;
  /** Has `method` of `target` called there. Rejects with the FerryError that it throws. */
  call(target: string, method: string, args: readonly unknown[]): Promise<unknown>;
}

/** `T` as another thread has it: each method, answered later. */
export type Remote<T> = {
  readonly [K in keyof T as T[K] extends (...args: never[]) => unknown ? K : never]: T[K] extends (
    ...args: infer Args
  ) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

/** What `host` has under the name `target`. */
export function remote<T extends object>(host: DeviceHost, target: string): Remote<T> {
  return new Proxy({} as Remote<T>, {
    // Whoever returns it from an async function asks whether it is a promise.
    get: (_, method) =>
      typeof method === 'symbol' || method === 'then'
        ? undefined
        : (...args: unknown[]) => host.call(target, method, args),
  });
}

/** The platform's devices as one. */
export interface PlatformCalls {
  save(): readonly DeviceRecord[];
  restore(records: readonly DeviceRecord[]): void;
  /** Does once, on a machine that waits for a guest, what the blackout will do. */
  rehearse(): void;
  /** What the guest has printed that nobody has heard yet: for what must not overtake it. */
  lastWords(): ConsoleBatch;
}

export const PLATFORM_NAME = 'platform';

/** `rehearse` does what else is worth doing once before it counts; `lastWords`: lines on their way. */
export function platformCalls(
  devices: DeviceSet,
  { rehearse, lastWords }: Pick<PlatformCalls, 'rehearse' | 'lastWords'>,
): PlatformCalls {
  return {
    save: () => devices.save(),
    restore: (records) => devices.restore(records),
    rehearse: () => {
      devices.restore(devices.save());
      rehearse();
    },
    lastWords,
  };
}

/** What can be asked, by name. */
export type CallTargets = ReadonlyMap<string, object>;

/** The platform as a whole, what of its devices may be called, and what there is of a NIC and of assigned devices, in the host's order. */
export function callTargets(
  platform: PlatformCalls,
  calls: ReadonlyMap<string, object>,
  nic: { readonly host: PassthroughHost; readonly devices: readonly PassthroughDevice[] } | undefined,
): CallTargets {
  const targets = new Map<string, object>([[PLATFORM_NAME, platform], ...calls]);
  if (nic === undefined) return targets;
  targets.set(NIC_NAME, nic.host).set(IOMMU_NAME, nic.host.iommu).set(NETWORK_NAME, nic.host.network);
  for (const [index, { assigned, host, slot, channel }] of nic.host.assigned.entries()) {
    const { name } = assigned;
    targets.set(name, nic.devices[index]!).set(functionName(name), host);
    targets.set(slotName(name), slot).set(channelName(name), channel);
  }
  for (const [index, { assigned, replay }] of nic.host.functions.entries()) {
    const { name } = assigned;
    targets.set(replayName(name), replay);
    targets.set(dmaLogName(name), nic.host.dmaLogs[index]!);
    targets.set(ringSnoopName(name), nic.host.ringSnoops[index]!);
    const standby = nic.host.standbys[index];
    if (standby !== undefined) targets.set(standbyName(name), standby);
  }
  for (const virtio of nic.host.virtio) targets.set(virtio.name, virtio);
  return targets;
}

/** Makes one call in the thread that owns `targets`. */
export function carryOut(
  targets: CallTargets,
  target: string,
  method: string,
  args: readonly unknown[],
): unknown {
  const object = targets.get(target) as Record<string, unknown> | undefined;
  const call = object?.[method];
  invariant(typeof call === 'function', `nobody answers ${target}.${method}`);
  return call.apply(object, args);
}

export function serialLine(port: SerialPortName, host: DeviceHost, events: MachineEvents): SerialLine {
  const onChange: SerialLine['onChange'] = (listener) =>
    events.on((event) => {
      if (event.kind === 'device' && event.event.kind === 'serial' && event.event.device === port) listener();
    });
  return withListeners(remote<SerialPort>(host, port), { onChange });
}

/** A device as a migration sees it. All devices write through one domain, which tells what was written, not by whom. */
export function assignedDevice(
  name: string,
  host: DeviceHost,
  dma: DmaWriter,
  events: MachineEvents,
  nic: NicOptions,
  agent: GuestAgent,
): AssignedDevice {
  const onOwn = (heard: (event: DeviceEvent) => void): Cancel =>
    events.on((event) => {
      if (event.kind === 'device' && event.event.device === name) heard(event.event);
    });
  const onChange: DeviceSlot['onChange'] = (listener) =>
    onOwn((event) => {
      if (event.kind === 'slot') listener(event.state);
    });
  const onReceiver: FunctionFacet['onReceiver'] = (listener) =>
    onOwn((event) => {
      if (event.kind === 'receiver') listener(event.on);
    });
  const onMessage: GuestChannel['onMessage'] = (listener) =>
    onOwn((event) => {
      if (event.kind === 'guest-message') listener(event.message);
    });
  const slot = remote<FunctionSlot>(host, slotName(name));
  return {
    name,
    dma,
    vfio: nic.vfioMigration !== false ? remote<PassthroughDevice>(host, name) : undefined,
    fn: withListeners(remote<HostFunction>(host, functionName(name)), { onReceiver }),
    slot: withListeners(slot, { onChange }),
    agent,
    button: (nic.slot ?? 'ordinary') === 'ordinary' ? slot : undefined,
    firmware: nic.slot === 'acpi' ? remote<AcpiSlot>(host, slotName(name)) : undefined,
    guest: withListeners(remote<FunctionChannel>(host, channelName(name)), { onMessage }),
    ...ofItsKind(name, host, nic),
  };
}

/** What a device has as one of its kind: a virtual function logs what it writes, has rings and registers that are known, and may have a standby. */
function ofItsKind(
  name: string,
  host: DeviceHost,
  nic: NicOptions,
): Pick<AssignedDevice, 'identity' | 'log' | 'rings' | 'replay' | 'standby'> {
  const index = nic.macs.findIndex((_, i) => assignedName(i) === name);
  if (index < 0) return { identity: eduDevice };
  return {
    identity: functionOf(nic, index),
    log: remote<FunctionLog>(host, dmaLogName(name)),
    rings: remote<RingSnoop>(host, ringSnoopName(name)),
    replay: remote<FunctionReplay>(host, replayName(name)),
    standby: hasStandby(nic, index) ? remote<Standby>(host, standbyName(name)) : undefined,
  };
}

const hasStandby = ({ macs, virtio = [] }: NicOptions, index: number): boolean =>
  virtio.some(({ standby, mac }) => standby === true && mac.join() === macs[index]!.join());

const kindOf = ({ vendorId, deviceId }: Identity): string =>
  [vendorId, deviceId].map((id) => id.toString(16).padStart(4, '0')).join(':');

const functionOf = ({ macs, offer = WHOLE_PART }: NicOptions, index: number): DeviceIdentity => ({
  kind: kindOf(vfIdentity),
  ...offer,
  mac: formatMac(Uint8Array.from(macs[index]!), 0),
});

/** It has one message, and is no NIC. */
const eduDevice: DeviceIdentity = {
  kind: kindOf(eduIdentity),
  revision: eduIdentity.revision,
  vectors: 1,
  queues: 0,
  mac: 'none',
};

/** What is called there, and what is heard of here. */
const withListeners = <T extends object, L extends object>(there: T, here: L): T & L =>
  new Proxy(here, {
    get: (_, name) => (name in here ? here[name as keyof L] : there[name as keyof T]),
  }) as T & L;
