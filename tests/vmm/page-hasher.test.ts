/** The threads that hash RAM: when they start. */
import { readdirSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { WorkerPageHasher } from '../../dist/vmm/transfer/page-hasher.js';

const PAGES = 256;
const memory = new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true });
const threads = (): readonly string[] => readdirSync('/proc/self/task');
const newSince = (before: readonly string[]): number =>
  threads().filter((one) => !before.includes(one)).length;

const hashers: WorkerPageHasher[] = [];
function hasher(): WorkerPageHasher {
  const made = new WorkerPageHasher(memory);
  hashers.push(made);
  return made;
}
afterEach(async () => {
  for (const one of hashers.splice(0)) await one.close();
});

it.runIf(process.platform === 'linux')(
  'starts no thread for hashes that were prepared, and makes the same',
  async () => {
    const [prepared, other] = [hasher(), hasher()];
    const before = threads();
    await prepared.prepare(PAGES);
    expect(newSince(before)).toBeGreaterThan(0);
    const ready = threads();
    const hashes = await prepared.hashAll(0, PAGES, 7, true);
    expect(newSince(ready)).toBe(0);
    expect(await other.hashAll(0, PAGES, 7)).toEqual(hashes);
    expect(newSince(ready)).toBeGreaterThan(0);
  },
);
