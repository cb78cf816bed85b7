/**
 * The control messages: a closed union, each declared once as a schema from which type, validation and the names in
 * error messages derive. On the wire a message is a frame (`frame.ts`) whose payload is MessagePack.
 *
 *     source                                destination
 *       │ hello ─────────────────────────────▶ │  accepts or refuses the machine
 *       │ ◀──────────────────────────── welcome │
 *       │ data ──────────────────────────────▶ │  connects the data channels
 *       │ device-data ... ───────────────────▶ │  with an assigned device: who it is, and what may travel ahead
 *       │ round-end 1 ───────────────────────▶ │  ... 2, 3, until the rest fits the downtime limit
 *       │ ◀───────────────────── round-received │
 *       │ state ─────────────────────────────▶ │  guest paused; the machine's state, while the last pages travel
 *       │ device-data ... ───────────────────▶ │  the rest of the device's state
 *       │ complete ──────────────────────────▶ │  last pages, integrity root
 *       │ ◀─────────────────────────── prepared │  a promise: only the source or a lost link can break it
 *       │ verify ────────────────────────────▶ │  verifying runs only
 *       │ ◀────────── page-hashes ..., read-back │
 *       │ commit ────────────────────────────▶ │  the guest belongs to the destination
 *       │ ◀──────────────────────────── running │  and `read-back`, where that is compared afterwards
 *       │ ◀──────────────────── devices-started │  where devices are started after the guest
 *       │ released ──────────────────────────▶ │
 *
 * `damaged` and `page-hashes` take the place of `prepared` when the integrity roots differ. `ping`, `pong` and `error` may come at any time, from either side.
 */
import { Packr, Unpackr } from 'msgpackr';
import * as v from 'valibot';
import { UNWIND_BYTES } from '../base/abi/reserved-range.js';
import { EXIT_STATUS, type ExitClass } from '../base/exit-status.js';
import { MIB, PAGE_BYTES } from '../base/units.js';
import { decodeFrame, encodeFrame, type FrameKind, malformed } from './frame.js';
import { judgeShape } from './message-shape.js';

/** Pages whose hashes travel in one `page-hashes` message. */
export const HASHES_PER_MESSAGE = 16 * 1024;
/** Bytes of a device's data stream in one `device-data` message. */
export const DEVICE_DATA_BYTES_MAX = 1 * MIB;
/** Bytes of the integrity root: SHA-256 or another digest of that size. */
export const ROOT_BYTES = 32;

const VCPUS_MAX = 64;
const ASSIGNED_MAX = 64;
const DEVICES_MAX = 256;
const CHANNELS_MAX = 16;
const REGISTERS_BYTES_MAX = 64 * 1024;
const DEVICE_STATE_BYTES_MAX = 8 * MIB;
const PIR_BYTES = 32;

const count = (max = Number.MAX_SAFE_INTEGER) =>
  v.pipe(
    v.number(),
    v.safeInteger('must be an integer'),
    v.minValue(0, 'must not be negative'),
    v.maxValue(max),
  );
const name = v.pipe(v.string(), v.minLength(1, 'must not be empty'), v.maxLength(128));
const hex = (digits: number) =>
  v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${digits}}$`), `must be ${digits} hex digits`));
/** Bytes from the peer; the decoder's platform-specific subclass is left behind. */
const bytes = (min: number, max: number) =>
  v.pipe(
    v.instance(Uint8Array, 'must be bytes'),
    v.check((value) => value.length >= min && value.length <= max, `must have ${min} to ${max} bytes`),
    v.transform((value): Uint8Array => new Uint8Array(value.buffer, value.byteOffset, value.length)),
  );
const duration = v.pipe(v.number(), v.finite('must be finite'), v.minValue(0, 'must not be negative'));

const description = v.pipe(
  v.strictObject({
    ramBytes: v.pipe(
      count(),
      v.check((value) => value > 0 && value % PAGE_BYTES === 0, 'must be whole pages'),
    ),
    vcpus: v.pipe(count(VCPUS_MAX), v.minValue(1)),
    migratedPages: v.pipe(count(), v.minValue(1)),
    imageGpa: count(),
    imageBytes: count(),
    imageHash: v.pipe(v.string(), v.regex(/^[0-9a-f]{0,128}$/, 'must be hex digits')),
    devices: v.pipe(v.array(v.strictObject({ name, version: count(0xffff) })), v.maxLength(DEVICES_MAX)),
  }),
  v.forward(
    v.check((d) => d.migratedPages * PAGE_BYTES <= d.ramBytes, 'more pages than RAM has'),
    ['migratedPages'],
  ),
  v.forward(
    v.check((d) => d.imageGpa + d.imageBytes <= d.ramBytes, 'the image does not lie in RAM'),
    ['imageGpa'],
  ),
);

const machineState = v.strictObject({
  vcpus: v.pipe(
    v.array(
      v.strictObject({
        index: count(VCPUS_MAX - 1),
        run: v.picklist(['off', 'running', 'halted', 'crashed']),
        registers: v.pipe(
          bytes(0, REGISTERS_BYTES_MAX),
          v.check((value) => value.length % 8 === 0, 'must be 8 bytes a register'),
        ),
        unwind: bytes(0, UNWIND_BYTES),
        pir: bytes(PIR_BYTES, PIR_BYTES),
        timerDeadlineNs: v.pipe(v.number(), v.finite('must be finite'), v.minValue(-1)),
      }),
    ),
    v.minLength(1),
    v.maxLength(VCPUS_MAX),
    v.check((vcpus) => vcpus.every((vcpu, at) => vcpu.index === at), 'must be in order, none missing'),
  ),
  devices: v.pipe(
    v.array(v.strictObject({ name, version: count(0xffff), state: bytes(0, DEVICE_STATE_BYTES_MAX) })),
    v.maxLength(DEVICES_MAX),
  ),
  clockNs: v.pipe(v.number(), v.finite('must be finite'), v.minValue(0)),
});

const identity = v.strictObject({
  kind: name,
  revision: count(0xff),
  vectors: count(2048),
  queues: count(0xffff),
  mac: name,
});

const round = v.pipe(count(0xffff_ffff), v.minValue(1));
const transfer = { pages: count(), zeroPages: count(), bytes: count() };

const schemas = {
  hello: v.strictObject({
    kind: v.literal('hello'),
    migrationId: hex(32),
    description,
    verify: v.picklist(['off', 'root', 'after', 'full']),
    channels: v.pipe(count(CHANNELS_MAX), v.minValue(1)),
    hashSeed: count(0xffff_ffff),
    /** The assigned devices, in the order of both machines. */
    devices: v.pipe(
      v.array(v.strictObject({ name, identity })),
      v.maxLength(ASSIGNED_MAX),
      v.check(
        (devices) => new Set(devices.map((device) => device.name)).size === devices.length,
        'must not name one twice',
      ),
    ),
    /** By name, so that a destination can say which it does not know. */
    approaches: v.strictObject({ tracking: name, stop: name, start: name }),
  }),
  welcome: v.strictObject({ kind: v.literal('welcome') }),
  data: v.strictObject({
    kind: v.literal('data'),
    endpoint: v.strictObject({
      host: name,
      ports: v.pipe(v.array(v.pipe(count(0xffff), v.minValue(1))), v.minLength(1), v.maxLength(CHANNELS_MAX)),
      token: hex(32),
    }),
  }),
  'round-end': v.strictObject({ kind: v.literal('round-end'), round, ...transfer }),
  /** With what loading the machine and starting it took in a rehearsal, ns on the destination's clock. */
  'round-received': v.strictObject({
    kind: v.literal('round-received'),
    round,
    loadNs: duration,
    startNs: duration,
  }),
  /** The next piece of an assigned device's data stream. */
  'device-data': v.strictObject({
    kind: v.literal('device-data'),
    device: name,
    data: bytes(0, DEVICE_DATA_BYTES_MAX),
    /** The stream ends with it: the device can be loaded. */
    last: v.boolean(),
  }),
  state: v.strictObject({ kind: v.literal('state'), machine: machineState }),
  /**
   * Everything has been sent; `root` is empty when nothing is hashed. `round` is the last that was sent: the one before
   * again, with nothing counted, if there was nothing left to send.
   */
  complete: v.strictObject({
    kind: v.literal('complete'),
    round,
    ...transfer,
    root: v.pipe(
      bytes(0, ROOT_BYTES),
      v.check(
        (value) => value.length === 0 || value.length === ROOT_BYTES,
        `must have 0 or ${ROOT_BYTES} bytes`,
      ),
    ),
    /** On how many channels the last round was sent. */
    channels: v.pipe(count(CHANNELS_MAX), v.minValue(1)),
    /** Length of each device's whole data stream, which has been sent; none if no state travels. */
    devices: v.pipe(v.array(v.strictObject({ name, bytes: count() })), v.maxLength(ASSIGNED_MAX)),
  }),
  /** Durations in ns on the destination's clock. */
  prepared: v.strictObject({
    kind: v.literal('prepared'),
    lastPagesNs: duration,
    integrityNs: duration,
    loadNs: duration,
    deviceLoadNs: duration,
  }),
  /** The integrity roots differ: `page-hashes` of all pages as received follow, for the source to name them. */
  damaged: v.strictObject({ kind: v.literal('damaged') }),
  verify: v.strictObject({ kind: v.literal('verify') }),
  'page-hashes': v.strictObject({
    kind: v.literal('page-hashes'),
    firstPage: count(),
    /** Two little-endian 32-bit words a page. */
    hashes: v.pipe(
      bytes(8, HASHES_PER_MESSAGE * 8),
      v.check((value) => value.length % 8 === 0, 'must be 8 bytes a page'),
    ),
  }),
  'read-back': v.strictObject({ kind: v.literal('read-back'), machine: machineState }),
  commit: v.strictObject({ kind: v.literal('commit'), migrationId: hex(32) }),
  running: v.strictObject({ kind: v.literal('running'), startNs: duration, deviceStartNs: duration }),
  /** Where devices are started after the guest: until each worked, or why it does not. */
  'devices-started': v.strictObject({
    kind: v.literal('devices-started'),
    devices: v.pipe(
      v.array(
        v.strictObject({ name, ns: duration, problem: v.nullable(v.pipe(v.string(), v.maxLength(1024))) }),
      ),
      v.maxLength(ASSIGNED_MAX),
    ),
  }),
  released: v.strictObject({ kind: v.literal('released') }),
  /** On a link of its own: a source whose commit was not answered asks whether the guest runs. `running` or `error` answers. */
  inquiry: v.strictObject({ kind: v.literal('inquiry'), migrationId: hex(32) }),
  ping: v.strictObject({ kind: v.literal('ping'), serial: count(0xffff_ffff) }),
  pong: v.strictObject({ kind: v.literal('pong'), serial: count(0xffff_ffff) }),
  /** Why the sender gave up, in its own words. */
  error: v.strictObject({
    kind: v.literal('error'),
    code: name,
    /** Class of the status that a command ends with because of it. */
    exit: v.picklist(Object.keys(EXIT_STATUS) as ExitClass[]),
    text: v.pipe(v.string(), v.maxLength(4096)),
    advice: v.pipe(v.string(), v.maxLength(4096)),
    facts: v.record(name, v.union([v.string(), v.number(), v.boolean(), v.null()])),
    /** The sender is a destination that never ran the guest and never will, whatever is on its way to it. */
    discarded: v.boolean(),
  }),
} satisfies { readonly [K in FrameKind]: v.GenericSchema<unknown, { kind: K }> };

type Frozen<T> = T extends Uint8Array
  ? T
  : T extends readonly unknown[] | Record<string, unknown>
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T;

export type MessageOf<K extends FrameKind> = Frozen<v.InferOutput<(typeof schemas)[K]>>;
export type ControlMessage = { [K in FrameKind]: MessageOf<K> }[FrameKind];

const packr = new Packr({ useRecords: false, moreTypes: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'bigint' });

/** The message as one whole frame; throws `migration/message-too-large`. */
export function encodeMessage(message: ControlMessage): Uint8Array {
  const { kind, ...body } = message;
  return encodeFrame(kind, packr.pack(body));
}

/**
 * The message in one whole frame, judged to the last field. Throws `migration/not-a-stream`, `migration/peer-version`
 * or `migration/malformed-message`, which names message and field.
 */
export function decodeMessage(frame: Uint8Array): ControlMessage {
  const { kind, payload } = decodeFrame(frame);
  const problem = judgeShape(payload);
  if (problem !== undefined) throw malformed(kind, 'payload', problem);
  let body: unknown;
  try {
    body = unpackr.unpack(payload);
  } catch (error) {
    throw malformed(kind, 'payload', `not MessagePack: ${String(error)}`);
  }
  if (typeof body !== 'object' || body === null || Object.getPrototypeOf(body) !== Object.prototype) {
    throw malformed(kind, 'payload', 'not a map of fields');
  }
  const result = v.safeParse(schemas[kind] as v.GenericSchema<unknown, ControlMessage>, { ...body, kind });
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw malformed(kind, v.getDotPath(issue) ?? 'payload', issue.message);
}

let rehearsed = false;

/**
 * Encodes and decodes, a few times, what travels while the guest stands still, so that the engine has compiled it by
 * then: the first `state` took 1.1 ms to encode and 1.6 ms to decode where later ones take a tenth of that. Once for
 * all migrations of a thread, which is what compiling takes.
 */
export function rehearse(): void {
  if (rehearsed) return;
  rehearsed = true;
  const vcpu = {
    index: 0,
    run: 'running',
    registers: new Uint8Array(64 * 8),
    unwind: new Uint8Array(1024),
    pir: new Uint8Array(PIR_BYTES),
    timerDeadlineNs: 1e12,
  } as const;
  const devices = [{ name: 'rehearsal', version: 1, state: new Uint8Array(64) }];
  const machine = { vcpus: [vcpu], devices, clockNs: 1e12 };
  const migrationId = '0'.repeat(32);
  const root = new Uint8Array(ROOT_BYTES);
  for (let i = 0; i < 4; i++) {
    for (const message of [
      { kind: 'device-data', device: 'rehearsal', data: new Uint8Array(64), last: false },
      { kind: 'state', machine },
      { kind: 'complete', round: 1, pages: 0, zeroPages: 0, bytes: 0, root, channels: 1, devices: [] },
      { kind: 'prepared', lastPagesNs: 1.5, integrityNs: 1.5, loadNs: 1.5, deviceLoadNs: 1.5 },
      { kind: 'commit', migrationId },
      { kind: 'running', startNs: 1.5, deviceStartNs: 1.5 },
    ] as const) {
      decodeMessage(encodeMessage(message));
    }
  }
}
