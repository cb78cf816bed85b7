/**
 * Campaigns over many machines, by BullMQ on Redis or Valkey: one process submits portions of seeds and gathers what comes of them,
 * any number of others work. A portion whose worker is gone is given to another, and counts once, whoever did it.
 */
import type { Queue, Worker } from 'bullmq';
import * as v from 'valibot';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { afterMs } from '../../vmm/timers.js';
import { labErrors } from '../errors.js';
import { addTally, newTally, type Tally } from './campaign.js';
import { type CrewData, CrewThread, type Portion } from './crew.js';
import { type Fault, faultOfName, nameOfFault } from './fault.js';
import { buildOf, campaignOf } from './identity.js';
import { tallyShape } from './tally-shape.js';

const PORTION_SEEDS = 100;
/** Portions of a campaign, about: more would only make lists longer. */
const PORTIONS = 10_000;
const ADDED_AT_ONCE = 1000;
const LOOK_MS = 250;
const RETRY_MS = 1000;
/** A worker says so often that it lives, and is given up on after that. */
const LOCK_MS = 10_000;
const STALLED_MS = 5_000;
/** As long as a campaign may be begun again without doing again what was done. */
const KEPT_SECONDS = 7 * 24 * 3600;
const THREAD_DIES_MAX = 3;

interface PortionData extends Portion {
  /** By their names. */
  readonly plan: readonly string[] | null;
  readonly parameters: CrewData['parameters'] | null;
  readonly machine: string | null;
}

export interface GatherOptions extends CrewData, Portion {
  readonly url: string;
  /** Seeds of a portion; some seconds of a thread, and more of very many, if absent. */
  readonly portionSeeds?: number;
  /** No more is waited for when it says so. */
  readonly enough: () => boolean;
  /** Called now and then, with what came so far and how many processes work. */
  readonly progress: (tally: Tally, workers: number) => void;
}

/**
 * Submits the seeds, and resolves with what came of all of them, or of those that were done when it was enough. The same again takes
 * what is done already. Rejects with `lab/queue-failed`, `lab/package-missing`, `lab/portion-failed`.
 */
export async function gather(options: GatherOptions): Promise<Tally> {
  const { url, from, to, plan, parameters, machine, enough, progress } = options;
  const { Queue } = await bullmq();
  const campaign = campaignOf(options);
  const connection = new Connection(url);
  const queue: Queue<PortionData> = new Queue(nameOf(options), { connection: connection.options });
  const total = newTally();
  try {
    await connection.ready(queue);
    const waiting = new Map<string, Portion>();
    const size = options.portionSeeds ?? Math.max(PORTION_SEEDS, Math.ceil((to - from + 1) / PORTIONS));
    for (let first = from; first <= to; first += size) {
      const portion = { from: first, to: Math.min(to, first + size - 1) };
      waiting.set(`${campaign}-${portion.from}-${portion.to}`, portion);
    }
    const names = plan?.map(nameOfFault) ?? null;
    const jobs = [...waiting].map(([jobId, portion]) => ({
      name: 'seeds',
      data: { ...portion, plan: names, parameters: parameters ?? null, machine: machine ?? null },
      opts: { jobId, attempts: THREAD_DIES_MAX, removeOnComplete: { age: KEPT_SECONDS } },
    }));
    for (let at = 0; at < jobs.length; at += ADDED_AT_ONCE) {
      await queue.addBulk(jobs.slice(at, at + ADDED_AT_ONCE));
    }
    for (;;) {
      for (const id of await queue.getRanges(['completed'], 0, -1, true)) {
        if (!waiting.delete(id)) continue;
        addTally(total, v.parse(tallyShape, (await queue.getJob(id))?.returnvalue));
      }
      const failed = (await queue.getRanges(['failed'], 0, -1, true)).find((id) => waiting.has(id));
      if (failed !== undefined) throw await portionFailed(queue, failed, waiting.get(failed)!);
      progress(total, await queue.getWorkersCount());
      if (waiting.size === 0) break;
      if (enough()) {
        for (const id of waiting.keys()) await queue.remove(id);
        break;
      }
      await new Promise<void>((resolve) => afterMs(LOOK_MS, resolve));
    }
  } finally {
    await queue.close();
  }
  total.failures.sort((a, b) => a.seed - b.seed);
  return total;
}

export interface WorkOptions {
  readonly url: string;
  readonly imagePath: string;
  /** Threads. */
  readonly jobs: number;
  /** Works until then, and ends with what it has in hand. */
  readonly signal: AbortSignal;
  /** Called when it waits for portions, and with what came of each. */
  readonly ready: (build: string) => void;
  readonly done: (portion: Portion, tally: Tally) => void;
}

/** Works on portions until it is told to end. Rejects with `lab/queue-failed`, `lab/package-missing`. */
export async function workForQueue(options: WorkOptions): Promise<void> {
  const { url, imagePath, jobs, signal, done } = options;
  const { Worker } = await bullmq();
  const threads = new Threads(imagePath);
  const connection = new Connection(url);
  const worker: Worker<PortionData, Tally> = new Worker(
    nameOf(options),
    async ({ data }) => {
      const tally = await threads.run(data);
      done(data, tally);
      return tally;
    },
    {
      connection: connection.options,
      autorun: false,
      concurrency: jobs,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_MS,
      maxStalledCount: Number.MAX_SAFE_INTEGER,
    },
  );
  try {
    await connection.ready(worker);
    const running = worker.run();
    options.ready(buildOf(options));
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve());
    });
    await worker.close();
    await running;
  } finally {
    await worker.close();
    await threads.end();
  }
}

/** Threads that have booted, by the campaign that they have booted for. */
class Threads {
  readonly #imagePath: string;
  readonly #idle = new Map<string, CrewThread[]>();

  constructor(imagePath: string) {
    this.#imagePath = imagePath;
  }

  async run({ from, to, plan, parameters, machine }: PortionData): Promise<Tally> {
    const data: CrewData = {
      imagePath: this.#imagePath,
      plan: plan?.map((name) => faultOfName(name) as Fault),
      parameters: parameters ?? undefined,
      machine: machine ?? undefined,
    };
    const campaign = campaignOf(data);
    // One that has booted for another campaign is worth nothing here.
    for (const [other, idle] of this.#idle) {
      if (other === campaign) continue;
      this.#idle.delete(other);
      for (const thread of idle) await thread.end();
    }
    const thread = this.#idle.get(campaign)?.pop() ?? new CrewThread(data);
    try {
      const tally = await thread.run({ from, to });
      this.#idle.set(campaign, [...(this.#idle.get(campaign) ?? []), thread]);
      return tally;
    } catch (error) {
      await thread.end();
      throw error;
    }
  }

  async end(): Promise<void> {
    for (const thread of [...this.#idle.values()].flat()) await thread.end();
  }
}

/** Without user and password, to be shown. */
export function shownUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

/** Builds of different kinds have different queues: what one of them finds says nothing of another. */
const nameOf = (data: Pick<CrewData, 'imagePath'>): string => `ferry-simulate-${buildOf(data)}`;

/** How to connect. A server that is away for a while is waited for; one that was never there is not. */
class Connection {
  readonly options;
  readonly #url: string;
  #was = false;

  constructor(url: string) {
    this.#url = url;
    const retryStrategy = (): number | null => (this.#was ? RETRY_MS : null);
    this.options = { url, maxRetriesPerRequest: null, retryStrategy };
  }

  /** Rejects with `lab/queue-failed`. */
  async ready(party: {
    on(event: 'error', listener: () => void): unknown;
    waitUntilReady(): Promise<unknown>;
  }): Promise<void> {
    // What is asked of it tells of errors, or waits until it is there again.
    party.on('error', () => undefined);
    try {
      await party.waitUntilReady();
      this.#was = true;
    } catch (error) {
      const facts = { url: shownUrl(this.#url), reason: reasonOf(error) };
      throw labErrors.error('queue-failed', facts, error);
    }
  }
}

async function portionFailed(queue: Queue<PortionData>, id: string, { from, to }: Portion): Promise<Error> {
  const job = await queue.getJob(id);
  await job?.remove();
  return labErrors.error('portion-failed', { from, to, reason: job?.failedReason ?? 'it did not say why' });
}

/** Whoever does not need it does not have it. */
async function bullmq(): Promise<typeof import('bullmq')> {
  for (const name of ['bullmq', 'ioredis']) {
    try {
      await import(name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
      throw labErrors.error('package-missing', { name, command: 'ferry simulate --queue and --work' }, error);
    }
  }
  return import('bullmq');
}
