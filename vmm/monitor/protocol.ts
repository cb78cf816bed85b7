/**
 * The QMP wire format: the greeting, replies, errors and events, one JSON object a line
 * (QEMU, docs/interop/qmp-spec).
 */
import type { SerializedError } from '../../base/errors.js';
import { FerryError } from '../../base/errors.js';

/** Error classes of QMP; almost everything is a GenericError. */
export type QmpErrorClass = 'GenericError' | 'CommandNotFound' | 'DeviceNotFound' | 'DeviceNotActive';

/** What a command answers instead of a result. Made for the client: it crosses the wire, nothing else does. */
export class QmpError extends Error {
  readonly class: QmpErrorClass;

  constructor(desc: string, errorClass: QmpErrorClass = 'GenericError', cause?: unknown) {
    super(desc, cause === undefined ? undefined : { cause });
    this.name = 'QmpError';
    this.class = errorClass;
  }
}

export interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  readonly package: string;
}

/** A time of day as QMP writes it. */
export interface QmpTimestamp {
  readonly seconds: number;
  readonly microseconds: number;
}

/** Why the guest is not running any more (QEMU's ShutdownCause). */
export type ShutdownCause = 'host-qmp-quit' | 'host-signal' | 'guest-shutdown' | 'guest-reset';

/** QEMU's MigrationStatus, as far as it can occur here. */
export const MIGRATION_STATUSES = [
  'none',
  'setup',
  'active',
  'wait-unplug',
  'pre-switchover',
  'device',
  'completed',
  'failing',
  'failed',
  'cancelling',
  'cancelled',
] as const;
export type MigrationStatus = (typeof MIGRATION_STATUSES)[number];
/** Those of a migration that has begun and not come to its end. */
export const UNDER_WAY: readonly MigrationStatus[] = [
  'setup',
  'active',
  'wait-unplug',
  'pre-switchover',
  'device',
  'failing',
  'cancelling',
];

/** QEMU's QapiVfioMigrationState. */
export const VFIO_DEVICE_STATES = [
  'stop',
  'running',
  'stop-copy',
  'resuming',
  'running-p2p',
  'pre-copy',
  'pre-copy-p2p',
] as const;
export type VfioDeviceState = (typeof VFIO_DEVICE_STATES)[number];

/** Every event and its data. */
export interface QmpEvents {
  /** The guest stopped. */
  STOP: Record<string, never>;
  /** The guest runs, again or for the first time. */
  RESUME: Record<string, never>;
  /** The machine is being switched off; `guest` tells who asked for it. */
  SHUTDOWN: { readonly guest: boolean; readonly reason: ShutdownCause };
  /** The power button was pressed. */
  POWERDOWN: Record<string, never>;
  /** The guest crashed or reported a panic; it stays stopped. */
  GUEST_PANICKED: {
    readonly action: 'pause';
    readonly info: { readonly type: 'ferry'; readonly desc: string };
  };
  /** The migration, outgoing or incoming, reached another state (capability `events`). */
  MIGRATION: { readonly status: MigrationStatus };
  /** Pre-copy round `pass` begins, counted from 1 (capability `events`). */
  MIGRATION_PASS: { readonly pass: number };
  /** The guest's driver of this standby has agreed to be one, each time that it does. */
  FAILOVER_NEGOTIATED: { readonly 'device-id': string };
  /** The guest is asked to let this device go; its standby is to carry the traffic. */
  UNPLUG_PRIMARY: { readonly 'device-id': string };
  /** The guest has changed which frames this NIC lets in, for the first time since `query-rx-filter`. */
  NIC_RX_FILTER_CHANGED: { readonly name: string; readonly path: string };
  /** An assigned device is in another state of VFIO's migration protocol (capability `events`). */
  VFIO_MIGRATION: {
    readonly 'device-id': string;
    readonly 'qom-path': string;
    readonly 'device-state': VfioDeviceState;
  };
  /** A device that was asked to leave (`device_del`) is out of its slot. */
  DEVICE_DELETED: { readonly device: string; readonly path: string };
  /** Whole lines that the guest wrote to its console; `dropped` counts those left out of a flood. */
  X_FERRY_CONSOLE: { readonly lines: readonly string[]; readonly dropped: number };
}

export const QMP_EVENT_NAMES: readonly (keyof QmpEvents)[] = [
  'STOP',
  'RESUME',
  'SHUTDOWN',
  'POWERDOWN',
  'GUEST_PANICKED',
  'MIGRATION',
  'MIGRATION_PASS',
  'FAILOVER_NEGOTIATED',
  'UNPLUG_PRIMARY',
  'NIC_RX_FILTER_CHANGED',
  'VFIO_MIGRATION',
  'DEVICE_DELETED',
  'X_FERRY_CONSOLE',
];

/** Where QEMU's object model has a device with that id. */
export const qomPathOf = (device: string): string => `/machine/peripheral/${device}`;

/** Of a state by its name in the kernel, `PRE_COPY`; undefined of one that QEMU has no name for: a device in error. */
export function vfioMigration(device: string, state: string): QmpEvents['VFIO_MIGRATION'] | undefined {
  const name = state.toLowerCase().replaceAll('_', '-');
  const known = VFIO_DEVICE_STATES.find((one) => one === name);
  return known && { 'device-id': device, 'qom-path': qomPathOf(device), 'device-state': known };
}

/** The first line a client gets, with what it may ask for in its negotiation. */
export function encodeGreeting(version: QmpVersion, capabilities: readonly 'oob'[]): string {
  return line(JSON.stringify({ QMP: { version, capabilities } }));
}

/** `idText` is JSON already: it is echoed as it was written. */
export function encodeReturn(value: unknown, idText: string | undefined): string {
  return line(withId(`{"return": ${JSON.stringify(value ?? {})}`, idText));
}

/**
 * An error reply. A FerryError keeps, beside QMP's class and text, its code, facts and advice in `data`, so that a
 * program can act on it; generic clients ignore the member.
 */
export function encodeError(error: QmpError | FerryError, idText: string | undefined): string {
  let body: { class: QmpErrorClass; desc: string; data?: SerializedError };
  if (error instanceof FerryError) {
    body = { class: 'GenericError', desc: `${error.message}; ${error.advice}`, data: error.toJSON() };
  } else if (error.cause instanceof FerryError) {
    body = { class: error.class, desc: error.message, data: error.cause.toJSON() };
  } else {
    body = { class: error.class, desc: error.message };
  }
  return line(withId(`{"error": ${JSON.stringify(body)}`, idText));
}

export function encodeEvent<K extends keyof QmpEvents>(
  name: K,
  data: QmpEvents[K],
  timestamp: QmpTimestamp,
): string {
  const event =
    Object.keys(data).length === 0 ? { timestamp, event: name } : { timestamp, event: name, data };
  return line(JSON.stringify(event));
}

/** `milliseconds` since the epoch, with fractions, as QMP writes it. */
export function timestampOf(milliseconds: number): QmpTimestamp {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, microseconds: Math.floor((milliseconds - seconds * 1000) * 1000) };
}

function withId(head: string, idText: string | undefined): string {
  return idText === undefined ? `${head}}` : `${head}, "id": ${idText}}`;
}

function line(json: string): string {
  return `${json}\r\n`;
}

export const notFound = (execute: string): QmpError =>
  new QmpError(`The command ${execute.slice(0, 64)} has not been found`, 'CommandNotFound');
