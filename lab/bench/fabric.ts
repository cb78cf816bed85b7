/**
 * Frames per second through `ferry fabric`, a process of its own, from one loopback socket to another. Generator and
 * sink are here, in one thread. What is under way is bounded, so that the switch drops nothing: the figure is what it
 * forwards, not what it is offered.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { FrameStreamParser, streamHeader } from '../../devices/ethernet/stream-framing.js';
import { bundleOf } from '../../vmm/built.js';
import { median } from '../report/median.js';
import { benchErrors } from './errors.js';

export interface BenchFabricOptions {
  /** Measured turns of each size (default: 5). */
  readonly runs?: number;
  /** Sizes of frames, without FCS. */
  readonly frameBytes?: readonly number[];
}

export interface FabricFigure {
  /** Frame without FCS. */
  readonly frameBytes: number;
  /** Medians. */
  readonly framesPerSecond: number;
  readonly bytesPerSecond: number;
  /** Frames that did not arrive, over all turns. */
  readonly lost: number;
}

export interface BenchFabricResult {
  readonly figures: readonly FabricFigure[];
}

/** A 64-byte and a 1518-byte frame on the wire are this long without FCS. */
const FRAME_BYTES = [60, 1514];
const UNDER_WAY_BYTES_MAX = 1024 * 1024;
const BLOCK_BYTES = 64 * 1024;
const TURN_MS = 500;

export async function benchFabric(options: BenchFabricOptions = {}): Promise<BenchFabricResult> {
  const { runs = 5, frameBytes: sizes = FRAME_BYTES } = options;
  const ferry = fileURLToPath(bundleOf(new URL('../ferry.js', import.meta.url)));
  const child = spawn(process.execPath, [ferry, 'fabric', '--listen', 'tcp:127.0.0.1:0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const sockets: Socket[] = [];
  try {
    const port = await listeningPort(child.stderr);
    for (let i = 0; i < 2; i++) {
      const socket = connect({ host: '127.0.0.1', port }).setNoDelay(true);
      sockets.push(socket);
      await once(socket, 'connect');
    }
    const figures: FabricFigure[] = [];
    for (const frameBytes of sizes) {
      const rates: number[] = [];
      let lost = 0;
      // The first turn warms up.
      for (let run = 0; run <= runs; run++) {
        const turn = await oneTurn(sockets[0]!, sockets[1]!, frameBytes);
        if (run > 0) rates.push(turn.rate);
        lost += turn.lost;
      }
      const framesPerSecond = median(rates);
      figures.push({ frameBytes, framesPerSecond, bytesPerSecond: framesPerSecond * frameBytes, lost });
    }
    return { figures };
  } finally {
    for (const socket of sockets) socket.destroy();
    child.kill('SIGINT');
  }
}

function listeningPort(stderr: NodeJS.ReadableStream): Promise<number> {
  return new Promise((resolve, reject) => {
    let said = '';
    stderr.on('data', (chunk) => {
      if (said.length < 1000) said += String(chunk);
      const port = /listening at tcp:127\.0\.0\.1:(\d+)/.exec(said)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
    stderr.on('end', () => {
      reject(benchErrors.error('process-died', { role: 'fabric', how: said.trim().slice(0, 200) }));
    });
  });
}

/** A block of equal frames from one station to another, as they go over the stream. */
function blockOf(frameBytes: number, target: number, source: number, frames: number): Uint8Array {
  const block = new Uint8Array(frames * (streamHeader.size + frameBytes));
  const view = new DataView(block.buffer);
  for (let i = 0; i < frames; i++) {
    const at = i * (streamHeader.size + frameBytes);
    streamHeader.write(view, at, { lengthBytes: frameBytes });
    block.set([0x02, 0, 0, 0, 0, target, 0x02, 0, 0, 0, 0, source, 0x88, 0xb5], at + streamHeader.size);
  }
  return block;
}

async function oneTurn(
  from: Socket,
  to: Socket,
  frameBytes: number,
): Promise<{ rate: number; lost: number }> {
  const framesPerBlock = Math.floor(BLOCK_BYTES / (streamHeader.size + frameBytes));
  const block = blockOf(frameBytes, 2, 1, framesPerBlock);
  const framesUnderWay = Math.floor(UNDER_WAY_BYTES_MAX / frameBytes);
  let sent = 0;
  let received = 0;
  let wake: (() => void) | undefined;
  const parser = new FrameStreamParser((_, __, length) => {
    if (length === frameBytes) received++;
  });
  const onData = (chunk: Uint8Array): void => {
    parser.push(chunk);
    wake?.();
  };
  to.on('data', onData);
  // The switch hears where the target is, and the source sees that it has: its own greeting comes back flooded.
  to.write(blockOf(60, 1, 2, 1));
  await once(from, 'data');
  const start = performance.now();
  const end = start + TURN_MS;
  while (performance.now() < end) {
    if (sent - received + framesPerBlock <= framesUnderWay) {
      sent += framesPerBlock;
      await new Promise<void>((resolve) => from.write(block, () => resolve()));
    } else {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  const rate = (received / (performance.now() - start)) * 1000;
  // Until nothing has come for a while: what is missing then is lost.
  for (let before = -1; received < sent && received !== before; ) {
    before = received;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  to.off('data', onData);
  return { rate, lost: sent - received };
}
