/**
 * A thread that is given tasks, one at a time. It starts when it is made, so that it can be there before it is known what for;
 * its module, the start of which is all that such a start takes, says by `onTask` what it does with them.
 */
import { parentPort, SHARE_ENV, type TransferListItem, Worker } from 'node:worker_threads';
import { invariant } from '../../base/errors.js';

/** What the thread answers when a task is done. */
const DONE = 'done';

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class TaskThread<Task> {
  readonly #worker: Worker;
  #task: Waiting | undefined;
  #lost: Error | undefined;

  /** `module`: a bundle. While it has nothing to do the thread keeps no process from ending. */
  constructor(module: URL, name: string) {
    this.#worker = new Worker(module, { name, env: SHARE_ENV });
    this.#worker.unref();
    this.#worker.on('message', () => this.#settle()?.resolve());
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', () => this.#fail(new Error('the thread has ended')));
  }

  get hasEnded(): boolean {
    return this.#lost !== undefined;
  }

  /** Resolves when the task is done; rejects when the thread is lost, whatever of. */
  run(task: Task, transfer: readonly TransferListItem[] = []): Promise<void> {
    invariant(this.#task === undefined, 'one task at a time');
    return new Promise((resolve, reject) => {
      if (this.#lost !== undefined) {
        reject(this.#lost);
        return;
      }
      this.#task = { resolve, reject };
      this.#worker.ref();
      this.#worker.postMessage(task, transfer);
    });
  }

  /** Ends it, whatever it is at; `run` rejects then. Harmless when called twice. */
  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #fail(error: Error): void {
    this.#lost ??= error;
    this.#settle()?.reject(this.#lost);
  }

  #settle(): Waiting | undefined {
    const task = this.#task;
    this.#task = undefined;
    this.#worker.unref();
    return task;
  }
}

/** In the thread: does `work` for each task. What it throws ends the thread. */
export function onTask<Task>(work: (task: Task) => void | Promise<void>): void {
  parentPort!.on('message', async (task: Task) => {
    await work(task);
    parentPort!.postMessage(DONE);
  });
}
