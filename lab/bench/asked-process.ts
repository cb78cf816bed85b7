/** The processes of a benchmark, driven over IPC: a request has one reply, its number in it. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { benchErrors } from './errors.js';

type Reply = { readonly id: number; readonly result: unknown };

export class AskedProcess<Step extends object> {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { readonly resolve: (result: unknown) => void; readonly reject: (error: Error) => void }
  >();
  #requests = 0;
  #dead: Error | undefined;

  /** `module` calls `answerSteps`; its arguments are the role and `settings` as JSON. */
  constructor(module: URL, role: string, settings: object) {
    this.#child = fork(fileURLToPath(module), [role, JSON.stringify(settings)]);
    this.#child.on('message', ({ id, result }: Reply) => {
      this.#waiting.get(id)?.resolve(result);
      this.#waiting.delete(id);
    });
    const died = (how: string): void => {
      this.#dead ??= benchErrors.error('process-died', { role, how });
      for (const { reject } of this.#waiting.values()) reject(this.#dead);
      this.#waiting.clear();
    };
    this.#child.on('error', (error) => died(error.message));
    this.#child.on('exit', (status, signal) => died(signal ?? `exit status ${status}`));
  }

  /** Rejects with `bench/process-died`. */
  ask(step: Step): Promise<unknown> {
    const id = this.#requests++;
    const reply = new Promise<unknown>((resolve, reject) => {
      if (this.#dead !== undefined) {
        reject(this.#dead);
        return;
      }
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ ...step, id });
    });
    reply.catch(() => {}); // a process that dies rejects all that wait; one awaited rejection is enough
    return reply;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

/** The other end: answers each step, in a process that ends with the one that asks. */
export function answerSteps<Step extends object>(handle: (step: Step) => Promise<unknown>): void {
  // Its threads would keep it, and all the memory that it measures with, for ever.
  process.on('disconnect', () => process.exit());
  process.on('message', ({ id, ...step }: Step & { id: number }) => {
    void handle(step as unknown as Step).then((result) => process.send?.({ id, result }));
  });
}
