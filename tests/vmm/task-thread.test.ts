import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, expect, it } from 'vitest';
import { TaskThread } from '../../dist/vmm/threads/task-thread.js';
import { builtFile } from '../../vmm/built.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-task-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const threads: TaskThread<Task>[] = [];
afterEach(async () => {
  await Promise.all(threads.splice(0).map((thread) => thread.end()));
});

interface Task {
  readonly what: 'add' | 'throw' | 'exit' | 'wait';
  readonly cell: SharedArrayBuffer;
}

/** A thread of the product's kind, with tasks that say how they went in a cell of shared memory. */
function started(): TaskThread<Task> {
  const file = join(folder, 'worker.mjs');
  writeFileSync(
    file,
    `import { onTask } from ${JSON.stringify(builtFile('vmm/threads/task-thread.js').href)};
    onTask(async ({ what, cell }) => {
      await Promise.resolve();
      if (what === 'throw') throw new Error('no way');
      if (what === 'exit') process.exit(3);
      if (what === 'wait') await new Promise(() => {});
      Atomics.add(new Int32Array(cell), 0, 1);
    });`,
  );
  const thread = new TaskThread<Task>(pathToFileURL(file), 'test');
  threads.push(thread);
  return thread;
}

const cell = (): SharedArrayBuffer => new SharedArrayBuffer(4);

it('does one task after the other, and says when each is done', async () => {
  const thread = started();
  const counter = cell();
  for (let done = 1; done <= 3; done++) {
    await thread.run({ what: 'add', cell: counter });
    expect(new Int32Array(counter)[0]).toBe(done);
  }
  expect(thread.hasEnded).toBe(false);
});

it.each([
  ['throw', /no way/],
  ['exit', /has ended/],
] as const)('a thread that is lost by %s fails its task, and each after it', async (what, words) => {
  const thread = started();
  await expect(thread.run({ what, cell: cell() })).rejects.toThrow(words);
  expect(thread.hasEnded).toBe(true);
  await expect(thread.run({ what: 'add', cell: cell() })).rejects.toThrow(words);
});

it('is ended in the middle of a task, which is told, and twice without harm', async () => {
  const thread = started();
  const running = expect(thread.run({ what: 'wait', cell: cell() })).rejects.toThrow(/has ended/);
  await thread.end();
  await running;
  await thread.end();
  expect(thread.hasEnded).toBe(true);
});

it('takes no second task before the first is done', async () => {
  const thread = started();
  const counter = cell();
  const first = thread.run({ what: 'add', cell: counter });
  expect(() => thread.run({ what: 'add', cell: counter })).toThrow(/one task at a time/);
  await first;
});
