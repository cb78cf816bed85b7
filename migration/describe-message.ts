/** Control messages in words, for `ferry inspect` and for logs. */
import type { DeviceRecord } from '../base/device-record.js';
import { unreachable } from '../base/errors.js';
import { PAGE_BYTES } from '../base/units.js';
import { hexBytes } from './frame.js';
import type { ControlMessage, MessageOf } from './messages.js';
import type { VcpuRecord } from './ports.js';

/** The fields of a device's record, as `SaveableDevice.describe` gives them; undefined for a device it doesn't know. */
export type DeviceDescriber = (
  record: DeviceRecord,
) => readonly (readonly [name: string, value: string])[] | undefined;

/** A piece of an assigned device's data stream in lines; `last` ends the stream. Remembers what came before. */
export type DeviceDataDescriber = (device: string, data: Uint8Array, last: boolean) => readonly string[];

/** Who explains what migration itself does not know. */
export interface Describers {
  readonly device?: DeviceDescriber;
  readonly deviceData?: DeviceDataDescriber;
}

/** The message in one line, and further lines for what it carries. */
export function describeMessage(message: ControlMessage, describers: Describers = {}): string[] {
  const { device, deviceData } = describers;
  switch (message.kind) {
    case 'hello':
      return describeHello(message);
    case 'welcome':
      return ['welcome: the destination accepts the machine'];
    case 'data': {
      const { host, ports } = message.endpoint;
      return [`data: ${ports.length} channels at ${host}, ports ${ports.join(', ')}`];
    }
    case 'round-end':
      return [`round-end: round ${message.round}, ${transferInWords(message)}`];
    case 'round-received':
      return [`round-received: round ${message.round} is in RAM`];
    case 'device-data':
      return [
        `device-data: ${message.data.length} bytes of the data stream of ${message.device}` +
          (message.last ? ', which ends it' : ''),
        ...(deviceData?.(message.device, message.data, message.last) ?? []).map((line) => `  ${line}`),
      ];
    case 'state':
      return ['state: the guest is paused', ...describeState(message.machine, device)];
    case 'complete':
      return [
        `complete: all is sent; last round ${message.round}, ${transferInWords(message)}`,
        `integrity root ${message.root.length === 0 ? 'none' : hexBytes(message.root)}`,
        ...message.devices.map(({ name, bytes }) => `device stream of ${name}: ${bytes} bytes`),
      ];
    case 'prepared':
      return [
        `prepared: last pages ${ms(message.lastPagesNs)}, integrity ${ms(message.integrityNs)}, load ${ms(message.loadNs)}, device load ${ms(message.deviceLoadNs)}`,
      ];
    case 'damaged':
      return ['damaged: the integrity roots differ; the hashes of all pages follow'];
    case 'verify':
      return ['verify: show what was loaded'];
    case 'page-hashes': {
      const pages = message.hashes.length / 8;
      return [`page-hashes: pages ${message.firstPage} to ${message.firstPage + pages - 1}`];
    }
    case 'read-back':
      return ['read-back: the machine as loaded', ...describeState(message.machine, device)];
    case 'commit':
      return [`commit: the guest belongs to the destination (migration ${message.migrationId})`];
    case 'inquiry':
      return [`inquiry: whether the guest runs (migration ${message.migrationId})`];
    case 'running':
      return [`running: started in ${ms(message.startNs)}, the device in ${ms(message.deviceStartNs)}`];
    case 'devices-started':
      return [
        'devices-started: after the guest',
        ...message.devices.map(({ name, ns, problem }) => `${name}: ${problem ?? `works after ${ms(ns)}`}`),
      ];
    case 'released':
      return ['released: the source has given the guest up'];
    case 'ping':
    case 'pong':
      return [`${message.kind} ${message.serial}`];
    case 'error':
      return [
        `error: ${message.code} (${message.exit}): ${message.text}`,
        `advice: ${message.advice}`,
        ...Object.entries(message.facts).map(([name, value]) => `${name} = ${String(value)}`),
      ];
    default:
      return unreachable(message);
  }
}

function describeHello(message: MessageOf<'hello'>): string[] {
  const { description } = message;
  const { tracking, stop, start } = message.approaches;
  const devices = description.devices.map(({ name, version }) => `${name} v${version}`);
  return [
    `hello: migration ${message.migrationId}, verify=${message.verify}, ${message.channels} channels`,
    `machine: ${description.ramBytes / 2 ** 20} MiB RAM, ${description.vcpus} vCPUs, ${description.migratedPages} pages to migrate`,
    `image: ${description.imageBytes} bytes at 0x${description.imageGpa.toString(16)}, hash ${description.imageHash || 'none'}`,
    `devices: ${devices.join(', ') || 'none'}; assigned: ${message.devices.map(inWords).join(', ') || 'none'}`,
    `approaches: tracking ${tracking}, stop ${stop}, start ${start}`,
  ];
}

function describeState(state: MessageOf<'state'>['machine'], device: DeviceDescriber | undefined): string[] {
  return [
    `virtual clock ${ms(state.clockNs)}`,
    ...state.vcpus.map(describeVcpu),
    ...state.devices.flatMap((record) => [
      `device ${record.name} v${record.version}: ${record.state.length} bytes`,
      ...(device?.(record) ?? []).map(([name, value]) => `  ${name} = ${value}`),
    ]),
  ];
}

function describeVcpu(vcpu: VcpuRecord): string {
  const pending: string[] = [];
  for (let vector = 0; vector < 256; vector++) {
    if ((vcpu.pir[vector >>> 3]! >>> (vector & 7)) & 1) pending.push(`0x${vector.toString(16)}`);
  }
  const timer = vcpu.timerDeadlineNs < 0 ? 'off' : `at ${ms(vcpu.timerDeadlineNs)}`;
  return (
    `vCPU ${vcpu.index}: ${vcpu.run}, ${vcpu.registers.length / 8} registers, ` +
    `${vcpu.unwind.length} bytes of stack, timer ${timer}, pending vectors ${pending.join(' ') || 'none'}`
  );
}

function transferInWords(count: { pages: number; zeroPages: number; bytes: number }): string {
  const payload = count.pages * PAGE_BYTES;
  return `${count.pages} pages (${payload} bytes), ${count.zeroPages} zero pages, ${count.bytes} bytes in all`;
}

const ms = (ns: number): string => `${(ns / 1e6).toFixed(3)} ms`;

function inWords({ name, identity }: MessageOf<'hello'>['devices'][number]): string {
  const { kind, revision, vectors, queues, mac } = identity;
  return `${name} (${kind}, revision ${revision}, ${vectors} vectors, ${queues} queue pairs, ${mac})`;
}
