import { beforeAll, describe, expect, it } from 'vitest';
import { compileKernel } from './kernel-source.js';
import { PlainMachine, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel('kunit/main.ts');
});

/** What the params suite expects to find. */
const WORDS = 'size=3M count=17 flag text=first text=second address=10.10.0.2 =odd';

const run = (test = ''): { machine: PlainMachine; end: string } => {
  const machine = new PlainMachine(kernel, { commandLine: `${WORDS} kunit=${test}` });
  return { machine, end: machine.run(60 * SECOND) };
};

describe('the kernel tested by itself', () => {
  it('passes all of its suites', () => {
    const { machine, end } = run();
    const results = machine.printed(/^(not )?ok \d+ - /);
    expect(results.filter((line) => !line.startsWith('ok'))).toEqual([]);
    expect(results.length).toBeGreaterThan(50);
    expect(machine.printed(/^1\.\./)).toEqual([`1..${results.length}, 0 failed`]);
    expect(end).toBe('power-off');
  });

  it('says in full what was wrong with the use of the DMA API', () => {
    const lines = run().machine.printed(/^DMA-API: pci 0000:00:1f.7: |^DMA-API: .*mapped with/);
    expect(lines).toContain(
      'DMA-API: pci 0000:00:1f.7: device driver frees DMA memory with different direction',
    );
    expect(lines.filter((line) => line.includes('mapped with')).join()).toMatch(
      /\[mapped with DMA_FROM_DEVICE\] \[unmapped with DMA_TO_DEVICE\]$/,
    );
    expect(lines.filter((line) => line.startsWith('DMA-API: pci'))).toHaveLength(6);
  });

  it('fails when an expectation does not hold', () => {
    const { machine } = run('failing');
    expect(machine.printed(/^not ok/)).toEqual(['not ok 1 - kunit: this one has to fail']);
    expect(machine.printed(/^1\.\./)[0]).toMatch(/, 1 failed$/);
  });

  it.each([
    ['free_twice', 'kernel BUG: free_pages: block is free already'],
    ['kfree_foreign', 'kernel BUG: kfree: address is not from kmalloc'],
    ['sleep_in_softirq', 'kernel BUG: scheduling while atomic'],
  ])('%s ends in a panic', (test, reason) => {
    const { machine, end } = run(test);
    expect(end).toBe('panic');
    expect(machine.printed(/^Kernel panic/)).toEqual([`Kernel panic - not syncing: ${reason}`]);
  });

  it('counts the lines that the ring could not keep while the console was busy', () => {
    const { machine } = run('flood');
    const kept = machine.printed(/^flood /);
    const [dropped] = machine.printed(/printk messages dropped/);
    expect(dropped).toMatch(/^\*\* \d+ printk messages dropped \*\*$/);
    expect(Number(/\d+/.exec(dropped!)![0]) + kept.length).toBe(1000);
    expect(kept.at(-1)).toBe('flood 999');
    expect(kept.length).toBeGreaterThan(200);
  });
});
