import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { MIB, PAGE_BYTES } from '../../base/units.js';
import { benchKernels } from '../../dist/lab/bench/kernels.js';
import { benchTransfer } from '../../dist/lab/bench/transfer.js';
import { SocketSourceDataPlane } from '../../dist/vmm/transfer/source-plane.js';
import type { Step } from '../../lab/bench/transfer-process.js';
import { within } from '../waiting.js';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** A destination in a process of its own, over `bytes` of RAM. */
function destinationProcess(bytes: number): { child: ChildProcess; ask: (step: Step) => Promise<unknown> } {
  const module = fileURLToPath(new URL('../../dist/lab/bench/transfer-process.js', import.meta.url));
  const settings = { bytes, channels: 2, integrity: false, runPages: 0 };
  const child = fork(module, ['destination', JSON.stringify(settings)]);
  children.push(child);
  let id = 0;
  const ask = (step: Step): Promise<unknown> => {
    child.send({ ...step, id: id++ });
    const answer = new Promise((resolve, reject) => {
      child.once('message', resolve);
      child.once('exit', () => reject(new Error('the destination process is gone')));
    });
    return within(`what came of '${step.step}'`, answer);
  };
  return { child, ask };
}

it('a destination process that is killed in mid-round is one typed error at the source', async () => {
  const bytes = 16 * MIB;
  const memory = new WebAssembly.Memory({ initial: bytes / 65536, maximum: 65536, shared: true });
  new Uint8Array(memory.buffer).fill(1);
  const migratedPages = bytes / PAGE_BYTES;
  const source = new SocketSourceDataPlane({ memory, host: '127.0.0.1' });
  try {
    const endpoint = await source.open({ channels: 2, integrity: false, hashSeed: 0, migratedPages });
    const { child, ask } = destinationProcess(bytes);
    await Promise.all([ask({ step: 'connect', endpoint, barePorts: [] }), source.connected()]);
    source.limitBandwidth(4 * MIB);
    const pages = new AtomicBitmap(migratedPages);
    pages.fill();
    const sending = source.sendRound(1, pages);
    child.kill('SIGKILL');
    await expect(sending).rejects.toMatchObject({
      code: 'transfer/channel-broken',
      facts: { side: 'source', reason: expect.any(String) },
      advice: expect.stringContaining('network'),
    });
  } finally {
    await source.close();
  }
});

it('the transfer benchmark moves every page between two processes, and measures both ways', async () => {
  const result = await benchTransfer({ bytes: 16 * MIB, channels: 2, integrity: true, runs: 2 });
  expect(result.verified).toBe(true);
  expect(result.plane).toHaveLength(2);
  expect(result.bare).toHaveLength(2);
  for (const figure of [
    result.planeMedian,
    result.bareMedian,
    result.ratio,
    result.planeCpu,
    result.bareCpu,
  ]) {
    expect(figure).toBeGreaterThan(0);
  }
});

it('the kernel benchmark measures each kernel', () => {
  const result = benchKernels({ bytes: 4 * MIB, runs: 1 });
  for (const figure of [result.plainRead, result.zeroScan, result.pageHash])
    expect(figure).toBeGreaterThan(0);
});
