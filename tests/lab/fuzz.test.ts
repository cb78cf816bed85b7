/** Hostile input: a short run of each target, what once failed, and each target beside something that is broken. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseImage } from '../../base/abi/image-parse.js';
import { iovaOf } from '../../base/dma.js';
import { FerryError } from '../../base/errors.js';
import { fuzzConfigAndBars } from '../../devices/nic82599/fuzz.js';
import { fuzzVtd } from '../../iommu/fuzz.js';
import { parseExperiment } from '../../lab/experiment/read.js';
import { agentTarget } from '../../lab/fuzz/agent.js';
import { deviceStateTarget } from '../../lab/fuzz/device-state.js';
import { type FuzzTarget, fuzzInputs, judgeInput } from '../../lab/fuzz/engine.js';
import { experimentTarget } from '../../lab/fuzz/experiment.js';
import { imageTarget } from '../../lab/fuzz/image.js';
import { monitorTarget } from '../../lab/fuzz/monitor.js';
import { pagesTarget } from '../../lab/fuzz/pages.js';
import { streamTarget } from '../../lab/fuzz/stream.js';
import { INPUT_TARGETS, type InputTargetName } from '../../lab/fuzz/targets.js';
import { tlsTarget } from '../../lab/fuzz/tls.js';
import { vfioUserTarget } from '../../lab/fuzz/vfio-user.js';
import { virtioTarget } from '../../lab/fuzz/virtio.js';
import { driveWatched, fuzzWatched } from '../../lab/fuzz/watched.js';
import { decodeMessage } from '../../migration/messages.js';
import { AgentReplies } from '../../vmm/agent/replies.js';
import { beginTls } from '../../vmm/tls/session.js';

const names = Object.keys(INPUT_TARGETS) as InputTargetName[];
const INPUTS: Readonly<Record<InputTargetName, number>> = {
  stream: 1500,
  pages: 500,
  'device-state': 300,
  virtio: 400,
  'vfio-user': 300,
  tls: 150,
  monitor: 600,
  agent: 1000,
  image: 1000,
  experiment: 400,
};

describe('hostile input', () => {
  it.each(names)('%s: everything is taken or refused in good order, and the run goes deep', async (name) => {
    const report = await fuzzInputs(INPUT_TARGETS[name](), 1, INPUTS[name]);
    expect(report.failures).toEqual([]);
    expect(report.accepted).toBeGreaterThan(INPUTS[name] / 20);
    expect(report.refused).toBeGreaterThan(INPUTS[name] / 20);
  });

  it('one seed is one run', async () => {
    const run = (seed: number) => fuzzInputs(streamTarget(), seed, 50);
    expect(await run(7)).toEqual(await run(7));
    expect((await run(7)).hash).not.toBe((await run(8)).hash);
  });

  it('a run on a thread of its own is the same run', async () => {
    const watched = await fuzzWatched({ target: 'stream', seed: 7, inputs: 50 });
    expect(watched).toEqual(await fuzzInputs(streamTarget(), 7, 50));
  });

  it('an input that does not end is named, and its thread is ended (the check can fail)', async () => {
    const hangs = `
      import { workerData } from 'node:worker_threads';
      const words = new Int32Array(workerData.running, 0, 2);
      new Uint8Array(workerData.running, 8).set([0xab, 0xcd]);
      words[1] = 2;
      Atomics.store(words, 0, 3);
      for (;;);`;
    const worker = new URL(`data:text/javascript,${encodeURIComponent(hangs)}`);
    const report = await fuzzWatched({ target: 'stream', seed: 7, inputs: 50 }, 300, worker);
    expect(report.failures).toEqual(['input 3: did not end in 0.3 s; 2 bytes abcd']);
    const driven = await driveWatched({ target: 'vtd', seed: 7, inputs: 50 }, 300, worker);
    expect(driven).toMatchObject({ accesses: 3, failures: ['access 3: did not end in 0.3 s'] });
  });

  it.each(['nic', 'vtd'] as const)(
    '%s: a driver on a thread of its own is the same, access by access',
    async (target) => {
      const { met: _, ...watched } = await driveWatched({ target, seed: 7, inputs: 300 });
      const numbers: number[] = [];
      const begins = (number: number): void => void numbers.push(number);
      const alone =
        target === 'nic' ? fuzzConfigAndBars(7, 300, undefined, begins) : fuzzVtd(7, 300, undefined, begins);
      expect(watched).toEqual(alone);
      expect(numbers).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    },
  );

  const corpus = new URL('fuzz-corpus/', import.meta.url);
  it.each(readdirSync(corpus))('what once failed does not fail again: %s', async (file) => {
    const name = names.find((target) => file.startsWith(`${target}-`))!;
    const input = Buffer.from(readFileSync(new URL(file, corpus), 'utf8').trim(), 'hex');
    const target = INPUT_TARGETS[name]();
    onTestFinished(() => target.close?.());
    expect(await judgeInput(target, input)).toBeTypeOf('string');
  });
});

const broken: readonly [what: string, expected: RegExp, target: () => FuzzTarget][] = [
  [
    'a decoder that throws what is no error of ours',
    /threw TypeError: broken/,
    () =>
      streamTarget((frame) => {
        const message = decodeMessage(frame);
        if (message.kind === 'commit') throw new TypeError('broken');
        return message;
      }),
  ],
  [
    'a decoder that takes what it can not send',
    /threw|another one when it is sent on/,
    () => {
      let serial = 0;
      return streamTarget((frame) => {
        const message = decodeMessage(frame);
        return message.kind === 'ping' ? { kind: 'ping', serial: serial++ % 1000 } : message;
      });
    },
  ],
  [
    'a receiver that writes beside the page it was sent',
    /wrote to page \d+/,
    () =>
      pagesTarget((sink) => ({
        view: (first, count) => sink.view(first + 1, count),
        arrived: (first, count) => sink.arrived(first, count),
        zeroed: (first, count) => sink.zeroed(first, count),
      })),
  ],
  [
    'a device that refuses, and has changed',
    /refused, and changed all the same/,
    () =>
      deviceStateTarget((device) => {
        if (!('version' in device)) return;
        const made = device.save();
        const { restore } = device;
        device.restore = (record) => {
          restore.call(device, record);
          if (Buffer.compare(record.state, made.state) !== 0)
            throw new FerryError('broken', 'refused', '', '', {});
        };
      }),
  ],
  [
    'a device that writes beside the buffer of a chain',
    /writes \d+ bytes at 0x[0-9a-f]+, which no ring names/,
    () =>
      virtioTarget(({ transport: { fn } }) => {
        const write = fn.dmaWrite.bind(fn);
        fn.dmaWrite = (address, source, at, length) => write(iovaOf(address + 1, 0), source, at, length);
      }),
  ],
  [
    'a device that shows its driver a chain too few',
    /shows \d+ as used, and not \d+/,
    () =>
      virtioTarget(({ transport: { fn } }) => {
        const write = fn.dmaWrite.bind(fn);
        fn.dmaWrite = (address, source, at, length) => {
          const less = length === 2 ? Uint8Array.of(source[at]! - 1, source[at + 1]!) : source.subarray(at);
          return write(address, less, 0, length);
        };
      }),
  ],
  [
    'a served function that keeps the memory of a client that has gone',
    /memory is written to after its client has gone|1 ranges and 0 vectors stay when nobody is there/,
    () =>
      vfioUserTarget((memory) => {
        memory.unmapAll = () => {};
      }),
  ],
  [
    'a served function that writes beside what was mapped for it',
    /wrote to page \d+ of the file, which nobody mapped for it/,
    () =>
      vfioUserTarget((memory) => {
        const map = memory.map.bind(memory);
        memory.map = (address, size, flags, fd, offset) =>
          map(address, size, flags, fd, fd === undefined ? offset : offset + 0x3000);
      }),
  ],
  [
    'an end that takes every certificate for good',
    /(one|two|other) comes to (one|two|other), wanted as \w+: let in/,
    () =>
      tlsTarget((raw, credentials, name, heard) =>
        beginTls(raw, credentials, name, { ...heard, secure: (socket) => heard.secure(socket, undefined) }),
      ),
  ],
  [
    'a device that works while its machine stands still',
    /memory where it may touch none/,
    () =>
      virtioTarget((net) => {
        net.halt = () => {};
      }),
  ],
  [
    'a command that throws what is no error for a client',
    /a command threw RangeError: broken/,
    () =>
      monitorTarget((commands) => ({
        version: commands.version,
        run: (execute, args, client) => {
          if (execute === 'query-pci') throw new RangeError('broken');
          return commands.run(execute, args, client);
        },
      })),
  ],
  [
    'a command that never answers',
    /not all is answered/,
    () =>
      monitorTarget((commands) => ({
        version: commands.version,
        run: (execute, args, client) =>
          execute === 'query-name' ? new Promise(() => undefined) : commands.run(execute, args, client),
      })),
  ],
  [
    'a reader to whom it matters how replies come',
    /in one piece, and .* in several/,
    () =>
      agentTarget((id) => {
        const replies = new AgentReplies(id);
        return { take: (bytes) => replies.take(bytes.subarray(0, 20)) };
      }),
  ],
  [
    'a loader that overlooks what lies behind',
    /the toolchain would write it otherwise/,
    () =>
      imageTarget((image, sha256) => {
        const parsed = parseImage(image, sha256);
        return { ...parsed, meta: { ...parsed.meta, name: 'other' } };
      }),
  ],
  [
    'a reader that leaves something out',
    /taken, and not as it is written/,
    () => experimentTarget((text, name) => ({ ...parseExperiment(text, name), question: '' })),
  ],
  [
    'a refusal that names another place',
    /refused, and nowhere in the text: sample\.json:/,
    () =>
      experimentTarget((text, name) => {
        const longer = '\n'.repeat(text.length);
        return parseExperiment(`${longer}${text}`, name);
      }),
  ],
];

describe('what is broken is noticed (the check can fail)', () => {
  it.each(broken)('%s', async (_what, expected, target) => {
    const { failures } = await fuzzInputs(target(), 1, 400);
    expect(failures.join('\n')).toMatch(expected);
  });

  it.each([
    ['every time', 2, { problem: 'took 5000 ms' }],
    ['once, while memory was tidied up', 1, 'refused'],
  ])('an input that takes long %s', async (_what, times, outcome) => {
    let clock = 0;
    let runs = 0;
    const run = () => {
      clock += runs++ < times ? 5000 : 1;
      return 'refused' as const;
    };
    const target: FuzzTarget = { name: 'slow', make: () => new Uint8Array(1), run };
    expect(await judgeInput(target, new Uint8Array(1), () => clock)).toEqual(outcome);
  });
});
