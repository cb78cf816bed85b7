/**
 * `ferry fuzz`: a hostile guest driver against the device models, for as long as asked. Every run is one seed; a seed
 * that failed once can be replayed.
 */
import type { Command } from 'commander';
import { type FuzzReport, fuzzConfigAndBars } from '../../devices/nic82599/fuzz.js';
import { optionValue } from '../options/option-value.js';
import { parseWhole } from '../options/quantities.js';
import { formatCount } from '../report/words.js';

const NAME = 'ferry fuzz';
const SEEDS = 2 ** 32;

/** Exit status when a run found something. */
const FOUND = 1;

interface Flags {
  readonly accesses?: number;
  readonly runs?: number;
  readonly seed?: number;
  readonly json?: boolean;
}

export function define(command: Command): void {
  const whole = (flag: string, min: number, max: number): ((text: string) => number) =>
    optionValue(NAME, flag, (text) => parseWhole(text, { min, max }));
  command
    .option('--accesses <n>', 'accesses of each run (default: 100,000)', whole('--accesses', 1, 1e9))
    .option('--runs <n>', 'runs, each with the next seed (default: 10)', whole('--runs', 1, 1e9))
    .option('--seed <n>', 'first seed (default: random, and printed)', whole('--seed', 0, SEEDS - 1))
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
What it touches: configuration space and BARs of a root port, a NIC and its virtual functions, at random and with the
habits of a driver that lies; frames arrive and time passes meanwhile. What it looks for: an exception, an answer wider
than the access, work without bound, a constant that changed.

Examples:
  ferry fuzz
  ferry fuzz --runs 1000 --accesses 1000000
  ferry fuzz --seed 4711 --runs 1 --json      one run again

Exit status: 0 if nothing was found, 1 if something was, 2 wrong use.`,
    )
    .action(() => {
      const { accesses = 100_000, runs = 10, seed, json } = command.optsWithGlobals<Flags>();
      const first = seed ?? Math.floor(Math.random() * SEEDS);
      const reports: FuzzReport[] = [];
      for (let run = 0; run < runs; run++) {
        const report = fuzzConfigAndBars((first + run) % SEEDS, accesses);
        reports.push(report);
        if (!json) process.stdout.write(`${reportLine(report)}\n`);
      }
      if (json) process.stdout.write(`${JSON.stringify({ reports }, null, 2)}\n`);
      if (reports.some(({ failures }) => failures.length > 0)) process.exitCode = FOUND;
    });
}

function reportLine(report: FuzzReport): string {
  const { seed, accesses, failures, dmaRequests, dmaBlocked, framesSent, framesReceived } = report;
  const met =
    `${formatCount(dmaRequests)} DMA requests (${formatCount(dmaBlocked)} blocked), ` +
    `${formatCount(framesSent)} frames sent, ${formatCount(framesReceived)} received`;
  const found =
    failures.length === 0 ? 'nothing found' : failures.map((failure) => `\n  ${failure}`).join('');
  return `seed ${seed}: ${formatCount(accesses)} accesses, ${met}: ${found}`;
}
