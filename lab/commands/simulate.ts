/** `ferry simulate`: whole machines that migrate in virtual time under random faults, very many of them, each replayable by its seed. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { KERNEL_IMAGE } from '../move/scenario.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue, optionValues } from '../options/option-value.js';
import { BadValue, parseDuration, parseWhole } from '../options/quantities.js';
import { Campaign, newTally, type SeedFailure, type Tally } from '../simulator/campaign.js';
import { runCrew } from '../simulator/crew.js';
import { type Fault, faultOfName, nameOfFault } from '../simulator/fault.js';
import { TRACKINGS } from '../simulator/random-plan.js';
import { campaignText, type Pace, progressLine, TRACE_LEGEND } from '../simulator/report.js';

const NAME = 'ferry simulate';
const SEEDS = 2 ** 32;
const DEFAULT_SECONDS = 10;
const JOBS_MAX = 64;
/** The name of a plan without faults. */
const NONE = 'none';

interface Flags {
  readonly seed?: number;
  readonly seeds?: SeedRange;
  readonly time?: number;
  readonly jobs?: number;
  readonly tracking?: string;
  readonly fault?: readonly (Fault | typeof NONE)[];
  readonly trace?: boolean;
  readonly json?: boolean;
}

interface SeedRange {
  readonly first: number;
  readonly last: number;
}

export function define(command: Command): void {
  const value = <T>(flag: string, parse: (text: string) => T): ((text: string) => T) =>
    optionValue(NAME, flag, parse);
  command
    .option('--seed <n>', 'this one migration', value('--seed', parseSeed))
    .addOption(
      new Option('--seeds <range>', 'these, both ends included')
        .argParser(value('--seeds', parseRange))
        .conflicts('seed'),
    )
    .option(
      '--time <time>',
      `no more seeds are begun after that (default: none for --seeds, otherwise ${DEFAULT_SECONDS}s from a random seed on)`,
      value('--time', (text) => parseDuration(text, { min: 1e6 })),
    )
    .option(
      '--jobs <n>',
      'threads (default: one for each core)',
      value('--jobs', (text) => parseWhole(text, { min: 1, max: JOBS_MAX })),
    )
    .addOption(
      new Option('--tracking <name>', "how the device's writes are tracked (default: random)").choices(
        TRACKINGS,
      ),
    )
    .option(
      '--fault <name>',
      'instead of random faults; several times for several, `none` for none',
      optionValues(NAME, '--fault', parseFault),
    )
    .option('--trace', 'print every event of the one migration of --seed')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
Two VMMs with a NIC behind VT-d each, a guest with its driver, traffic, and an operator at the monitor; in virtual time, with
everything drawn from the seed: who comes first, limits and channels of the migration, and a few faults. Each fault has a name:
  delay, cut, cut-after, silence, truncate, flip, garbage, repeat    @SIDE/MESSAGE#N, to a control message
  data-cut, data-flip                                                @CHANNEL/BYTE, to a data channel
  kill-source, kill-destination                                      at a message or a time (@2500us), to a process
  cancel, stop, cont, parameters, migrate-again                      at a message or a time, by the operator of the source
What must hold: at most one side runs the guest at any time, and one does in the end; RAM, registers and devices are the same at
hand-over; no packet comes twice, late or damaged; errors name the cause; it ends in time; the guest works where it is then.

Examples:
  ferry simulate                                    as many as there are in ${DEFAULT_SECONDS} seconds
  ferry simulate --seeds 0..9999 --jobs 2
  ferry simulate --seed 17 --trace                  one again, event by event
  ferry simulate --seed 17 --fault cut@source/commit#0 --fault cancel@3200us

${exitStatuses('every check held for every seed', ['not-verified'])}`,
    )
    .action(() => simulate(command.optsWithGlobals<Flags>()));
}

async function simulate(flags: Flags): Promise<void> {
  const { seed, fault, tracking, trace, json } = flags;
  const plan = fault?.filter((one): one is Fault => one !== NONE);
  const parameters = tracking === undefined ? undefined : { tracking };
  const started = performance.now();
  const pace = (jobs: number): Pace => ({ seconds: (performance.now() - started) / 1e3, jobs });
  const again = (of: number, shortest: readonly string[]): string =>
    [
      `${NAME} --seed ${of}`,
      ...(tracking === undefined ? [] : [`--tracking ${tracking}`]),
      ...(shortest.length === 0 ? [NONE] : shortest).map((name) => `--fault ${name}`),
      '--trace',
    ].join(' ');

  let tally: Tally;
  let jobs = 1;
  let hash: string | undefined;
  if (seed !== undefined) {
    const image = readFileSync(KERNEL_IMAGE);
    const campaign = await Campaign.open({ image, ...(plan && { plan }), ...(parameters && { parameters }) });
    if (trace && !json) process.stdout.write(TRACE_LEGEND);
    const { lines, hash: all } = await campaign.move(seed);
    hash = all;
    if (trace && !json) process.stdout.write(`${lines.join('\n')}\n`);
    tally = newTally();
    await campaign.run(seed, tally);
  } else {
    jobs = flags.jobs ?? availableParallelism();
    const { first, last } = flags.seeds ?? { first: Math.floor(Math.random() * SEEDS), last: Infinity };
    const limitNs = flags.time ?? (flags.seeds === undefined ? DEFAULT_SECONDS * 1e9 : Infinity);
    const show = progressDisplay(json === true);
    tally = await runCrew({
      imagePath: KERNEL_IMAGE,
      plan,
      parameters,
      jobs,
      first,
      last,
      enough: () => (performance.now() - started) * 1e6 >= limitNs,
      progress: (soFar) => show(progressLine(soFar, pace(jobs)), soFar.failures),
    });
    show('');
  }
  if (tally.failures.length > 0) process.exitCode = EXIT_STATUS['not-verified'];
  if (json) {
    const result = { ...tally, ...pace(jobs), ...(hash === undefined ? {} : { hash }) };
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  if (hash !== undefined) {
    const faults = (plan ?? []).map(nameOfFault).join(' ');
    process.stdout.write(`seed ${seed}${faults === '' ? '' : ` under ${faults}`}: ${hash}\n`);
  }
  process.stdout.write(campaignText(tally, pace(jobs), again));
}

/** Failures as they are found, and a line once a second on a terminal, every ten otherwise; an empty one clears it. */
function progressDisplay(quiet: boolean): (line: string, failures?: readonly SeedFailure[]) => void {
  const onTerminal = process.stderr.isTTY === true;
  let shownAt = performance.now();
  let told = 0;
  return (line, failures = []) => {
    if (quiet) return;
    // At once: whoever ends a long run has seen them.
    for (const { seed, violations } of failures.slice(told)) {
      process.stderr.write(`${onTerminal ? '\r\x1b[K' : ''}seed ${seed} FAILED: ${violations[0]?.finding}\n`);
    }
    told = Math.max(told, failures.length);
    if (line === '') {
      if (onTerminal) process.stderr.write('\r\x1b[K');
      return;
    }
    if (performance.now() - shownAt < (onTerminal ? 1000 : 10_000)) return;
    shownAt = performance.now();
    process.stderr.write(onTerminal ? `\r\x1b[K${line}` : `${line}\n`);
  };
}

const parseSeed = (text: string): number => parseWhole(text, { max: SEEDS - 1 });

function parseRange(text: string): SeedRange {
  const [first, last, ...rest] = text.split('..');
  if (first === undefined || last === undefined || rest.length > 0) {
    throw new BadValue(`'${text.slice(0, 40)}' is no range of seeds; write it like 0..999`);
  }
  const range = { first: parseSeed(first), last: parseSeed(last) };
  if (range.last < range.first) throw new BadValue(`${text.slice(0, 40)} ends before it begins`);
  return range;
}

function parseFault(text: string): Fault | typeof NONE {
  if (text === NONE) return NONE;
  const fault = faultOfName(text);
  if (fault === undefined) {
    throw new BadValue(
      `'${text.slice(0, 60)}' is no fault; write it like cut@source/commit#0, data-flip@0/90000=3 or cancel@3200us`,
    );
  }
  return fault;
}
