/**
 * One of the two processes of `ferry bench transfer`, driven by `transfer.ts`: the source or the destination of both the
 * data plane and the bare pump, over the same memory.
 */
import { createHash } from 'node:crypto';
import { AtomicBitmap } from '../../base/bitmap.js';
import { PAGE_BYTES } from '../../base/units.js';
import type { DataEndpoint, DataPlaneOptions } from '../../migration/ports.js';
import { SocketDestinationDataPlane } from '../../vmm/transfer/destination-plane.js';
import { WorkerPageHasher } from '../../vmm/transfer/page-hasher.js';
import { SocketSourceDataPlane } from '../../vmm/transfer/source-plane.js';
import { answerSteps } from './asked-process.js';
import { BareReceiver, BareSender } from './bare-pump.js';
import { fillRandom, makeMemory } from './memory.js';

export interface TransferSettings {
  readonly bytes: number;
  readonly channels: number;
  readonly integrity: boolean;
  /** Runs of pages that are sent, and gaps between them, in pages; 0 for all pages in one run. */
  readonly runPages: number;
}

export type Step =
  | { readonly step: 'open' }
  | { readonly step: 'connect'; readonly endpoint: DataEndpoint; readonly barePorts: readonly number[] }
  | { readonly step: 'plane'; readonly round: number }
  | { readonly step: 'bare' }
  /** Microseconds of processor time that this process has used so far. */
  | { readonly step: 'cpu' }
  | { readonly step: 'hash' }
  | { readonly step: 'close' };

export interface Opened {
  readonly endpoint: DataEndpoint;
  readonly barePorts: readonly number[];
}

const HASH_SEED = 0x5eed;

function planeOptions(settings: TransferSettings): DataPlaneOptions {
  const { channels, integrity, bytes } = settings;
  return { channels, integrity, hashSeed: HASH_SEED, migratedPages: bytes / PAGE_BYTES };
}

function pagesOf(settings: TransferSettings): AtomicBitmap {
  const pages = new AtomicBitmap(settings.bytes / PAGE_BYTES);
  const { runPages } = settings;
  if (runPages === 0) pages.fill();
  for (let page = 0; runPages > 0 && page < pages.length; page++) {
    if (Math.floor(page / runPages) % 2 === 0) pages.set(page);
  }
  return pages;
}

async function hashOf(memory: WebAssembly.Memory, pages: number): Promise<string> {
  const hasher = new WorkerPageHasher(memory);
  const table = await hasher.hashAll(0, pages, HASH_SEED);
  await hasher.close();
  return createHash('sha256').update(table).digest('hex');
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

type Handler = (request: Step) => Promise<unknown>;

function source(settings: TransferSettings): Handler {
  const memory = makeMemory(settings.bytes);
  fillRandom(memory);
  const plane = new SocketSourceDataPlane({ memory, host: '127.0.0.1' });
  const bare = new BareSender(memory.buffer as SharedArrayBuffer, settings.bytes, settings.channels);
  return async (request) => {
    switch (request.step) {
      case 'open':
        return {
          endpoint: await plane.open(planeOptions(settings)),
          barePorts: await bare.ports,
        } satisfies Opened;
      case 'connect':
        return plane.connected();
      case 'plane':
        return plane.sendRound(request.round, pagesOf(settings));
      case 'bare':
        return bare.go();
      case 'cpu':
        return cpuUs();
      case 'hash':
        return hashOf(memory, settings.bytes / PAGE_BYTES);
      case 'close':
        return Promise.all([plane.close(), bare.close()]);
    }
  };
}

function destination(settings: TransferSettings): Handler {
  const memory = makeMemory(settings.bytes);
  // Memory is touched first, so that the kernel's work for fresh pages is in no figure; the bare pump has none.
  Buffer.from(memory.buffer).fill(1);
  const plane = new SocketDestinationDataPlane({ memory: () => memory });
  let bare: BareReceiver | undefined;
  return async (request) => {
    switch (request.step) {
      case 'open':
        return undefined;
      case 'connect':
        bare = new BareReceiver(request.barePorts, settings.bytes);
        await Promise.all([plane.connect(request.endpoint, planeOptions(settings)), bare.connected]);
        return undefined;
      case 'plane':
        return plane.received(request.round);
      case 'bare':
        return bare?.received();
      case 'cpu':
        return cpuUs();
      case 'hash':
        return hashOf(memory, settings.bytes / PAGE_BYTES);
      case 'close':
        return Promise.all([plane.close(), bare?.close()]);
    }
  };
}

const [role, settingsText] = process.argv.slice(2);
const settings = JSON.parse(settingsText ?? '{}') as TransferSettings;
const handle = role === 'source' ? source(settings) : destination(settings);
answerSteps<Step>(async (request) => {
  const result = await handle(request);
  // Without whom it answers nothing holds it.
  if (request.step === 'close') setImmediate(() => process.disconnect());
  return request.step === 'close' ? undefined : result;
});
