/** One valid message of each kind: what fuzzing begins with, and tests of encoding, recordings and links take. */
import type { FrameKind } from '../../migration/frame.js';
import type { ControlMessage, MessageOf } from '../../migration/messages.js';
import { cpuLog } from '../../migration/tracking/cpu-log.js';

const machine: MessageOf<'state'>['machine'] = {
  vcpus: [
    {
      index: 0,
      run: 'halted',
      registers: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0x80),
      unwind: Uint8Array.of(9, 8, 7),
      pir: new Uint8Array(32).fill(1, 4, 5),
      timerDeadlineNs: 2 ** 40 + 1,
    },
  ],
  devices: [{ name: 'console', version: 3, state: Uint8Array.of(0xaa) }],
  clockNs: 123456789012,
};

export const sampleMessages: { readonly [K in FrameKind]: MessageOf<K> } = {
  hello: {
    kind: 'hello',
    migrationId: '00112233445566778899aabbccddeeff',
    description: {
      ramBytes: 3584 * 2 ** 20,
      vcpus: 4,
      migratedPages: 900_000,
      imageGpa: 0x100000,
      imageBytes: 4711,
      imageHash: 'ab'.repeat(32),
      devices: [
        { name: 'console', version: 1 },
        { name: 'power', version: 2 },
      ],
    },
    verify: 'full',
    channels: 2,
    hashSeed: 0xffff_ffff,
    devices: [],
    approaches: { tracking: cpuLog.name, stop: 'none', start: 'none' },
  },
  welcome: { kind: 'welcome' },
  data: {
    kind: 'data',
    endpoint: { host: '127.0.0.1', ports: [40001, 40002], token: 'f'.repeat(32) },
  },
  'round-end': { kind: 'round-end', round: 1, pages: 10, zeroPages: 20, bytes: 2 ** 33 },
  'round-received': { kind: 'round-received', round: 1, loadNs: 1, startNs: 2.5 },
  state: { kind: 'state', machine },
  complete: {
    kind: 'complete',
    round: 7,
    pages: 1,
    zeroPages: 0,
    bytes: 4112,
    root: new Uint8Array(32).fill(0x5a),
    channels: 2,
    devices: [{ name: 'vf0', bytes: 4096 }],
  },
  'device-data': { kind: 'device-data', device: 'vf0', data: Uint8Array.of(1, 2, 3), last: true },
  prepared: { kind: 'prepared', lastPagesNs: 1, integrityNs: 2.5, loadNs: 3e9, deviceLoadNs: 0 },
  verify: { kind: 'verify' },
  'page-hashes': { kind: 'page-hashes', firstPage: 16384, hashes: new Uint8Array(64).fill(3) },
  'read-back': { kind: 'read-back', machine },
  commit: { kind: 'commit', migrationId: '00112233445566778899aabbccddeeff' },
  inquiry: { kind: 'inquiry', migrationId: '00112233445566778899aabbccddeeff' },
  running: { kind: 'running', startNs: 12345, deviceStartNs: 45 },
  'devices-started': {
    kind: 'devices-started',
    devices: [
      { name: 'vf0', ns: 1.5e6, problem: null },
      { name: 'vf1', ns: 3e9, problem: 'the link stayed down' },
    ],
  },
  released: { kind: 'released' },
  ping: { kind: 'ping', serial: 0 },
  pong: { kind: 'pong', serial: 0xffff_ffff },
  error: {
    kind: 'error',
    code: 'vmm/machine-incompatible',
    exit: 'refused',
    text: 'another RAM size',
    advice: 'use the same',
    facts: { ours: 1, theirs: 'two', fatal: true, none: null },
    discarded: false,
  },
  damaged: { kind: 'damaged' },
};

export const allSamples = Object.values(sampleMessages) as ControlMessage[];
