/**
 * How fast pages travel, and how fast they could: the data plane between two processes, and, in the same run and
 * taking turns with it, two bare Node processes that pump the same bytes socket to socket.
 */
import { invariant } from '../../base/errors.js';
import { GIB, PAGE_BYTES } from '../../base/units.js';
import { bundleOf } from '../../vmm/built.js';
import { median } from '../report/median.js';
import { AskedProcess } from './asked-process.js';
import type { Opened, Step, TransferSettings } from './transfer-process.js';

export interface BenchTransferOptions {
  /** RAM to send, a multiple of 64 KiB. */
  readonly bytes?: number;
  readonly channels?: number;
  /** Hash every page at both ends. */
  readonly integrity?: boolean;
  /** Measured turns of each; one more of each goes before them, unmeasured. */
  readonly runs?: number;
  /** Send scattered runs of this many pages with gaps as long between them; 0, the default, sends all pages. */
  readonly runPages?: number;
}

export interface BenchTransferResult {
  readonly bytes: number;
  readonly channels: number;
  readonly integrity: boolean;
  readonly runPages: number;
  /** GB/s (10^9 bytes a second) of each turn, and their medians. */
  readonly plane: readonly number[];
  readonly bare: readonly number[];
  readonly planeMedian: number;
  readonly bareMedian: number;
  /** Median of the data plane over median of the bare pump. */
  readonly ratio: number;
  /** Processor seconds of both processes together for one GiB (2^30 bytes), medians: says more on a busy machine. */
  readonly planeCpu: number;
  readonly bareCpu: number;
  /** The destination's RAM has the source's page hashes; undefined if not all pages were sent. */
  readonly verified: boolean | undefined;
}

/** Needs twice `bytes` of memory. Rejects with `bench/process-died`. */
export async function benchTransfer(options: BenchTransferOptions = {}): Promise<BenchTransferResult> {
  const { bytes = 2 * GIB, channels = 2, integrity = false, runs = 5, runPages = 0 } = options;
  invariant(bytes % (65536 * channels) === 0 && bytes > 0, 'bytes: a multiple of 64 KiB a channel');
  invariant(runs >= 1, 'at least one run');
  const settings: TransferSettings = { bytes, channels, integrity, runPages };
  const module = bundleOf(new URL('./transfer-process.js', import.meta.url));
  const source = new AskedProcess<Step>(module, 'source', settings);
  const destination = new AskedProcess<Step>(module, 'destination', settings);
  try {
    const [opened] = (await Promise.all([
      source.ask({ step: 'open' }),
      destination.ask({ step: 'open' }),
    ])) as [Opened, unknown];
    const both = (step: Step): Promise<[unknown, unknown]> =>
      Promise.all([source.ask(step), destination.ask(step)]);
    await both({ step: 'connect', ...opened });
    const sentBytes = runPages === 0 ? bytes : scatteredBytes(bytes / PAGE_BYTES, runPages);
    const cpuUs = async (): Promise<number> => {
      const [a, b] = (await both({ step: 'cpu' })) as [number, number];
      return a + b;
    };
    const measure = async (movedBytes: number, step: Step): Promise<Turn> => {
      const cpuBefore = await cpuUs();
      const start = performance.now();
      await both(step);
      const seconds = (performance.now() - start) / 1e3;
      return {
        rate: movedBytes / seconds / 1e9,
        cpu: ((await cpuUs()) - cpuBefore) / 1e6 / (movedBytes / GIB),
      };
    };
    const plane: Turn[] = [];
    const bare: Turn[] = [];
    for (let turn = 0; turn <= runs; turn++) {
      plane.push(await measure(sentBytes, { step: 'plane', round: turn + 1 }));
      bare.push(await measure(bytes, { step: 'bare' }));
    }
    // The first turns warm up: code is compiled, windows are opened.
    plane.shift();
    bare.shift();
    const [sent, arrived] = runPages === 0 ? await both({ step: 'hash' }) : [undefined, undefined];
    await both({ step: 'close' });
    const planeMedian = median(plane.map(({ rate }) => rate));
    const bareMedian = median(bare.map(({ rate }) => rate));
    return {
      ...settings,
      plane: plane.map(({ rate }) => rate),
      bare: bare.map(({ rate }) => rate),
      planeMedian,
      bareMedian,
      ratio: planeMedian / bareMedian,
      planeCpu: median(plane.map(({ cpu }) => cpu)),
      bareCpu: median(bare.map(({ cpu }) => cpu)),
      verified: runPages === 0 ? sent === arrived : undefined,
    };
  } finally {
    source.kill();
    destination.kill();
  }
}

function scatteredBytes(pages: number, runPages: number): number {
  const whole = Math.floor(pages / (2 * runPages));
  return (whole * runPages + Math.min(runPages, pages - whole * 2 * runPages)) * PAGE_BYTES;
}

interface Turn {
  readonly rate: number;
  readonly cpu: number;
}
