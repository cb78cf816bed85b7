/**
 * `ferry bench migrate|machine|transfer|iommu|fabric|packets|functions|tracking`: figures of this machine, each beside the limit it is measured
 * against, in the same run. Absolute figures of shared machines drift; the ratios are what to compare.
 */
import { cpus } from 'node:os';
import { type Command, Option } from 'commander';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP } from '../../base/abi/platform.js';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { GIB, MIB } from '../../base/units.js';
import {
  DESTINATIONS,
  type DestinationKind,
  RAM_CONTENTS,
  type RamContents,
} from '../bench/migrate/kinds.js';
import {
  fabricText,
  functionsText,
  iommuText,
  machineText,
  packetsText,
  transferText,
} from '../bench/texts.js';
import type { BenchTrackingResult } from '../bench/tracking.js';
import { TRACKING_MEMORIES, TRACKING_RATES } from '../bench/tracking-defaults.js';
import { RATE_MAX } from '../fabric/options.js';
import { WholeFile } from '../move/whole-file.js';
import { parseApproach } from '../options/approaches.js';
import { asGroup } from '../options/command-group.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';
import { formatSize, parseSize, parseWhole } from '../options/quantities.js';

interface Common {
  readonly runs?: number;
  readonly json?: boolean;
}

const whole = (command: string, flag: string, min: number, max: number): ((text: string) => number) =>
  optionValue(command, flag, (text) => parseWhole(text, { min, max }));

const ENDS = exitStatuses('the figures were taken', ['failed', 'not-verified', 'environment']);

const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  ${line}\n`).join('')}\n${ENDS}`;

export function define(command: Command): void {
  command.addHelpText(
    'after',
    `
Examples:
  ferry bench migrate                      whole moves, beside bare Node, QEMU and iperf3
  ferry bench machine                      boot, memory, blackout, dirty logging
  ferry bench transfer                     2 GiB over loopback, beside a bare socket pump
  ferry bench transfer --bytes 512MiB --integrity --json
  ferry bench iommu                        translations, and the dirty scan of 16 GiB
  ferry bench fabric                       frames a second from socket to socket
  ferry bench packets                      packets between a guest and a peer, and whom they cost what
  ferry bench functions                    blackout with 1, 2, 4 and 8 virtual functions
  ferry bench tracking                     what it costs to know which pages a device writes

${ENDS}`,
  );
  asGroup(command);
  defineMigrate(
    command
      .command('migrate')
      .description('whole moves by total time, set-up included, beside bare Node, QEMU and iperf3'),
  );
  defineMachine(
    command
      .command('machine')
      .description('boot time, memory, blackout and its parts, cost of dirty logging'),
  );
  defineTransfer(
    command
      .command('transfer')
      .description('page transfer and its kernels, beside bare Node and plain reads'),
  );
  defineIommu(
    command
      .command('iommu')
      .description('translations a second; dirty scans, beside a plain read of the tables'),
  );
  defineFabric(
    command
      .command('fabric')
      .description('frames a second through a switch process, small ones and large ones'),
  );
  defineFunctions(
    command
      .command('functions')
      .description('how long a guest stands still by the number of its virtual functions'),
  );
  defineTracking(
    command
      .command('tracking')
      .description('what each tracking costs guest and host, at several packet rates and sizes of RAM'),
  );
  definePackets(
    command
      .command('packets')
      .description('packets between a guest with a VF and a peer, with the CPU time of each thread'),
  );
}

function defineTracking(command: Command): void {
  const name = 'ferry bench tracking';
  const ram = { min: RAM_BYTES_MIN, max: RAM_BYTES_MAX, step: RAM_BYTES_STEP };
  const list = <T>(flag: string, one: (text: string) => T): ((text: string) => T[]) =>
    optionValue(name, flag, (text) => text.split(',').map(one));
  command
    .option('--runs <n>', 'turns of each tracking (default: 3)', whole(name, '--runs', 1, 30))
    .option(
      '--rate <rates>',
      `packets a second, with commas (default: ${TRACKING_RATES.join(',')})`,
      list('--rate', (text) => parseWhole(text, { min: 1, max: RATE_MAX })),
    )
    .option(
      '--memory <sizes>',
      `guest RAM, with commas (default: ${TRACKING_MEMORIES.map(formatSize).join(',')})`,
      list('--memory', (text) => parseSize(text, ram)),
    )
    .option(
      '--tracking <names>',
      'those to measure, names or module:PATH with commas (default: all)',
      list('--tracking', parseApproach('tracking')),
    )
    .option('--report <file>', 'write it with pictures, as one HTML file that needs nothing else')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
A guest with a VF echoes what a peer sends. Trackings are at work in turn, each between two turns without one, which are its measure:
packets that come back, CPU time of the guest and of the host. No migration is under way; each tracking is asked ten times a second, as
by the rounds of one. With the defaults it takes some three minutes; on a busy machine costs of less than a few percent say nothing.

Examples:
  ferry bench tracking
  ferry bench tracking --memory 256MiB --rate 10000 --runs 9 --report costs.html
  ferry bench tracking --tracking iommu-dirty,module:./mine.mjs --json

${exitStatuses('the figures were taken', ['refused', 'failed', 'environment'])}`,
    )
    .action(async () => {
      const { runs, rate, memory, tracking, report, json } = command.optsWithGlobals<
        Common & {
          rate?: readonly number[];
          memory?: readonly number[];
          tracking?: readonly string[];
          report?: string;
        }
      >();
      const file = report === undefined ? undefined : new WholeFile(report, 'report');
      const { benchTracking } = await import('../bench/tracking.js');
      const { trackingText } = await import('../bench/tracking-text.js');
      const result = await benchTracking({
        ...(runs === undefined ? {} : { runs }),
        ...(rate === undefined ? {} : { rates: rate }),
        ...(memory === undefined ? {} : { memories: memory }),
        ...(tracking === undefined ? {} : { trackings: tracking }),
        ...(json ? {} : { onPart: (what: string) => process.stderr.write(`${what} ...\n`) }),
      });
      print<BenchTrackingResult>(json, result, (one) => trackingText(one, process.stdout.columns));
      if (file === undefined) return;
      const { trackingReport } = await import('../bench/tracking-report.js');
      const cut = file.write(trackingReport(result, host()));
      file.close();
      if (cut !== undefined) throw cut;
    });
}

function defineFunctions(command: Command): void {
  const name = 'ferry bench functions';
  command
    .option('--runs <n>', 'moves with each number (default: 5)', whole(name, '--runs', 1, 100))
    .option(
      '--rate <n>',
      'datagrams a second over all of them (default: 8000)',
      whole(name, '--rate', 8, RATE_MAX),
    )
    .allowExcessArguments(false)
    .addHelpText('after', examples('ferry bench functions', 'ferry bench functions --runs 15 --json'))
    .action(async () => {
      const { runs, rate, json } = command.optsWithGlobals<Common & { rate?: number }>();
      const { benchFunctions } = await import('../bench/functions.js');
      const result = await benchFunctions({
        ...(runs === undefined ? {} : { runs }),
        ...(rate === undefined ? {} : { rate }),
        ...(json ? {} : { onPart: (what: string) => process.stderr.write(`${what} ...\n`) }),
      });
      print(json, result, functionsText);
    });
}

function definePackets(command: Command): void {
  const name = 'ferry bench packets';
  command
    .option('--runs <n>', 'measured turns of each figure (default: 5)', whole(name, '--runs', 1, 30))
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
A guest with a VF and a traffic peer, each in a process of its own. The peer sends at the highest rate that arrives,
which is looked for first; the guest as fast as its device takes it. Echoes are counted once.

Examples:
  ferry bench packets
  ferry bench packets --runs 20 --json

${ENDS}`,
    )
    .action(async () => {
      const { runs, json } = command.optsWithGlobals<Common>();
      const { benchPackets } = await import('../bench/packets.js');
      const result = await benchPackets({
        ...(runs === undefined ? {} : { runs }),
        ...(json ? {} : { onPart: (what: string) => process.stderr.write(`${what} ...\n`) }),
      });
      print(json, result, packetsText);
    });
}

function defineMigrate(command: Command): void {
  const name = 'ferry bench migrate';
  const size = { min: 64 * MIB, max: RAM_BYTES_MAX, step: MIB };
  command
    .option('--runs <n>', 'turns of each (default: 7)', whole(name, '--runs', 1, 1000))
    .option(
      '--memory <size>',
      'guest RAM (default: 2GiB); four times as much is needed, five times beside QEMU',
      optionValue(name, '--memory', (text) => parseSize(text, size)),
    )
    .addOption(
      new Option('--ram <contents>', 'what is in it (default: one after the other)').choices(RAM_CONTENTS),
    )
    .addOption(
      new Option(
        '--destination <kind>',
        'cold: RAM that was never touched; warm: with --prealloc (default: one after the other)',
      ).choices(DESTINATIONS),
    )
    .option(
      '--channels <numbers>',
      'data channels, with commas (default: 2)',
      optionValue(name, '--channels', (text) =>
        text.split(',').map((one) => parseWhole(one, { min: 1, max: 16 })),
      ),
    )
    .option(
      '--beside-qemu',
      "move the same RAM by QEMU's multifd in the same turns, where a QEMU is installed",
    )
    .option('--beside-iperf3', 'send as many bytes by iperf3 in the same turns, where it is installed')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      examples(
        'ferry bench migrate --beside-qemu --beside-iperf3',
        'ferry bench migrate --memory 512MiB --channels 1,2,4 --ram random --json',
      ),
    )
    .action(async () => {
      const flags = command.optsWithGlobals<
        Common & {
          memory?: number;
          ram?: RamContents;
          destination?: DestinationKind;
          channels?: readonly number[];
          besideQemu?: boolean;
          besideIperf3?: boolean;
        }
      >();
      const { runs, memory, ram, destination, channels, json } = flags;
      const { benchMigrate } = await import('../bench/migrate/bench.js');
      const { migrateText } = await import('../bench/migrate/text.js');
      const result = await benchMigrate({
        ...(runs === undefined ? {} : { runs }),
        ...(memory === undefined ? {} : { memoryBytes: memory }),
        ...(ram === undefined ? {} : { contents: [ram] }),
        ...(destination === undefined ? {} : { destinations: [destination] }),
        ...(channels === undefined ? {} : { channels }),
        besideQemu: flags.besideQemu ?? false,
        besideIperf3: flags.besideIperf3 ?? false,
        ...(json ? {} : { onPart: (what: string) => process.stderr.write(`${what} ...\n`) }),
      });
      print(json, result, migrateText);
    });
}

function defineMachine(command: Command): void {
  const name = 'ferry bench machine';
  const ram = { min: RAM_BYTES_MIN, max: RAM_BYTES_MAX, step: RAM_BYTES_STEP };
  command
    .option('--runs <n>', 'repetitions of each figure (default: 10)', whole(name, '--runs', 1, 1000))
    .option(
      '--memory <size>',
      'guest RAM (default: 256MiB)',
      optionValue(name, '--memory', (text) => parseSize(text, ram)),
    )
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      examples('ferry bench machine --runs 20', 'ferry bench machine --memory 1GiB --json'),
    )
    .action(async () => {
      const { runs, memory, json } = command.optsWithGlobals<Common & { memory?: number }>();
      const { benchMachine } = await import('../bench/machine.js');
      const result = await benchMachine({
        ...(runs === undefined ? {} : { runs }),
        ...(memory === undefined ? {} : { memoryBytes: memory }),
        ...(json ? {} : { onPart: (what: string) => process.stderr.write(`${what} ...\n`) }),
      });
      print(json, result, machineText);
    });
}

function defineTransfer(command: Command): void {
  const name = 'ferry bench transfer';
  const size = { min: 64 * MIB, max: RAM_BYTES_MAX, step: MIB };
  command
    .option(
      '--bytes <size>',
      'RAM to send (default: 2GiB); twice as much is needed',
      optionValue(name, '--bytes', (text) => parseSize(text, size)),
    )
    .option('--channels <n>', 'data channels (default: 2)', whole(name, '--channels', 1, 16))
    .option('--runs <n>', 'measured turns of each (default: 5)', whole(name, '--runs', 1, 1000))
    .option('--integrity', 'hash every page at both ends, as migrations do unless --verify off')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      examples('ferry bench transfer', 'ferry bench transfer --integrity --channels 4 --json'),
    )
    .action(async () => {
      const flags = command.optsWithGlobals<
        Common & { bytes?: number; channels?: number; integrity?: boolean }
      >();
      const { benchKernels } = await import('../bench/kernels.js');
      const { benchTransfer } = await import('../bench/transfer.js');
      const channels = flags.channels ?? 2;
      const step = 65536 * channels;
      if (!flags.json) process.stderr.write('reading, scanning and hashing memory ...\n');
      const kernels = benchKernels(flags.runs === undefined ? {} : { runs: flags.runs });
      if (!flags.json)
        process.stderr.write('sending pages, and the same bytes from bare Node to bare Node ...\n');
      const transfer = await benchTransfer({
        bytes: Math.floor((flags.bytes ?? 2 * GIB) / step) * step,
        channels,
        integrity: flags.integrity ?? false,
        ...(flags.runs === undefined ? {} : { runs: flags.runs }),
      });
      print(flags.json, { kernels, transfer }, transferText);
      if (transfer.verified === false) process.exitCode = EXIT_STATUS['not-verified'];
    });
}

function defineIommu(command: Command): void {
  const name = 'ferry bench iommu';
  const size = { min: GIB, max: 64 * GIB, step: GIB };
  command
    .option(
      '--bytes <size>',
      'address space to map and scan (default: 16GiB); its tables take 2 MiB a GiB',
      optionValue(name, '--bytes', (text) => parseSize(text, size)),
    )
    .option('--dirty <percent>', 'leaves written between scans (default: 10)', whole(name, '--dirty', 0, 100))
    .option('--runs <n>', 'repetitions of each figure (default: 7)', whole(name, '--runs', 1, 1000))
    .allowExcessArguments(false)
    .addHelpText('after', examples('ferry bench iommu', 'ferry bench iommu --bytes 4GiB --dirty 50 --json'))
    .action(async () => {
      const { bytes, dirty, runs, json } = command.optsWithGlobals<
        Common & { bytes?: number; dirty?: number }
      >();
      const { benchIommu } = await import('../bench/iommu.js');
      const result = benchIommu({
        ...(bytes === undefined ? {} : { bytes }),
        ...(dirty === undefined ? {} : { dirtyShare: dirty / 100 }),
        ...(runs === undefined ? {} : { runs }),
      });
      print(json, result, iommuText);
    });
}

function defineFabric(command: Command): void {
  const name = 'ferry bench fabric';
  command
    .option('--runs <n>', 'measured turns of each size (default: 5)', whole(name, '--runs', 1, 1000))
    .allowExcessArguments(false)
    .addHelpText('after', examples('ferry bench fabric', 'ferry bench fabric --runs 20 --json'))
    .action(async () => {
      const { runs, json } = command.optsWithGlobals<Common>();
      const { benchFabric } = await import('../bench/fabric.js');
      print(json, await benchFabric(runs === undefined ? {} : { runs }), fabricText);
    });
}

const host = () => ({ cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length });

function print<T extends object>(json: boolean | undefined, result: T, text: (result: T) => string): void {
  const machine = { ...host(), node: process.version };
  process.stdout.write(
    json
      ? `${JSON.stringify({ machine, ...result }, null, 2)}\n`
      : `${machine.cpu}, ${machine.cores} cores, Node ${machine.node}\n\n${text(result)}\n`,
  );
}
