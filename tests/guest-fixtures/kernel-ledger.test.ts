import { beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { compileKernel } from './kernel-source.js';
import { type End, MS, PlainMachine, SECOND } from './plain-machine.js';

const PAGE = 4096;
const COMMAND_LINE = 'workload=ledger working_set=1M';

let kernel: WebAssembly.Module;
/** Where the ledger lies: the same in every run with the same command line. */
let base: number;
let pages: number;

beforeAll(async () => {
  kernel = await compileKernel();
  const machine = new PlainMachine(kernel, { commandLine: COMMAND_LINE });
  machine.run(10 * MS);
  const [line] = machine.printed(/^ledger: \d+ accounts in /);
  const [, count, address] = /in (\d+) pages at 0x([0-9a-f]{8})$/.exec(line!)!;
  base = Number.parseInt(address!, 16);
  pages = Number(count);
});

const hex = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;

interface Trial {
  readonly machine: PlainMachine;
  readonly end: End;
  /** Address of the page that the guest calls corrupt. */
  readonly named: string | undefined;
}

/** Lets the guest work for a while, does `tamper` to it, and lets it go on for more than two complete checks. */
function trial(seed: number, prepare: (machine: PlainMachine) => () => void): Trial {
  const machine = new PlainMachine(kernel, { commandLine: COMMAND_LINE, seed });
  let tamper: (() => void) | undefined;
  machine.at(300 * MS, () => {
    tamper = prepare(machine);
  });
  machine.at(1500 * MS, () => tamper!());
  const end = machine.run(4 * SECOND);
  const [line] = machine.printed(/^ledger: CORRUPT page /);
  return { machine, end, named: line === undefined ? undefined : /0x[0-9a-f]{8}/.exec(line)![0] };
}

describe('an undisturbed ledger', () => {
  it('stays clean for many epochs, at the rate that was asked for', () => {
    const machine = new PlainMachine(kernel, {
      commandLine: `${COMMAND_LINE} transactions=500 sweep_ms=100`,
    });
    expect(machine.run(20.5 * SECOND)).toBe('time');
    const status = machine.printed(/^ledger: \d+ transactions\/s, epoch \d+, clean$/);
    expect(status).toHaveLength(20);
    for (const line of status) expect(line).toMatch(/^ledger: (49\d|50\d) transactions/);
    expect(Number(/epoch (\d+)/.exec(status.at(-1)!)![1])).toBeGreaterThan(190);
  });

  it('checks all of its default working set once a second', () => {
    const machine = new PlainMachine(kernel, { commandLine: 'workload=ledger' });
    machine.run(5.5 * SECOND);
    const status = machine.printed(/^ledger: .* clean$/);
    expect(Number(/epoch (\d+)/.exec(status.at(-1)!)![1])).toBeGreaterThanOrEqual(4);
    expect(machine.printed(/^ledger: \d+ accounts in 40\d\d pages/)).toHaveLength(1);
  });

  it('makes up for no more than a tenth of a second after a pause', () => {
    const machine = new PlainMachine(kernel, { commandLine: COMMAND_LINE });
    machine.at(1500 * MS, () => {
      machine.now += 30 * SECOND;
    });
    machine.run(35 * SECOND);
    const total = machine
      .printed(/^ledger: \d+ transactions/)
      .map((line) => Number(/\d+/.exec(line)![0]))
      .filter((rate) => rate > 1000).length;
    // The interval with the pause shows a low rate, the others 2000.
    expect(total).toBeGreaterThanOrEqual(3);
    for (const line of machine.printed(/transactions\/s/))
      expect(Number(/\d+/.exec(line)![0])).toBeLessThan(2010);
  });
});

describe('a ledger with one page lost', () => {
  it('names any page of which an older copy came back', { timeout: 120_000 }, () => {
    const kinds = new Set<string>();
    for (let page = 0; page < pages; page++) {
      const at = base + page * PAGE;
      const { machine, end, named } = trial(page, ({ u8 }) => {
        const old = u8.slice(at, at + PAGE);
        return () => {
          expect(
            Buffer.compare(old, u8.subarray(at, at + PAGE)),
            `page ${page} was changed meanwhile`,
          ).not.toBe(0);
          u8.set(old, at);
        };
      });
      expect([end, named], `page ${page}`).toEqual(['panic', hex(at)]);
      const [how] = machine.printed(/^ledger: .* page \d+: its content is stale$/);
      expect(how, `page ${page}`).toBeDefined();
      kinds.add(how!.replace(/^ledger: | page .*/g, ''));
      expect(machine.printed(/CORRUPT/)[0]).toMatch(/ expected version (\d+) found (?!\1$)\d+$/);
    }
    const all = ['account', 'books', 'bucket', 'journal', 'root', 'version table'];
    expect([...kinds].sort()).toEqual(all);
  });

  it('names a page in which one bit was flipped, whichever it is', () => {
    const random = seededRandom(7);
    for (let i = 0; i < 100; i++) {
      const byte = base + random.below(pages * PAGE);
      const { end, named } = trial(i, ({ u8 }) => () => {
        u8[byte]! ^= 1 << random.below(8);
      });
      expect([end, named], `byte ${hex(byte)}`).toEqual(['panic', hex(byte - (byte % PAGE))]);
    }
  });

  it('names a page that never arrived', () => {
    for (let page = 0; page < pages; page += 9) {
      const at = base + page * PAGE;
      const { end, named } = trial(
        page,
        ({ u8 }) =>
          () =>
            u8.fill(0, at, at + PAGE),
      );
      expect([end, named], `page ${page}`).toEqual(['panic', hex(at)]);
    }
  });

  it('names one of two pages that changed places', () => {
    const random = seededRandom(8);
    for (let i = 0; i < 20; i++) {
      const [one, other] = random.shuffle([...Array(pages).keys()]).map((page) => base + page * PAGE);
      const { end, named } = trial(i, ({ u8 }) => () => {
        const kept = u8.slice(one, one! + PAGE);
        u8.copyWithin(one!, other!, other! + PAGE);
        u8.set(kept, other);
      });
      expect(end).toBe('panic');
      expect([hex(one!), hex(other!)]).toContain(named);
    }
  });

  it('does not cry wolf: pages written again as they are change nothing', () => {
    const { machine, end, named } = trial(1, ({ u8 }) => () => {
      const copy = u8.slice(base, base + pages * PAGE);
      u8.set(copy, base);
    });
    expect([end, named]).toEqual(['time', undefined]);
    expect(machine.printed(/clean$/)).toHaveLength(3);
  });
});
