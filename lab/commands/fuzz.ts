/**
 * `ferry fuzz`: hostile drivers against the device models, and hostile input against everything that takes input from
 * strangers, for as long as asked. Every run is one seed; a seed that failed once can be replayed.
 */

import { type Command, Option } from 'commander';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { DRIVERS, type DriverName, isDriver } from '../fuzz/drivers.js';
import { INPUT_TARGETS, type InputTargetName } from '../fuzz/targets.js';
import { driveWatched, fuzzWatched } from '../fuzz/watched.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';
import { parseWhole } from '../options/quantities.js';
import { formatCount } from '../report/words.js';

const NAME = 'ferry fuzz';
const SEEDS = 2 ** 32;

const TARGET_NAMES = [...Object.keys(DRIVERS), ...Object.keys(INPUT_TARGETS)];
const ACCESSES = 100_000;
const INPUTS = 10_000;

interface Flags {
  readonly target: string;
  readonly accesses?: number;
  readonly runs?: number;
  readonly seed?: number;
  readonly json?: boolean;
}

/** What every target reports; the figures of its own are in `report`. */
interface Run {
  readonly target: string;
  readonly report: { readonly seed: number; readonly accesses: number; readonly failures: readonly string[] };
  /** What the run met, for people. */
  readonly met: string;
}

export function define(command: Command): void {
  const whole = (flag: string, min: number, max: number): ((text: string) => number) =>
    optionValue(NAME, flag, (text) => parseWhole(text, { min, max }));
  command
    .addOption(
      new Option('--target <what>', 'what is attacked').choices([...TARGET_NAMES, 'all']).default('all'),
    )
    .option(
      '--accesses <n>',
      'accesses or inputs of each run (default: 100,000, or 10,000 inputs)',
      whole('--accesses', 1, 1e9),
    )
    .option('--runs <n>', 'runs, each with the next seed (default: 10)', whole('--runs', 1, 1e9))
    .option('--seed <n>', 'first seed (default: random, and printed)', whole('--seed', 0, SEEDS - 1))
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
What it touches, at random and with the habits of a driver that lies:
  nic   configuration space and BARs of a root port, a NIC and its virtual functions; frames arrive and time passes
  vtd   the VT-d unit's registers, invalidation queue, translation and interrupt tables; requests come meanwhile

What it feeds, valid samples changed by structure and by bytes, cut anywhere:
  stream        control messages and their frames
  pages         data channels: page frames, rounds, what they write to guest RAM
  device-state  VFIO's data stream and the records of the machine's devices
  virtio        a virtio-net device's registers, rings and buffers, as a driver writes them that does what none may
  vfio-user     messages and descriptors of another VMM to a served function, answers to its own, disconnects; state and DMA log too
  tls           what a peer says before a migration's TLS, instead of it and within it; directories of credentials
  monitor       QMP text, one request behind the other
  agent         replies of a guest's agent
  image         guest images
  experiment    files for ferry run

What it looks for: an exception, an answer that can't be or depends on how bytes were cut, work, memory or events without
bound, an input or access that does not end, a constant that changed, a write to a page that no table and no frame names, a device that refuses and has changed.

Examples:
  ferry fuzz
  ferry fuzz --target vtd --runs 1000 --accesses 1000000
  ferry fuzz --target stream --runs 100
  ferry fuzz --target nic --seed 4711 --runs 1 --json      one run again

${exitStatuses('nothing was found', ['not-verified'])}`,
    )
    .action(async () => {
      const { target, accesses, runs = 10, seed, json } = command.optsWithGlobals<Flags>();
      const first = seed ?? Math.floor(Math.random() * SEEDS);
      const targets = target === 'all' ? TARGET_NAMES : [target];
      const reports: object[] = [];
      for (let run = 0; run < runs; run++) {
        for (const name of targets) {
          const number = (first + run) % SEEDS;
          const done = isDriver(name)
            ? await drive(name, number, accesses ?? ACCESSES)
            : await feed(name as InputTargetName, number, accesses ?? INPUTS);
          if (done.report.failures.length > 0) process.exitCode = EXIT_STATUS['not-verified'];
          if (json) reports.push({ target: name, ...done.report });
          else process.stdout.write(`${runLine(done)}\n`);
        }
      }
      if (json) process.stdout.write(`${JSON.stringify({ reports }, null, 2)}\n`);
    });
}

async function drive(target: DriverName, seed: number, accesses: number): Promise<Run> {
  const { met, ...report } = await driveWatched({ target, seed, inputs: accesses });
  return { target, report, met };
}

async function feed(target: InputTargetName, seed: number, inputs: number): Promise<Run> {
  const report = await fuzzWatched({ target, seed, inputs });
  const { accepted, refused, bytes } = report;
  const met = `${formatCount(accepted)} accepted, ${formatCount(refused)} refused, ${formatCount(bytes)} bytes`;
  return { target, report, met };
}

/** One line a run; what was found follows on lines of its own, each with all that it takes to run it again. */
function runLine({ target, report, met }: Run): string {
  const { seed, accesses, failures } = report;
  const again = `ferry fuzz --target ${target} --seed ${seed} --runs 1 --accesses ${accesses}`;
  const found =
    failures.length === 0
      ? 'nothing found'
      : failures.map((failure) => `\n  seed ${seed}, ${failure} (again: ${again})`).join('');
  return `${target} seed ${seed}: ${formatCount(accesses)} ${isDriver(target) ? 'accesses' : 'inputs'}, ${met}: ${found}`;
}
