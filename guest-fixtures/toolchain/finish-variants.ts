/** The last step of building a guest, which takes most of the time: one after the other, or in threads beside each other. */
import { availableParallelism } from 'node:os';
import { Piscina } from 'piscina';
import type { CodeVariant } from '../../base/abi/image.js';
import { type FinishedModule, finishModule } from './binaryen.js';

type Variants<T> = Readonly<Record<CodeVariant, T>>;

/** Characters of a variant. Below it a thread, which loads a binaryen of its own, costs more than it saves. */
const WORTH_A_THREAD = 1 << 20;

/** Rejects with what `finishModule` throws. */
export async function finishVariants({
  run,
  log,
  postcopy,
}: Variants<string>): Promise<Variants<FinishedModule>> {
  const threads = Math.min(3, availableParallelism());
  if (threads === 1 || run.length < WORTH_A_THREAD) {
    return { run: finishModule(run), log: finishModule(log), postcopy: finishModule(postcopy) };
  }
  const pool = new Piscina<string, FinishedModule>({
    filename: new URL('./finish-worker.js', import.meta.url).href,
    minThreads: threads,
    maxThreads: threads,
    recordTiming: false,
  });
  try {
    const finish = (text: string): Promise<FinishedModule> => pool.run(text);
    const [first, second, third] = await Promise.all([finish(postcopy), finish(log), finish(run)]);
    return { run: third, log: second, postcopy: first };
  } finally {
    await pool.destroy();
  }
}
