/**
 * The page workers of one data plane: threads of a Piscina pool with one long-running task per channel, each with a
 * message port of its own.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { SerializedError } from '../../base/errors.js';
import type { Crew } from '../../migration/pages/crew.js';
import { transferErrors } from '../../migration/pages/transfer-errors.js';
import { CHANNELS_MAX } from '../../migration/parameters.js';

/** How long workers get to end in good order before they are ended. */
const CLOSE_TIMEOUT_MS = 2000;

/**
 * Threads for a crew, each with its module loaded. Starting them takes longer than all else that a migration sets up, so they
 * may be there before it is known what for.
 */
export class PageThreads {
  readonly pool: Piscina;
  #closing: Promise<void> | undefined;

  /** `module`: its default export is the worker's task. `ready`: so many start now; a crew that needs more gets them. */
  constructor(module: URL, ready: number) {
    this.pool = new Piscina({
      filename: module.href,
      minThreads: ready,
      maxThreads: CHANNELS_MAX,
      concurrentTasksPerWorker: 1,
      // The workers live in their event loops; waiting on shared memory between tasks would gain nothing.
      atomics: 'disabled',
      recordTiming: false,
    });
  }

  /** Ends them, whatever they are at. Harmless when called twice. */
  close(): Promise<void> {
    this.#closing ??= this.pool.destroy();
    return this.#closing;
  }
}

export interface CrewSetup<Task, Report> {
  readonly side: 'source' | 'destination';
  /** The crew's own from now on. */
  readonly threads: PageThreads;
  readonly tasks: readonly Task[];
  readonly heard: (channel: number, report: Report | FailureReport) => void;
}

type FailureReport = { readonly type: 'failed'; readonly error: SerializedError };

export class ThreadCrew<Task, Report> implements Crew<unknown> {
  readonly #setup: CrewSetup<Task, Report>;
  readonly #ports: MessagePort[] = [];
  readonly #tasks: Promise<void>[] = [];
  #closing: Promise<void> | undefined;

  constructor(setup: CrewSetup<Task, Report>) {
    this.#setup = setup;
    setup.tasks.forEach((task, channel) => {
      const { port1: ours, port2: theirs } = new MessageChannel();
      this.#ports.push(ours);
      ours.on('message', (report: Report) => setup.heard(channel, report));
      this.#tasks.push(
        setup.threads.pool
          .run({ task, port: theirs }, { transferList: [theirs] })
          .catch((error: unknown) => this.#lost(channel, error)),
      );
    });
  }

  send(command: unknown, channels = this.#ports.length): void {
    for (let channel = 0; channel < channels; channel++) this.#ports[channel]!.postMessage(command);
  }

  close(command: unknown): Promise<void> {
    this.#closing ??= this.#close(command);
    return this.#closing;
  }

  async #close(command: unknown): Promise<void> {
    this.send(command);
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    });
    await Promise.race([Promise.all(this.#tasks), patience]);
    clearTimeout(timer);
    for (const port of this.#ports) port.close();
    await this.#setup.threads.close();
    await Promise.all(this.#tasks);
  }

  #lost(channel: number, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const lost = transferErrors.error('worker-lost', { side: this.#setup.side, channel, reason }, error);
    this.#setup.heard(channel, { type: 'failed', error: lost.toJSON() });
  }
}
