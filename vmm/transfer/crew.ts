/** The page workers of one data plane: threads with one long-running task each, a channel, and a message port for it. */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { SerializedError } from '../../base/errors.js';
import type { Crew } from '../../migration/pages/crew.js';
import { transferErrors } from '../../migration/pages/transfer-errors.js';
import { TaskThread } from '../threads/task-thread.js';

/** How long workers get to end in good order before they are ended. */
const CLOSE_TIMEOUT_MS = 2000;

/**
 * Threads for a crew, each with its module loaded. Starting them takes longer than all else that a migration sets up, so they
 * may be there before it is known what for.
 */
export class PageThreads {
  readonly #module: URL;
  readonly #threads: TaskThread<PageTask>[];
  #taken = 0;
  #closing: Promise<unknown> | undefined;

  /** `module`: a bundle that takes a `PageTask`. `ready`: so many start now; a crew that needs more gets them. */
  constructor(module: URL, ready: number) {
    this.#module = module;
    this.#threads = Array.from({ length: ready }, () => this.#start());
  }

  /** Resolves when whoever works the channel is done with it; rejects when its thread is lost. One for each time of asking. */
  run(task: PageTask): Promise<void> {
    const index = this.#taken++;
    const thread = this.#threads[index] ?? this.#start();
    this.#threads[index] = thread;
    return thread.run(task, [task.port]);
  }

  /** How many there are. */
  get running(): number {
    return this.#threads.filter(({ hasEnded }) => !hasEnded).length;
  }

  /** Ends them, whatever they are at. Harmless when called twice. */
  async close(): Promise<void> {
    this.#closing ??= Promise.all(this.#threads.map((thread) => thread.end()));
    await this.#closing;
  }

  #start(): TaskThread<PageTask> {
    return new TaskThread(this.#module, 'pages');
  }
}

/** What a page worker is given: its channel's task, and the port over which it is spoken to. */
export interface PageTask<Task = unknown> {
  readonly task: Task;
  readonly port: MessagePort;
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
        setup.threads.run({ task, port: theirs }).catch((error: unknown) => this.#lost(channel, error)),
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
