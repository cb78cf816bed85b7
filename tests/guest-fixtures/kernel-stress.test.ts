import { beforeAll, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { compileKernel } from './kernel-source.js';
import { MS, PlainMachine, SECOND } from './plain-machine.js';

const PAGE = 4096;

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

const start = (words: string, ramBytes = 64 * MIB): PlainMachine =>
  new PlainMachine(kernel, { commandLine: `workload=stress ${words}`, ramBytes });

/** Rates of the status lines, in bytes a second. */
const rates = (machine: PlainMachine): number[] =>
  machine.printed(/^stress: \d+ bytes\/s dirtied/).map((line) => Number(/\d+/.exec(line)![0]));

/** The working set: its first byte and its pages, and the first byte of the table of generations. */
function workingSet(machine: PlainMachine): { base: number; pages: number; table: number } {
  const [line] = machine.printed(/^stress: CPU0: /);
  const [, count, base, table] = /(\d+) pages at (0x[0-9a-f]{8}), generations at (0x[0-9a-f]{8})$/.exec(
    line!,
  )!;
  return { base: Number(base), pages: Number(count), table: Number(table) };
}

/** Pages of the working set that change between two times. */
function changedBetween(machine: PlainMachine, from: number, to: number): Promise<number[]> {
  return new Promise((resolve) => {
    let before: Uint8Array;
    machine.at(from, () => {
      before = machine.u8.slice();
    });
    machine.at(to, () => {
      const { base, pages } = workingSet(machine);
      const changed: number[] = [];
      for (let page = 0; page < pages; page++) {
        const at = base + page * PAGE;
        if (Buffer.compare(before.subarray(at, at + PAGE), machine.u8.subarray(at, at + PAGE)) !== 0)
          changed.push(page);
      }
      resolve(changed);
    });
    machine.run(to + 10 * MS);
  });
}

describe('stress', () => {
  it.each([1, 10, 200])('dirties %i MiB a second when told to', (mib) => {
    const machine = start(`dirty_rate=${mib}M working_set=4M`);
    machine.run(4.5 * SECOND);
    expect(rates(machine)).toHaveLength(4);
    for (const rate of rates(machine)) expect(Math.abs(rate / (mib * MIB) - 1)).toBeLessThan(0.01);
  });

  it('goes through its working set page by page when sequential', async () => {
    const machine = start('dirty_rate=4M working_set=8M pattern=sequential');
    const changed = await changedBetween(machine, 100 * MS, 600 * MS);
    expect(changed.length).toBeGreaterThan(500);
    expect(changed.length).toBeLessThan(524);
    for (const [i, page] of changed.entries()) expect(page).toBe(changed[0]! + i);
  });

  it('picks pages at random otherwise, and writes no others', async () => {
    const changed = await changedBetween(
      start('dirty_rate=4M working_set=8M pattern=random'),
      100 * MS,
      600 * MS,
    );
    expect(changed.length).toBeGreaterThan(400);
    expect(changed.length).toBeLessThan(512);
    expect(changed.at(-1)! - changed[0]!).toBeGreaterThan(1900);
  });

  it('makes up for no more than a tenth of a second after a pause', () => {
    const machine = start('dirty_rate=40M working_set=4M');
    machine.at(1500 * MS, () => {
      machine.now += 20 * SECOND;
    });
    machine.run(25 * SECOND);
    for (const rate of rates(machine)) expect(rate).toBeLessThan(40.5 * MIB);
    expect(Math.min(...rates(machine))).toBeLessThan(4 * MIB);
  });

  it('dirties as fast as it can at rate 0, and interrupts still arrive', () => {
    const machine = start('dirty_rate=0 working_set=1M status_ms=1 tick_us=100');
    machine.run(4 * MS);
    expect(rates(machine).length).toBeGreaterThanOrEqual(3);
    expect(Math.min(...rates(machine))).toBeGreaterThan(1000 * MIB);
  });

  it('notices an older copy of any page when it comes back to it', () => {
    for (let page = 0; page < 256; page += 5) {
      const machine = start('dirty_rate=20M working_set=1M');
      let at = 0;
      let old: Uint8Array;
      machine.at(100 * MS, () => {
        at = workingSet(machine).base + page * PAGE;
        old = machine.u8.slice(at, at + PAGE);
      });
      machine.at(500 * MS, () => machine.u8.set(old, at));
      expect(machine.run(5 * SECOND)).toBe('panic');
      expect(machine.printed(/^stress: CORRUPT page /)[0]).toContain(
        `0x${at.toString(16).padStart(8, '0')} `,
      );
    }
  });

  it('notices an older copy of the table that it compares with', () => {
    const machine = start('dirty_rate=20M working_set=1M');
    let old: Uint8Array;
    const table = (): number => workingSet(machine).table;
    machine.at(100 * MS, () => {
      old = machine.u8.slice(table(), table() + PAGE);
    });
    machine.at(500 * MS, () => machine.u8.set(old, table()));
    expect(machine.run(5 * SECOND)).toBe('panic');
    expect(machine.printed(/^stress: CORRUPT page /)[0]).toContain(
      `0x${table().toString(16).padStart(8, '0')} `,
    );
  });

  it('stays clean when nothing is lost', () => {
    const machine = start('dirty_rate=50M working_set=2M');
    expect(machine.run(5 * SECOND)).toBe('time');
    expect(machine.printed(/CORRUPT/)).toEqual([]);
  });
});

describe('mixed', () => {
  it('runs the ledger and stress side by side, each at its rate', () => {
    const machine = new PlainMachine(kernel, {
      commandLine: 'workload=mixed dirty_rate=10M working_set=4M ledger_working_set=2M transactions=1000',
    });
    expect(machine.run(3.5 * SECOND)).toBe('time');
    expect(rates(machine)).toHaveLength(3);
    for (const rate of rates(machine)) expect(Math.abs(rate / (10 * MIB) - 1)).toBeLessThan(0.01);
    const ledger = machine.printed(/^ledger: .* clean$/).map((line) => Number(/\d+/.exec(line)![0]));
    expect(ledger).toHaveLength(3);
    for (const rate of ledger) expect(Math.abs(rate / 1000 - 1)).toBeLessThan(0.01);
  });
});
