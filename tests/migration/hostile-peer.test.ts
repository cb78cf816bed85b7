/** One side of a migration against a peer that says what it likes: a script instead of the other flow. */
import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { type SeededRandom, seededRandom } from '../../base/random.js';
import { microseconds, milliseconds, nanoseconds } from '../../base/units.js';
import { allSamples, sampleMessages } from '../../lab/fuzz/sample-messages.js';
import { simulatedLink } from '../../lab/simulator/link.js';
import { MEMORY_TOKEN } from '../../lab/simulator/memory-data-plane.js';
import { sha256 } from '../../lab/simulator/run.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import { migrateDestination } from '../../migration/destination.js';
import { CONTROL_VERSION, encodeFrame, frameHeader } from '../../migration/frame.js';
import {
  type ControlMessage,
  DEVICE_DATA_BYTES_MAX,
  decodeMessage,
  encodeMessage,
} from '../../migration/messages.js';
import { MigrationParameters } from '../../migration/parameters.js';
import type { ControlLink, SourceDataPlane } from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { migrateSource } from '../../migration/source.js';
import { dataLink } from './data-link.js';
import { ramDifferences } from './ram-differences.js';
import { smallDevice } from './test-device.js';
import { type GuestShape, smallGuest, TestMachine } from './test-machine.js';

const impatient = { keepaliveIntervalMs: 10, peerTimeoutMs: 50, answerTimeoutMs: 200 };

interface Stage<R> {
  readonly record: R;
  readonly machine: TestMachine;
  /** What the peer was told, ping and pong left out. */
  readonly heard: ControlMessage[];
}

/** Sends what the script yields, raw or as messages, and collects all that comes back. */
async function playPeer(
  link: ControlLink,
  script: readonly (ControlMessage | Uint8Array)[],
  heard: ControlMessage[],
) {
  for (const item of script) {
    await link.send(item instanceof Uint8Array ? item : encodeMessage(item)).catch(() => undefined);
  }
  for (;;) {
    const frame = await link.receive().catch(() => undefined);
    if (frame === undefined) return;
    const message = decodeMessage(frame);
    if (message.kind === 'ping') {
      await link.send(encodeMessage({ kind: 'pong', serial: message.serial })).catch(() => undefined);
    } else if (message.kind !== 'pong') {
      heard.push(message);
    }
  }
}

function stageFor(seed: number, shape: GuestShape = smallGuest) {
  const random = seededRandom(seed);
  const trace = new Trace();
  const scheduler = new VirtualTime(random.fork('ties'), trace);
  const link = simulatedLink({
    scheduler,
    trace,
    latency: microseconds(50),
    jitter: () => nanoseconds(0),
    rules: [],
    fired: () => undefined,
  });
  const machine = new TestMachine(scheduler, shape);
  const data = dataLink({
    scheduler,
    from: machine,
    to: new TestMachine(scheduler, smallGuest),
    bytesPerSecond: 1e9,
  });
  const heard: ControlMessage[] = [];
  return { scheduler, link, machine, data, heard };
}

/** As the `hello` says. */
const { hashSeed } = sampleMessages.hello;

/** Data channels that the destination can connect to. */
const awaited = (source: SourceDataPlane): Promise<unknown> =>
  source.open({ channels: 2, integrity: true, hashSeed, migratedPages: smallGuest.pages });

async function destinationAgainst(
  script: readonly (ControlMessage | Uint8Array)[],
  shape?: GuestShape,
): Promise<Stage<DestinationRecord>> {
  const { scheduler, link, machine, data, heard } = stageFor(1, shape);
  const flow = migrateDestination({
    machine,
    control: link.destination,
    data: data.destination,
    hasher: data.hashers.destination,
    scheduler,
    digest: sha256,
    parameters: new MigrationParameters(impatient),
  });
  await scheduler.run(awaited(data.source));
  void playPeer(link.source, script, heard);
  // An empty round arrives, for scripts that get so far.
  const empty = new AtomicBitmap(smallGuest.pages);
  data.source.connected().then(
    () => data.source.sendRound(1, empty).catch(() => undefined),
    () => undefined,
  );
  const record = await scheduler.run(flow);
  await scheduler.run(scheduler.sleep(milliseconds(1)));
  return { record, machine, heard };
}

async function sourceAgainst(
  script: readonly (ControlMessage | Uint8Array)[],
): Promise<Stage<MigrationRecord>> {
  const { scheduler, link, machine, data, heard } = stageFor(1);
  machine.start();
  const flow = migrateSource({
    machine,
    control: link.source,
    data: data.source,
    hasher: data.hashers.source,
    scheduler,
    digest: sha256,
    parameters: new MigrationParameters(impatient),
    migrationId: '0'.repeat(32),
  });
  void playPeer(link.destination, script, heard);
  const record = await scheduler.run(flow);
  await scheduler.run(scheduler.sleep(milliseconds(1)));
  machine.stopForGood();
  return { record, machine, heard };
}

function expectDiscarded({ record, machine }: Stage<DestinationRecord>, code: string): void {
  expect(record.error?.code).toBe(code);
  expect(record.status).toBe('failed');
  expect(machine.calls).not.toContain('run');
  expect(machine.calls.at(-1)).toBe('discard');
}

function expectUntouched({ record, machine }: Stage<MigrationRecord>, code: string): void {
  expect(record.error?.code).toBe(code);
  expect(record.status).toBe('failed');
  expect(machine.calls).not.toContain('relinquish');
  expect(ramDifferences(machine.ram, TestMachine.truth(smallGuest, machine.steps))).toBe('');
}

const data: ControlMessage = {
  ...sampleMessages.data,
  endpoint: { host: 'memory', ports: [1, 2], token: MEMORY_TOKEN },
};
const otherVersion = (): Uint8Array => {
  const frame = encodeMessage(sampleMessages.hello);
  new DataView(frame.buffer).setUint16(frameHeader.offset.version, 77, true);
  return frame;
};
const hello: ControlMessage = {
  ...sampleMessages.hello,
  verify: 'root',
  description: {
    ...sampleMessages.hello.description,
    ramBytes: 128 * 4096,
    vcpus: 1,
    migratedPages: 128,
    imageGpa: 0,
    imageBytes: 0,
  },
};

/** As the test machine's device is. */
const vf0 = {
  name: 'vf0',
  identity: { kind: 'test:dev', revision: 1, vectors: 3, queues: 2, mac: '02:00:00:00:00:01' },
};

/** Of a machine with a device that comes with its state. */
const withDevice: GuestShape = { ...smallGuest, device: smallDevice };
const deviceHello = {
  ...hello,
  verify: 'off',
  devices: [vf0],
  approaches: { tracking: 'iommu-dirty', stop: 'device-state', start: 'device-state' },
} as ControlMessage;

describe('a destination', () => {
  it('tells a source of another version both versions, and reports both itself', async () => {
    const stage = await destinationAgainst([otherVersion()]);
    expectDiscarded(stage, 'migration/peer-version');
    expect(stage.record.error?.facts).toEqual({ ours: CONTROL_VERSION, theirs: 77 });
    expect(stage.heard).toMatchObject([
      { kind: 'error', code: 'migration/peer-version', facts: { ours: CONTROL_VERSION, theirs: 77 } },
    ]);
  });

  it('refuses garbage instead of a stream', async () => {
    const text = new TextEncoder().encode('GET / HTTP/1.1\r\nHost: example\r\n\r\n');
    expectDiscarded(await destinationAgainst([text]), 'migration/not-a-stream');
  });

  it('gives up on a source that never says hello', async () => {
    expectDiscarded(await destinationAgainst([]), 'migration/peer-silent');
  });

  it('refuses every message that is not due, in every phase, and says which was', async () => {
    const { state } = sampleMessages;
    const openings: readonly (readonly ControlMessage[])[] = [
      [],
      [hello],
      [hello, data],
      [hello, data, state],
    ];
    for (const opening of openings) {
      for (const sample of allSamples) {
        if (['ping', 'pong', 'error'].includes(sample.kind)) continue;
        // The next that is due.
        if (opening.length === 2 && sample.kind === 'state') continue;
        const stage = await destinationAgainst([...opening, sample]);
        expect(stage.machine.calls).not.toContain('run');
        expect(stage.record.status).toBe('failed');
        expect(stage.heard.at(-1)).toMatchObject({ kind: 'error' });
      }
    }
    const early = await destinationAgainst([sampleMessages.commit]);
    expect(early.record.error).toMatchObject({
      code: 'migration/unexpected-message',
      facts: { message: 'commit', phase: 'setup', expected: 'hello' },
    });
  });

  it('does not run for the commit of another migration', async () => {
    const { machine } = sampleMessages.state;
    const vcpus = [{ ...machine.vcpus[0]!, registers: new Uint8Array(16) }];
    const state = { ...sampleMessages.state, machine: { ...machine, vcpus } };
    const root = new Uint8Array(0);
    const complete = { ...sampleMessages.complete, round: 1, pages: 0, root, devices: [] };
    const stage = await destinationAgainst([
      { ...hello, verify: 'off' } as ControlMessage,
      data,
      state,
      complete,
      { kind: 'commit', migrationId: 'f'.repeat(32) },
    ]);
    expect(stage.machine.calls).toContain('load');
    expectDiscarded(stage, 'migration/malformed-message');
  });

  it('names the approach that it does not know, and what it knows', async () => {
    for (const effort of ['tracking', 'stop', 'start'] as const) {
      const approaches = { ...sampleMessages.hello.approaches, [effort]: 'telepathy' };
      const stage = await destinationAgainst([{ ...hello, approaches } as ControlMessage]);
      expectDiscarded(stage, 'migration/approach-unknown');
      expect(stage.record.error?.facts).toMatchObject({ effort, approach: 'telepathy' });
      expect(stage.heard.at(-1)).toMatchObject({ kind: 'error', code: 'migration/approach-unknown' });
    }
  });

  it('refuses a device to stop that is none, and one that is not stopped', async () => {
    const approaches = { tracking: 'iommu-dirty', stop: 'device-state', start: 'device-state' };
    for (const change of [{ approaches }, { devices: [vf0] }]) {
      const stage = await destinationAgainst([{ ...hello, ...change } as ControlMessage]);
      expectDiscarded(stage, 'migration/malformed-message');
    }
  });

  it('refuses the state of a device that was never announced', async () => {
    const stage = await destinationAgainst([hello, data, sampleMessages['device-data']]);
    expectDiscarded(stage, 'migration/unexpected-message');
  });

  it('refuses the state of another device, and a stream that is cut short', async () => {
    const other: ControlMessage = { ...sampleMessages['device-data'], device: 'vf7' };
    const wrong = await destinationAgainst([deviceHello, data, other], withDevice);
    expectDiscarded(wrong, 'migration/malformed-message');
    expect(wrong.record.error?.message).toMatch(/vf7; those that come with their state: vf0/);
    const root = new Uint8Array(0);
    const complete = {
      ...sampleMessages.complete,
      round: 1,
      pages: 0,
      root,
      devices: [{ name: 'vf0', bytes: 9 }],
    };
    const piece = sampleMessages['device-data'];
    const cut = await destinationAgainst(
      [deviceHello, data, piece, sampleMessages.state, complete],
      withDevice,
    );
    expectDiscarded(cut, 'migration/malformed-message');
    expect(cut.record.error?.message).toMatch(/vf0: 9 bytes, but 3 have come/);
    expect(cut.machine.calls).not.toContain('load');
    const endless = { ...piece, last: false };
    const announced = { ...complete, devices: [{ name: 'vf0', bytes: 3 }] };
    const open = await destinationAgainst(
      [deviceHello, data, endless, sampleMessages.state, announced],
      withDevice,
    );
    expect(open.record.error?.message).toMatch(/3 have come, not the last/);
    const beyond = await destinationAgainst([deviceHello, data, piece, piece], withDevice);
    expect(beyond.record.error?.message).toMatch(/more of vf0 after the last/);
  });

  it('reads no further than a few messages while its devices have 8 MiB to take, however much more is sent', async () => {
    const { scheduler, link, machine, data: plane, heard } = stageFor(1, withDevice);
    const pieces = 32;
    const piece = new Uint8Array(DEVICE_DATA_BYTES_MAX);
    const tooMuch = Array.from({ length: pieces }, (): ControlMessage => {
      return { kind: 'device-data', device: 'vf0', data: piece, last: false };
    });
    let [read, taken] = [0, 0];
    let readOn: () => void = () => undefined;
    const stalled = new Promise<void>((resolve) => {
      readOn = resolve;
    });
    machine.device!.write = async () => {
      await stalled;
      taken++;
    };
    const { destination } = link;
    const control: ControlLink = {
      send: (message) => destination.send(message),
      receive: async () => {
        const frame = await destination.receive();
        if (frame !== undefined && decodeMessage(frame).kind === 'device-data') read++;
        return frame;
      },
      close: () => destination.close(),
    };
    const flow = migrateDestination({
      machine,
      control,
      data: plane.destination,
      hasher: plane.hashers.destination,
      scheduler,
      digest: sha256,
      parameters: new MigrationParameters(impatient),
    });
    await scheduler.run(awaited(plane.source));
    for (const message of [deviceHello, data]) await link.source.send(encodeMessage(message));
    await scheduler.run(scheduler.sleep(milliseconds(1)));
    void playPeer(link.source, [...tooMuch, sampleMessages.error], heard);
    await scheduler.run(scheduler.sleep(milliseconds(1000)));
    // The one that is more than may wait, and those that the talk holds.
    expect({ read, taken }).toEqual({ read: expect.toSatisfy((n) => n >= 8 && n <= 11), taken: 0 });
    readOn();
    expect((await scheduler.run(flow)).error?.code).toBe(sampleMessages.error.code);
    expect({ read, taken }, 'once they take it').toEqual({ read: pieces, taken: pieces });
  });

  it('refuses a last round that was announced as another than the one before, which was all', async () => {
    const root = new Uint8Array(0);
    const { state, complete } = sampleMessages;
    const roundEnd: ControlMessage = { kind: 'round-end', round: 1, pages: 0, zeroPages: 0, bytes: 0 };
    const last = { ...complete, round: 1, root, devices: [], pages: 5 } as ControlMessage;
    const stage = await destinationAgainst([
      { ...hello, verify: 'off' } as ControlMessage,
      ...[data, roundEnd, state, last],
    ]);
    expectDiscarded(stage, 'migration/round-incomplete');
    expect(stage.machine.calls).not.toContain('run');
  });

  it('keeps the words of a hostile peer from the terminal', async () => {
    const { record } = await destinationAgainst([
      { ...sampleMessages.error, text: 'red \u001b[31m alert\r\n', advice: 'bell\u0007' },
    ]);
    expect(record.error?.message).toBe('told by the peer: red  [31m alert ');
    expect(record.error?.advice).toMatch(/^bell {2}Nothing of the guest ran here/);
    expect(record.error?.exit).toBe('refused');
  });

  it('is not filled up by a source that talks without being asked', async () => {
    const flood = Array.from({ length: 2000 }, () => sampleMessages.verify);
    expectDiscarded(await destinationAgainst([hello, ...flood]), 'migration/unexpected-message');
  });
});

describe('a source', () => {
  it('learns from a destination of another version, and keeps the guest', async () => {
    const stage = await sourceAgainst([otherVersion()]);
    expectUntouched(stage, 'migration/peer-version');
    expect(stage.record.error?.facts).toEqual({ ours: CONTROL_VERSION, theirs: 77 });
  });

  it('refuses every message that is not due, and keeps the guest', async () => {
    for (const opening of [[], [sampleMessages.welcome]] as const) {
      for (const sample of allSamples) {
        if (['ping', 'pong', 'error', 'welcome'].includes(sample.kind)) continue;
        const stage = await sourceAgainst([...opening, sample]);
        expect(stage.record.status).toBe('failed');
        expect(stage.machine.calls).not.toContain('relinquish');
      }
    }
    expectUntouched(await sourceAgainst([sampleMessages.running]), 'migration/unexpected-message');
  });

  it('gives up on a destination that lives but never answers', async () => {
    const stage = await sourceAgainst([]);
    expectUntouched(stage, 'migration/peer-silent');
    expect(stage.record.error?.facts).toMatchObject({ expected: 'welcome', phase: 'setup' });
    expect(stage.heard.at(-1)).toMatchObject({ kind: 'error', code: 'migration/peer-silent' });
  });

  it('survives random frames of every kind at every step of the talk', async () => {
    const random: SeededRandom = seededRandom(99);
    for (let i = 0; i < 60; i++) {
      const script: (ControlMessage | Uint8Array)[] = [sampleMessages.welcome];
      for (let j = random.below(4); j >= 0; j--) {
        const payload = new Uint8Array(random.below(50));
        random.fill(payload);
        script.push(
          random.chance(0.5)
            ? random.pick(allSamples)
            : encodeFrame(random.pick(allSamples).kind, payload.subarray(0, 40)),
        );
      }
      const stage = await sourceAgainst(script);
      expect(stage.record.status).toBe('failed');
      expect(stage.machine.calls).not.toContain('relinquish');
    }
  });
});
