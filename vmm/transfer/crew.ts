/**
 * The page workers of one data plane: a Piscina pool with one long-running task per channel, each with a message port
 * of its own. The first failure of any worker is the failure of the plane; what follows from it is not reported again.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { FerryError, type SerializedError } from '../../base/errors.js';
import { transferErrors } from './errors.js';
import type { ChannelTask } from './messages.js';

/** How long workers get to end in good order before they are ended. */
const CLOSE_TIMEOUT_MS = 2000;

export interface CrewSetup<Task extends ChannelTask, Report> {
  readonly side: 'source' | 'destination';
  /** Module whose default export is the worker's task. */
  readonly module: URL;
  readonly tasks: readonly Task[];
  readonly onReport: (channel: number, report: Report) => void;
  /** Called at most once. */
  readonly onFailure: (error: FerryError) => void;
}

type FailureReport = { readonly type: 'failed'; readonly error: SerializedError };

export class Crew<Task extends ChannelTask, Command, Report extends { readonly type: string }> {
  readonly #setup: CrewSetup<Task, Report>;
  readonly #pool: Piscina;
  readonly #ports: MessagePort[] = [];
  readonly #tasks: Promise<void>[] = [];
  #failed = false;
  #closing: Promise<void> | undefined;

  constructor(setup: CrewSetup<Task, Report>) {
    this.#setup = setup;
    const threads = setup.tasks.length;
    this.#pool = new Piscina({
      filename: setup.module.href,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1,
      // The workers live in their event loops; waiting on shared memory between tasks would gain nothing.
      atomics: 'disabled',
      recordTiming: false,
    });
    setup.tasks.forEach((task, channel) => {
      const { port1: ours, port2: theirs } = new MessageChannel();
      this.#ports.push(ours);
      ours.on('message', (report: Report | FailureReport) => this.#take(channel, report));
      this.#tasks.push(
        this.#pool
          .run({ task, port: theirs }, { transferList: [theirs] })
          .catch((error: unknown) => this.#lost(channel, error)),
      );
    });
  }

  /** To all, or to the first so many. */
  send(command: Command, channels = this.#ports.length): void {
    for (let channel = 0; channel < channels; channel++) this.#ports[channel]!.postMessage(command);
  }

  /** Sends `command`, the workers' cue to end, and resolves when all have, or were made to. Never rejects. */
  close(command: Command): Promise<void> {
    this.#closing ??= this.#close(command);
    return this.#closing;
  }

  async #close(command: Command): Promise<void> {
    this.send(command);
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    });
    await Promise.race([Promise.all(this.#tasks), patience]);
    clearTimeout(timer);
    for (const port of this.#ports) port.close();
    await this.#pool.destroy();
    await Promise.all(this.#tasks);
  }

  #take(channel: number, report: Report | FailureReport): void {
    if (report.type === 'failed') this.#fail(FerryError.from((report as FailureReport).error));
    else this.#setup.onReport(channel, report as Report);
  }

  #lost(channel: number, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#fail(transferErrors.error('worker-lost', { side: this.#setup.side, channel, reason }, error));
  }

  #fail(error: FerryError): void {
    if (this.#failed || this.#closing !== undefined) return;
    this.#failed = true;
    this.#setup.onFailure(error);
  }
}
