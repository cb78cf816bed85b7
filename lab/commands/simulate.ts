/** `ferry simulate`: whole machines that migrate in virtual time under random faults, very many of them, each replayable by its seed. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import { EXIT_STATUS } from '../../base/exit-status.js';
import type { ParameterValues } from '../../migration/parameters.js';
import { labErrors } from '../errors.js';
import { KERNEL_IMAGE } from '../move/scenario.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue, optionValues } from '../options/option-value.js';
import { BadValue, parseDuration, parseWhole } from '../options/quantities.js';
import { addTally, Campaign, newTally, type SeedFailure, type Tally } from '../simulator/campaign.js';
import { type CrewData, type Portion, runCrew } from '../simulator/crew.js';
import { type Fault, faultOfName, nameOfFault } from '../simulator/fault.js';
import { campaignOf } from '../simulator/identity.js';
import { gather, shownUrl, workForQueue } from '../simulator/queue.js';
import { TRACKINGS } from '../simulator/random-plan.js';
import { campaignText, type Pace, progressLine, TRACE_LEGEND } from '../simulator/report.js';
import { CampaignFile } from '../simulator/resume.js';
import { PLAIN, SHAPES, shapeOfName } from '../simulator/shape.js';
import { shapesFor, stopsAndStarts, type Way, waysLike } from '../simulator/ways.js';

const NAME = 'ferry simulate';
const SEEDS = 2 ** 32;
const DEFAULT_SECONDS = 10;
const JOBS_MAX = 64;
/** Of seeds no more than this is lost when the process is killed. */
const SAVED_EVERY_MS = 1000;
/** The name of a plan without faults. */
const NONE = 'none';

interface Flags {
  readonly seed?: number;
  readonly seeds?: Portion;
  readonly time?: number;
  readonly jobs?: number;
  readonly tracking?: string;
  readonly stop?: string;
  readonly start?: string;
  readonly machine?: string;
  readonly fault?: readonly (Fault | typeof NONE)[];
  readonly trace?: boolean;
  readonly resume?: string;
  readonly queue?: string;
  readonly work?: string;
  readonly json?: boolean;
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
    .addOption(
      new Option(
        '--stop <name>',
        'how the device is stopped (default: random, device-state most often)',
      ).choices(stopsAndStarts.stop),
    )
    .addOption(
      new Option('--start <name>', 'how the other device is started (default: random)').choices(
        stopsAndStarts.start,
      ),
    )
    .addOption(
      new Option(
        '--machine <name>',
        `what both machines have (default: random, ${PLAIN.name} most often)`,
      ).choices(SHAPES.map(({ name }) => name)),
    )
    .option(
      '--fault <name>',
      'instead of random faults; several times for several, `none` for none',
      optionValues(NAME, '--fault', parseFault),
    )
    .addOption(
      new Option(
        '--resume <file>',
        'keep what came of --seeds in this file, and go on from there if there is one',
      ).conflicts(['seed', 'queue']),
    )
    .addOption(
      new Option('--queue <url>', 'have others work on --seeds, who --work at this Redis or Valkey')
        .argParser(value('--queue', parseQueue))
        .conflicts(['seed', 'jobs']),
    )
    .addOption(
      new Option('--work <url>', 'work for others, who submit by --queue, until ended')
        .argParser(value('--work', parseQueue))
        .conflicts([
          'seed',
          'seeds',
          'time',
          'tracking',
          'stop',
          'start',
          'machine',
          'fault',
          'trace',
          'resume',
          'queue',
        ]),
    )
    .option('--trace', 'print every event of the one migration of --seed')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
Two VMMs with a NIC behind VT-d each, a guest with its driver, traffic, and an operator at the monitor; in virtual time, with
everything drawn from the seed: who comes first, limits, channels and approaches of the migration, and a few faults. A fault's name:
  delay, cut, cut-after, silence, truncate, flip, garbage, repeat, other-version
                                                                     @SIDE/MESSAGE#N, to a control message
  data-cut, data-flip, data-stall, data-truncate, data-delay         @CHANNEL/BYTE, to a data channel
  kill-source, quit-source, suspend-source, lose-worker-source       at a message or a time (@2500us), to a process or a thread of it
  drift-source, jump-source, set-back-source                         the same, to its clocks; all of these -destination as well
  cancel, stop, cont, parameters, migrate-again, unplug, replug, inject-error, dirty-rate
                                         at a message or a time, or right before (@start), by the operator of the source
  stop-destination, cont-destination                                 the same, by that of the destination
  guest-toggles, guest-unloads, guest-lies, guest-crashes            the same: what the guest does, wherever it runs
  link-flap, link-flap-destination                                   the same, to the cable of the source's NIC or the other's
  other-device                                                       the same: what the destination has for the guest is not alike
  stranger, data-stranger                                            the same: somebody else comes to a door
Machines: ${SHAPES.map(({ name, text }) => `${name} (${text})`).join(', ')}, beside a vCPU, a function in a slot, and the guest's agent.
What must hold: at most one side runs the guest at any time, and one does in the end; RAM, registers and devices are the same at
hand-over; no packet comes twice, late or damaged; errors name the cause; it ends in time; the guest works where it is then,
and moves when all faults are over.

Examples:
  ferry simulate                                    as many as there are in ${DEFAULT_SECONDS} seconds
  ferry simulate --seeds 0..9999 --jobs 2
  ferry simulate --seeds 0..1e6 --resume campaign.json
  ferry simulate --seeds 0..1e6 --queue redis://127.0.0.1:6379       and on each machine that helps:
  ferry simulate --work redis://127.0.0.1:6379
  ferry simulate --seed 17 --trace                  one again, event by event
  ferry simulate --seed 17 --fault cut@source/commit#0 --fault cancel@3200us

${exitStatuses('every check held for every seed', ['not-verified', 'refused', 'failed', 'environment'])}`,
    )
    .action(() => simulate(command.optsWithGlobals<Flags>()));
}

async function simulate(flags: Flags): Promise<void> {
  const { seed, fault, tracking, stop, start, machine, trace, resume, queue, work, json } = flags;
  if (work !== undefined) return workUntilEnded(work, flags);
  if (flags.seeds === undefined && (resume ?? queue) !== undefined) {
    throw labErrors.error('usage', { why: '--resume and --queue need --seeds', command: NAME });
  }
  const plan = fault?.filter((one): one is Fault => one !== NONE);
  const given = Object.entries({ tracking, stop, start }).filter(([, name]) => name !== undefined);
  const parameters: Partial<ParameterValues> = Object.fromEntries(given);
  const shapes = machine === undefined ? SHAPES : [shapeOfName(machine)!];
  if (!shapes.some((shape) => shapesFor(parameters).includes(shape))) {
    const can = (like: Partial<ParameterValues>): readonly Way[] =>
      shapes.flatMap((shape) => waysLike(like, shape));
    const starts = new Set(can(stop === undefined ? {} : { stop }).map((way) => way.start.name));
    const what =
      stop === undefined ? `--start ${start}` : starts.size === 0 ? `--stop ${stop}` : `--start ${start}`;
    const why =
      starts.size === 0 || stop === undefined
        ? `the machine '${machine}' has not what ${what} needs`
        : `--start ${start} can't follow --stop ${stop}; what can: ${[...starts].join(', ')}`;
    throw labErrors.error('usage', { why, command: NAME });
  }
  const data: CrewData = { imagePath: KERNEL_IMAGE, plan, parameters, machine };
  const before = resume === undefined ? undefined : new CampaignFile(resume, campaignOf(data));
  const started = performance.now();
  const pace = (jobs: number): Pace => ({
    seconds: (performance.now() - started) / 1e3,
    jobs,
    ...(queue !== undefined && { of: 'workers' }),
    ...(before !== undefined && { before: before.tally.seeds }),
  });
  const again = (of: number, shortest: readonly string[]): string =>
    [
      `${NAME} --seed ${of}`,
      ...given.map(([effort, name]) => `--${effort} ${name}`),
      ...(machine === undefined ? [] : [`--machine ${machine}`]),
      ...(shortest.length === 0 ? [NONE] : shortest).map((name) => `--fault ${name}`),
      '--trace',
    ].join(' ');

  let tally: Tally;
  let jobs = 1;
  let hash: string | undefined;
  if (seed !== undefined) {
    const image = readFileSync(KERNEL_IMAGE);
    const campaign = await Campaign.open({
      image,
      parameters,
      ...(plan && { plan }),
      ...(machine !== undefined && { machine: shapeOfName(machine)! }),
    });
    if (trace && !json) process.stdout.write(TRACE_LEGEND);
    const { lines, hash: all } = await campaign.move(seed);
    hash = all;
    if (trace && !json) process.stdout.write(`${lines.join('\n')}\n`);
    tally = newTally();
    await campaign.run(seed, tally);
  } else {
    jobs = flags.jobs ?? availableParallelism();
    const range = flags.seeds ?? { from: Math.floor(Math.random() * SEEDS), to: Infinity };
    const limitNs = flags.time ?? (flags.seeds === undefined ? DEFAULT_SECONDS * 1e9 : Infinity);
    const show = progressDisplay(json === true);
    const enough = (): boolean => (performance.now() - started) * 1e6 >= limitNs;
    if (queue !== undefined) {
      jobs = 0;
      tally = await gather({
        ...data,
        ...range,
        url: queue,
        enough,
        progress: (soFar, workers) => {
          jobs = Math.max(jobs, workers);
          const who =
            workers === 0 ? `nobody of this build works at ${shownUrl(queue)}` : `${workers} at work`;
          show(`${progressLine(soFar, pace(jobs))}; ${who}`, soFar.failures);
        },
      });
    } else {
      let savedAt = performance.now();
      const ran = await runCrew({
        ...data,
        jobs,
        portions: before?.left(range) ?? [range],
        enough,
        progress: (soFar, done) => {
          show(progressLine(together(before?.tally ?? newTally(), soFar), pace(jobs)), soFar.failures);
          before?.add(done);
          if (before === undefined || performance.now() - savedAt < SAVED_EVERY_MS) return;
          savedAt = performance.now();
          before.save(together(before.tally, soFar));
        },
      });
      tally = together(before?.tally ?? newTally(), ran);
      before?.save(tally);
    }
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

/** Both of them, the failures by their seeds. */
function together(one: Tally, other: Tally): Tally {
  const all = newTally();
  for (const each of [one, other]) addTally(all, each);
  all.failures.sort((a, b) => a.seed - b.seed);
  return all;
}

async function workUntilEnded(url: string, { jobs = availableParallelism(), json }: Flags): Promise<void> {
  const ending = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());
  const total = newTally();
  const started = performance.now();
  const tell = (line: string): void => {
    if (!json) process.stderr.write(`${line}\n`);
  };
  await workForQueue({
    url,
    imagePath: KERNEL_IMAGE,
    jobs,
    signal: ending.signal,
    ready: (build) => tell(`works for ${shownUrl(url)} with ${jobs} threads, build ${build}; SIGINT ends it`),
    done: ({ from, to }, tally) => {
      addTally(total, tally);
      tell(`seeds ${from} to ${to} done`);
    },
  });
  const pace = { seconds: (performance.now() - started) / 1e3, jobs };
  process.stdout.write(
    json ? `${JSON.stringify({ ...total, ...pace }, null, 2)}\n` : `${progressLine(total, pace)}\n`,
  );
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

function parseRange(text: string): Portion {
  const [first, last, ...rest] = text.split('..');
  if (first === undefined || last === undefined || rest.length > 0) {
    throw new BadValue(`'${text.slice(0, 40)}' is no range of seeds; write it like 0..999`);
  }
  const range = { from: parseSeed(first), to: parseSeed(last) };
  if (range.to < range.from) throw new BadValue(`${text.slice(0, 40)} ends before it begins`);
  return range;
}

function parseQueue(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^rediss?:$/.test(url.protocol)) {
    throw new BadValue(
      `'${text.slice(0, 40)}' is no address of a queue; write it like redis://127.0.0.1:6379`,
    );
  }
  return text;
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
